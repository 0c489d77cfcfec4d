"""Layers for any shape: dense, flatten, dropout, normalisation, activation."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.activations import LINEAR, ActivationField
from models.spec.initializers import GLOROT_UNIFORM, ZEROS, BiasInitializerField, InitializerField
from models.spec.layers.base import Effect, LayerPart, Shape, WeightedPart, Width, values_in, words


class Dense(WeightedPart):
    """Fully connected along the last axis."""

    type: Literal["dense"] = "dense"
    units: Width = Field(examples=[128])
    """Number of outputs."""
    activation: ActivationField = LINEAR
    """Applied to the outputs."""
    use_bias: bool = True
    """Whether a bias is added."""
    kernel_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the weights."""
    bias_initializer: BiasInitializerField = ZEROS
    """First values of the bias."""

    def applied_to(self, shape: Shape) -> Effect:
        weights = shape[-1] * self.units + self.use_bias * self.units
        return Effect((*shape[:-1], self.units), weights, 0, values_in(shape) * self.units)

    @property
    def detail(self) -> str:
        return words(self.units, self.activation.type)


class Flatten(LayerPart):
    """Everything in one row."""

    type: Literal["flatten"] = "flatten"

    def applied_to(self, shape: Shape) -> Effect:
        return Effect((values_in(shape),))


class Dropout(LayerPart):
    """Sets a share of the values to zero, in training only."""

    type: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)] = Field(examples=[0.2])
    """The share."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape)

    @property
    def detail(self) -> str:
        return words(f"{self.rate:g}")


class BatchNormalization(WeightedPart):
    """Normalises each channel by the batch, when trained by the moving averages."""

    type: Literal["batch_normalization"] = "batch_normalization"
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Of the moving averages."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Added to the variance."""
    center: bool = True
    """Whether an offset is learned."""
    scale: bool = True
    """Whether a factor is learned."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape, (self.center + self.scale) * shape[-1], 2 * shape[-1])


class ActivationLayer(LayerPart):
    """An activation as a layer of its own."""

    type: Literal["activation"] = "activation"
    activation: ActivationField
    """Which activation."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape)

    @property
    def detail(self) -> str:
        return self.activation.type

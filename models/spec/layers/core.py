"""Layers for any shape: dense, flatten, reshape, dropout, noise, normalisation, activation."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from models.spec.activations import LINEAR, ActivationField
from models.spec.initializers import GLOROT_UNIFORM, ZEROS, BiasInitializerField, InitializerField
from models.spec.layers.base import Effect, LayerPart, Misfit, Shape, WeightedPart, Width, values_in, words
from models.spec.regularizers import RegularizerField


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
    kernel_regularizer: RegularizerField = None
    """Penalty on the weights."""
    bias_regularizer: RegularizerField = None
    """Penalty on the bias."""
    activity_regularizer: RegularizerField = None
    """Penalty on the outputs, the mean over the batch."""

    def applied_to(self, shape: Shape) -> Effect:
        weights = shape[-1] * self.units + self.use_bias * self.units
        return Effect((*shape[:-1], self.units), weights, 0, values_in(shape) * self.units)

    @property
    def detail(self) -> str:
        return words(self.units, self.activation.type)


class Flatten(LayerPart):
    """Everything in one row."""

    type: Literal["flatten"] = "flatten"
    keeps_range: ClassVar[bool] = True

    def applied_to(self, shape: Shape) -> Effect:
        return Effect((values_in(shape),))


def _side_or_rest(side: int) -> int:
    if side == 0:
        raise PydanticCustomError("too_few", "must be at least 1, or -1 for what is left")
    return side


def _one_rest(shape: Shape) -> Shape:
    if shape.count(-1) > 1:
        raise PydanticCustomError("duplicate", "must have -1, which stands for what is left, at most once")
    return shape


_Side = Annotated[int, Field(ge=-1, le=2**31 - 1), AfterValidator(_side_or_rest)]


class Reshape(LayerPart):
    """The same values in another shape."""

    type: Literal["reshape"] = "reshape"
    keeps_range: ClassVar[bool] = True
    target_shape: Annotated[
        tuple[_Side, ...], Field(strict=False, min_length=1, max_length=3), AfterValidator(_one_rest)
    ] = Field(examples=[[28, 28]])
    """The shape without the batch; one side may be -1, which stands for what is left."""

    def applied_to(self, shape: Shape) -> Effect:
        known = values_in(tuple(side for side in self.target_shape if side != -1))
        rest, over = divmod(values_in(shape), known)
        if over or (-1 not in self.target_shape and rest != 1):
            detail = f"target_shape must hold the {values_in(shape)} values of the input, which has the shape"
            raise Misfit("target_shape", f"{detail} {list(shape)}")
        return Effect(tuple(rest if side == -1 else side for side in self.target_shape))

    @property
    def detail(self) -> str:
        return words(self.target_shape)


class Dropout(LayerPart):
    """Sets a share of the values to zero, in training only."""

    type: Literal["dropout"] = "dropout"
    keeps_shape: ClassVar[bool] = True
    keeps_range: ClassVar[bool] = True
    training_only: ClassVar[bool] = True
    rate: Annotated[float, Field(ge=0, lt=1)] = Field(examples=[0.2])
    """The share."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape)

    @property
    def detail(self) -> str:
        return words(f"{self.rate:g}")


class GaussianNoise(LayerPart):
    """Adds normal noise, in training only."""

    type: Literal["gaussian_noise"] = "gaussian_noise"
    keeps_shape: ClassVar[bool] = True
    keeps_range: ClassVar[bool] = True
    training_only: ClassVar[bool] = True
    stddev: Annotated[float, Field(ge=0, le=1)] = Field(examples=[0.1])
    """Its standard deviation."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape)

    @property
    def detail(self) -> str:
        return words(f"{self.stddev:g}")


class BatchNormalization(WeightedPart):
    """Normalises each channel by the batch, when trained by the moving averages."""

    type: Literal["batch_normalization"] = "batch_normalization"
    keeps_shape: ClassVar[bool] = True
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


class LayerNormalization(WeightedPart):
    """Normalises each example along the last axis."""

    type: Literal["layer_normalization"] = "layer_normalization"
    keeps_shape: ClassVar[bool] = True
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Added to the variance."""
    center: bool = True
    """Whether an offset is learned."""
    scale: bool = True
    """Whether a factor is learned."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape, (self.center + self.scale) * shape[-1])


class ActivationLayer(LayerPart):
    """An activation as a layer of its own."""

    type: Literal["activation"] = "activation"
    keeps_shape: ClassVar[bool] = True
    activation: ActivationField
    """Which activation."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(shape)

    @property
    def detail(self) -> str:
        return self.activation.type

"""Layers for images: convolution and pooling."""

from math import prod
from typing import Literal

from pydantic import Field

from models.spec.activations import LINEAR, ActivationField
from models.spec.base import Pair
from models.spec.initializers import GLOROT_UNIFORM, ZEROS, BiasInitializerField, InitializerField
from models.spec.layers.base import Effect, LayerPart, Padding, Shape, WeightedPart, Width, image_shape, windows, words


class Conv2D(WeightedPart):
    """Convolution over height and width."""

    type: Literal["conv2d"] = "conv2d"
    filters: Width = Field(examples=[32])
    """Number of output channels."""
    kernel_size: Pair = Field(examples=[3, [3, 5]])
    """Height and width of the window; one number for both."""
    strides: Pair = (1, 1)
    """Steps of the window; one number for both."""
    padding: Padding = "valid"
    """`valid` keeps the window inside the image, `same` pads with zeros."""
    activation: ActivationField = LINEAR
    """Applied to the outputs."""
    use_bias: bool = True
    """Whether a bias is added."""
    kernel_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the weights."""
    bias_initializer: BiasInitializerField = ZEROS
    """First values of the bias."""

    def applied_to(self, shape: Shape) -> Effect:
        channels = image_shape(self.type, shape)[2]
        rows, columns = windows("kernel_size", shape, self.kernel_size, self.strides, self.padding)
        kernel = prod(self.kernel_size) * channels * self.filters
        weights = kernel + self.use_bias * self.filters
        return Effect((rows, columns, self.filters), weights, 0, rows * columns * kernel)

    @property
    def detail(self) -> str:
        return words(self.filters, self.kernel_size, self.activation.type, self.padding)


class _Pooling(LayerPart):
    pool_size: Pair = (2, 2)
    """Height and width of the window; one number for both."""
    strides: Pair | None = None
    """Steps of the window; null for the window's size."""
    padding: Padding = "valid"
    """`valid` keeps the window inside the image, `same` pads."""

    def applied_to(self, shape: Shape) -> Effect:
        channels = image_shape(self.type, shape)[2]
        rows, columns = windows("pool_size", shape, self.pool_size, self.strides or self.pool_size, self.padding)
        return Effect((rows, columns, channels))

    @property
    def detail(self) -> str:
        return words(self.pool_size, self.padding)


class MaxPooling2D(_Pooling):
    """The largest value of each window."""

    type: Literal["max_pooling2d"] = "max_pooling2d"


class AveragePooling2D(_Pooling):
    """The mean of each window."""

    type: Literal["average_pooling2d"] = "average_pooling2d"

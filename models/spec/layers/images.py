"""Layers for images: convolutions, pooling, dropout of whole channels."""

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from models.spec.activations import LINEAR, ActivationField
from models.spec.base import Pair
from models.spec.initializers import GLOROT_UNIFORM, ZEROS, BiasInitializerField, InitializerField
from models.spec.layers.base import Effect, LayerPart, Padding, Shape, WeightedPart, Width, image_shape, windows, words
from models.spec.regularizers import RegularizerField

Multiplier = Annotated[int, Field(ge=1, le=1024)]


def _equal(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] != pair[1]:
        raise PydanticCustomError("invalid", "must be the same for height and width in a depthwise convolution")
    return pair


EqualPair = Annotated[Pair, AfterValidator(_equal)]


class _Convolution(WeightedPart):
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
    bias_initializer: BiasInitializerField = ZEROS
    """First values of the bias."""
    bias_regularizer: RegularizerField = None
    """Penalty on the bias."""
    activity_regularizer: RegularizerField = None
    """Penalty on the outputs, the mean over the batch."""

    def _effect(self, shape: Shape, kernel: int, filters: int) -> Effect:
        """Of a convolution with `kernel` weights, each used once a window."""
        rows, columns = windows("kernel_size", shape, self.kernel_size, self.strides, self.padding)
        weights = kernel + self.use_bias * filters
        return Effect((rows, columns, filters), weights, 0, rows * columns * kernel)

    def _words(self, *first: object) -> str:
        rows, columns = self.strides
        strides = (
            "" if self.strides == (1, 1) else f"strides {rows}" if rows == columns else f"strides {rows}x{columns}"
        )
        return words(*first, self.kernel_size, strides, self.activation.type, self.padding)


class Conv2D(_Convolution):
    """Convolution over height and width."""

    type: Literal["conv2d"] = "conv2d"
    filters: Width = Field(examples=[32])
    """Number of output channels."""
    kernel_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the weights."""
    kernel_regularizer: RegularizerField = None
    """Penalty on the weights."""

    def applied_to(self, shape: Shape) -> Effect:
        channels = image_shape(self.type, shape)[2]
        return self._effect(shape, prod(self.kernel_size) * channels * self.filters, self.filters)

    @property
    def detail(self) -> str:
        return self._words(self.filters)


class DepthwiseConv2D(_Convolution):
    """Convolution of each channel by itself."""

    type: Literal["depthwise_conv2d"] = "depthwise_conv2d"
    strides: EqualPair = (1, 1)
    """Steps of the window, the same for both."""
    depth_multiplier: Multiplier = 1
    """Number of output channels for each channel."""
    depthwise_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the weights."""
    depthwise_regularizer: RegularizerField = None
    """Penalty on the weights."""

    def applied_to(self, shape: Shape) -> Effect:
        filters = image_shape(self.type, shape)[2] * self.depth_multiplier
        return self._effect(shape, prod(self.kernel_size) * filters, filters)

    @property
    def detail(self) -> str:
        return self._words(self.depth_multiplier > 1 and f"{self.depth_multiplier} a channel")


class SeparableConv2D(_Convolution):
    """Convolution of each channel by itself, then a mixture of the channels at each place."""

    type: Literal["separable_conv2d"] = "separable_conv2d"
    strides: EqualPair = (1, 1)
    """Steps of the window, the same for both."""
    filters: Width = Field(examples=[32])
    """Number of output channels."""
    depth_multiplier: Multiplier = 1
    """Number of channels for each channel between the two steps."""
    depthwise_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the first step's weights."""
    pointwise_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the second step's weights."""
    depthwise_regularizer: RegularizerField = None
    """Penalty on the first step's weights."""
    pointwise_regularizer: RegularizerField = None
    """Penalty on the second step's weights."""

    def applied_to(self, shape: Shape) -> Effect:
        between = image_shape(self.type, shape)[2] * self.depth_multiplier
        return self._effect(shape, between * (prod(self.kernel_size) + self.filters), self.filters)

    @property
    def detail(self) -> str:
        return self._words(self.filters)


class _Pooling(LayerPart):
    keeps_range: ClassVar[bool] = True
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
        return words(self.pool_size, self.strides and f"strides {words(self.strides)}", self.padding)


class MaxPooling2D(_Pooling):
    """The largest value of each window."""

    type: Literal["max_pooling2d"] = "max_pooling2d"


class AveragePooling2D(_Pooling):
    """The mean of each window."""

    type: Literal["average_pooling2d"] = "average_pooling2d"


class GlobalAveragePooling2D(LayerPart):
    """The mean of each channel over the whole image."""

    type: Literal["global_average_pooling2d"] = "global_average_pooling2d"
    keeps_range: ClassVar[bool] = True
    keepdims: bool = False
    """Whether the result stays an image, of one place."""

    def applied_to(self, shape: Shape) -> Effect:
        channels = image_shape(self.type, shape)[2]
        return Effect((1, 1, channels) if self.keepdims else (channels,))


class SpatialDropout2D(LayerPart):
    """Sets a share of the channels to zero, in training only."""

    type: Literal["spatial_dropout2d"] = "spatial_dropout2d"
    keeps_shape: ClassVar[bool] = True
    keeps_range: ClassVar[bool] = True
    training_only: ClassVar[bool] = True
    rate: Annotated[float, Field(ge=0, lt=1)] = Field(examples=[0.2])
    """The share."""

    def applied_to(self, shape: Shape) -> Effect:
        return Effect(image_shape(self.type, shape))

    @property
    def detail(self) -> str:
        return words(f"{self.rate:g}")

"""The part of a spec that says what learns: layers one after another, or a preset that stands for such layers."""

from typing import Annotated, Any, Literal, assert_never

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.activations import LINEAR, ActivationField, PlainActivation
from models.spec.base import Pair, Part, shorthand
from models.spec.initializers import GLOROT_UNIFORM, ZEROS, BiasInitializerField, InitializerField

MAX_LAYERS = 200
MAX_WIDTH = 65_536

Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Padding = Literal["valid", "same"]
PresetName = Literal["mlp", "cnn"]


class Dense(Part):
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


class Conv2D(Part):
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


class MaxPooling2D(Part):
    """The largest value of each window."""

    type: Literal["max_pooling2d"] = "max_pooling2d"
    pool_size: Pair = (2, 2)
    """Height and width of the window; one number for both."""
    strides: Pair | None = None
    """Steps of the window; null for the window's size."""
    padding: Padding = "valid"
    """`valid` keeps the window inside the image, `same` pads."""


class AveragePooling2D(Part):
    """The mean of each window."""

    type: Literal["average_pooling2d"] = "average_pooling2d"
    pool_size: Pair = (2, 2)
    """Height and width of the window; one number for both."""
    strides: Pair | None = None
    """Steps of the window; null for the window's size."""
    padding: Padding = "valid"
    """`valid` keeps the window inside the image, `same` pads."""


class Flatten(Part):
    """Everything in one row."""

    type: Literal["flatten"] = "flatten"


class Dropout(Part):
    """Sets a share of the values to zero, in training only."""

    type: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)] = Field(examples=[0.2])
    """The share."""


class BatchNormalization(Part):
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


class ActivationLayer(Part):
    """An activation as a layer of its own."""

    type: Literal["activation"] = "activation"
    activation: ActivationField
    """Which activation."""


Layer = Dense | Conv2D | MaxPooling2D | AveragePooling2D | Flatten | Dropout | BatchNormalization | ActivationLayer
_ByType = Annotated[Layer, Field(discriminator="type")]
_DefaultsSuffice = Literal["max_pooling2d", "average_pooling2d", "flatten", "batch_normalization"]
LayerField = Annotated[_ByType, BeforeValidator(shorthand, json_schema_input_type=_DefaultsSuffice | _ByType)]


class Layers(Part):
    """Layers, first to last."""

    layers: Annotated[tuple[LayerField, ...], Field(strict=False, min_length=1, max_length=MAX_LAYERS)]
    """The layers; images enter as (28, 28, 1), the last gives one value a class."""


class Preset(Part):
    """A well-tried network by name."""

    preset: PresetName
    """`mlp`: one hidden layer of 256; `cnn`: two convolutions."""


Network = Layers | Preset


def _network_tag(value: Any) -> str:
    return "<preset>" if isinstance(value, Preset) or (isinstance(value, dict) and "preset" in value) else "<layers>"


def _one_network(value: object) -> object:
    if isinstance(value, dict) and {"layers", "preset"} <= value.keys():
        raise PydanticCustomError("invalid", "must have either layers or preset, not both")
    return {"preset": value} if isinstance(value, str) else value


_ByKey = Annotated[Annotated[Layers, Tag("<layers>")] | Annotated[Preset, Tag("<preset>")], Discriminator(_network_tag)]
NetworkField = Annotated[_ByKey, BeforeValidator(_one_network, json_schema_input_type=PresetName | _ByKey)]


def layers_of(network: Network, outputs: int, from_logits: bool = False) -> tuple[Layer, ...]:
    """The layers of a network; a preset is written out for so many outputs, ending in softmax unless `from_logits`.

    `cnn` follows Keras's own example, https://keras.io/examples/vision/mnist_convnet/.
    """
    match network:
        case Layers(layers=layers):
            return layers
        case Preset(preset=name):
            return (*_hidden(name), Dense(units=outputs, activation=LINEAR if from_logits else _plain("softmax")))


def _hidden(name: PresetName) -> tuple[Layer, ...]:
    relu = _plain("relu")
    match name:
        case "mlp":
            return Flatten(), Dense(units=256, activation=relu), Dropout(rate=0.2)
        case "cnn":
            return (
                Conv2D(filters=32, kernel_size=(3, 3), activation=relu),
                MaxPooling2D(),
                Conv2D(filters=64, kernel_size=(3, 3), activation=relu),
                MaxPooling2D(),
                Flatten(),
                Dropout(rate=0.5),
            )
        case _:
            assert_never(name)


def _plain(name: Literal["relu", "softmax"]) -> PlainActivation:
    return PlainActivation(type=name)


def last_activation(layers: tuple[Layer, ...]) -> str:
    """The name of the activation that the network ends in; `linear` when it ends in none."""
    for layer in reversed(layers):
        match layer:
            case Dropout() | Flatten() | MaxPooling2D() | AveragePooling2D():  # the range of values stays
                continue
            case Dense(activation=activation) | Conv2D(activation=activation) | ActivationLayer(activation=activation):
                return activation.type
            case _:
                break
    return "linear"

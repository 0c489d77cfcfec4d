"""Well-tried networks by name, written out."""

from typing import Literal, assert_never

from models.spec.activations import PlainActivation
from models.spec.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D

PresetName = Literal["mlp", "cnn"]
RELU = PlainActivation(type="relu")


def preset_layers(name: PresetName, outputs: int, activation: Literal["linear", "softmax"]) -> tuple[Layer, ...]:
    """The layers of a preset, the last with so many outputs and that activation.

    `cnn` follows Keras's own example, https://keras.io/examples/vision/mnist_convnet/.
    """
    return (*_hidden(name), Dense(units=outputs, activation=PlainActivation(type=activation)))


def _hidden(name: PresetName) -> tuple[Layer, ...]:
    match name:
        case "mlp":
            return Flatten(), Dense(units=256, activation=RELU), Dropout(rate=0.2)
        case "cnn":
            return (
                Conv2D(filters=32, kernel_size=(3, 3), activation=RELU),
                MaxPooling2D(),
                Conv2D(filters=64, kernel_size=(3, 3), activation=RELU),
                MaxPooling2D(),
                Flatten(),
                Dropout(rate=0.5),
            )
        case _:
            assert_never(name)

"""Well-tried networks by name, written out."""

from typing import Literal, assert_never

from models.spec.activations import PlainActivation
from models.spec.graph import INPUT, Graph, GraphNode
from models.spec.initializers import PlainInitializer
from models.spec.layers import (
    ActivationLayer,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
)

PresetName = Literal["softmax_regression", "mlp", "deep_mlp", "lenet5", "cnn", "resnet_small"]
RELU, TANH = PlainActivation(type="relu"), PlainActivation(type="tanh")
HE_NORMAL = PlainInitializer(type="he_normal")
RESNET_STAGES = (24, 48, 96)
"""Filters of each residual stage."""


def preset_network(
    name: PresetName, outputs: int, activation: Literal["linear", "softmax"]
) -> tuple[Layer, ...] | Graph:
    """What a preset stands for; its last layer has so many outputs and that activation."""
    last = Dense(units=outputs, activation=PlainActivation(type=activation))
    if name == "resnet_small":
        return _resnet(last)
    return (*_hidden(name), last)


def _hidden(name: Literal["softmax_regression", "mlp", "deep_mlp", "lenet5", "cnn"]) -> tuple[Layer, ...]:
    match name:
        case "softmax_regression":
            return (Flatten(),)
        case "mlp":
            return Flatten(), Dense(units=256, activation=RELU), Dropout(rate=0.2)
        case "deep_mlp":
            widths = (512, 256, 128)
            hidden = [Dense(units=units, activation=RELU, kernel_initializer=HE_NORMAL) for units in widths]
            return Flatten(), *(layer for dense in hidden for layer in (dense, Dropout(rate=0.2)))
        case "lenet5":
            # LeCun et al., Gradient-based learning applied to document recognition, 1998, figure 2: tanh and averages.
            # There the 28x28 images lie in the middle of 32x32, which the padding stands for.
            return (
                Conv2D(filters=6, kernel_size=(5, 5), padding="same", activation=TANH),
                AveragePooling2D(),
                Conv2D(filters=16, kernel_size=(5, 5), activation=TANH),
                AveragePooling2D(),
                Conv2D(filters=120, kernel_size=(5, 5), activation=TANH),
                Flatten(),
                Dense(units=84, activation=TANH),
            )
        case "cnn":
            # Keras's own example, https://keras.io/examples/vision/mnist_convnet/.
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


def _resnet(last: Dense) -> Graph:
    """He et al., Deep residual learning, 2015, https://arxiv.org/abs/1512.03385: section 4.2 with one block a stage.

    Where a stage changes the shape, the shortcut is projected (their option B).
    """
    nodes: dict[str, GraphNode] = {}

    def put(name: str, layer: Layer | Add, *inputs: str) -> str:
        nodes[name] = GraphNode(layer=layer, inputs=inputs)
        return name

    def convolution(name: str, source: str, filters: int, size: int, step: int) -> str:
        # The normalisation that follows has an offset, so a bias would do nothing.
        layer = Conv2D(
            filters=filters,
            kernel_size=(size, size),
            strides=(step, step),
            padding="same",
            use_bias=False,
            kernel_initializer=HE_NORMAL,
        )
        return put(f"{name}_norm", BatchNormalization(), put(name, layer, source))

    def relu(name: str, source: str) -> str:
        return put(name, ActivationLayer(activation=RELU), source)

    top = relu("stem_relu", convolution("stem", INPUT, RESNET_STAGES[0], 3, 1))
    for stage, filters in enumerate(RESNET_STAGES, start=1):
        name, step = f"stage{stage}", 1 if stage == 1 else 2
        inner = relu(f"{name}_relu1", convolution(f"{name}_conv1", top, filters, 3, step))
        inner = convolution(f"{name}_conv2", inner, filters, 3, 1)
        shortcut = top if stage == 1 else convolution(f"{name}_shortcut", top, filters, 1, step)
        top = relu(f"{name}_relu2", put(f"{name}_add", Add(), inner, shortcut))
    put("output", last, put("pool", GlobalAveragePooling2D(), top))
    return Graph(graph=nodes)

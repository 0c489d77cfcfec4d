"""The networks that are trained, in Keras's words, and how many operations an epoch of each takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

IMAGE = (28, 28, 1)
Layer = dict[str, Any]
# Rows, shared side and columns of a matrix product.
Product = tuple[int, int, int]


@dataclass(frozen=True)
class Case:
    """A network over images (28, 28, 1), and the examples a step."""

    name: str
    layers: tuple[Layer, ...]
    batch_size: int

    @property
    def is_convolutional(self) -> bool:
        """Whether images go in as images, or as rows of pixels."""
        return any(layer["type"] == "conv2d" for layer in self.layers)


def _dense(units: int, activation: str) -> Layer:
    return {"type": "dense", "units": units, "activation": activation}


def _conv2d(filters: int) -> Layer:
    return {"type": "conv2d", "filters": filters, "kernel_size": 3, "activation": "relu"}


FLATTEN: Layer = {"type": "flatten"}
POOL: Layer = {"type": "max_pooling2d", "pool_size": 2}
DROPOUT: Layer = {"type": "dropout", "rate": 0.5}
CASES = {
    case.name: case
    for case in (
        Case("dense-32", (FLATTEN, _dense(32, "relu"), _dense(10, "softmax")), 32),
        Case("dense-784", (FLATTEN, _dense(784, "sigmoid"), _dense(784, "sigmoid"), _dense(10, "softmax")), 200),
        Case("cnn", (_conv2d(32), POOL, _conv2d(64), POOL, FLATTEN, DROPOUT, _dense(10, "softmax")), 128),
    )
}


def products(case: Case) -> Iterator[Product]:
    """The matrix product that each layer with weights is, for one batch, first layer first.

    A convolution counts as the product of its unrolled patches with its kernels: (batch x places, patch) @ (patch,
    filters). Biases, activations and pooling are left out: beside the products they are few.
    """
    for layer, entering, leaving in shapes(case):
        if layer["type"] == "dense":
            yield case.batch_size, prod(entering), layer["units"]
        elif layer["type"] == "conv2d":
            height, width, filters = leaving
            yield case.batch_size * height * width, layer["kernel_size"] ** 2 * entering[-1], filters


def shapes(case: Case) -> Iterator[tuple[Layer, tuple[int, ...], tuple[int, ...]]]:
    """Each layer with the shape of what enters and of what leaves it, without the batch."""
    shape: tuple[int, ...] = IMAGE
    for layer in case.layers:
        entering = shape
        match layer["type"]:
            case "flatten":
                shape = (prod(shape),)
            case "dense":
                shape = (layer["units"],)
            case "conv2d":
                shape = (*(side - layer["kernel_size"] + 1 for side in shape[:2]), layer["filters"])
            case "max_pooling2d":
                shape = (*(side // layer["pool_size"] for side in shape[:2]), shape[2])
        yield layer, entering, shape


def epoch_operations(case: Case, trained: int, validated: int) -> int:
    """Floating-point operations of an epoch: forward and backward over `trained` examples, forward over `validated`.

    A multiply-add is two. Backwards each layer needs a product as large for its weights and one for its input, but
    nobody asks for the gradient of the pixels, so the first layer does without the latter.
    """
    forward = [2 * rows * shared * columns // case.batch_size for rows, shared, columns in products(case)]
    a_trained_example = 3 * sum(forward) - forward[0]
    return trained * a_trained_example + validated * sum(forward)

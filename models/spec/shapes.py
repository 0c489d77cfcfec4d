"""Output shapes, parameter counts and multiply-adds of a network, worked out without TensorFlow, by Keras's rules."""

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import assert_never

from pydantic import BaseModel

from models.spec.network import (
    ActivationLayer,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    Padding,
)

Shape = tuple[int, ...]


class LayerSummary(BaseModel):
    """One layer as it stands in its network."""

    name: str
    """Its type and its number among those of the type: dense_1."""
    type: str
    output_shape: Shape
    """Without the batch."""
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    """Of matrix products and convolutions, for one example forward."""


class Misfit(Exception):
    """A layer that cannot take its input: which field of it ("" for the layer itself), and why."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field, self.detail = field, detail


def names_of(layers: Sequence[Layer]) -> list[str]:
    """A stable name for each layer: its type and its number among those of its type, dense_1, dense_2."""
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        counts[layer.type] += 1
        names.append(f"{layer.type}_{counts[layer.type]}")
    return names


def trace(layers: Sequence[Layer], shape: Shape) -> tuple[list[LayerSummary], Misfit | None]:
    """Each layer's summary when an example of `shape` goes through; ends early at a misfit, which comes second."""
    found: list[LayerSummary] = []
    for name, layer in zip(names_of(layers), layers, strict=True):
        try:
            output, trainable, fixed, multiply_adds = _apply(layer, shape)
        except Misfit as misfit:
            return found, misfit
        found.append(
            LayerSummary(
                name=name,
                type=layer.type,
                output_shape=output,
                parameters=trainable + fixed,
                trainable_parameters=trainable,
                multiply_adds=multiply_adds,
            )
        )
        shape = output
    return found, None


def _apply(layer: Layer, shape: Shape) -> tuple[Shape, int, int, int]:
    """Output shape, trainable and other parameters, multiply-adds. Raises Misfit."""
    match layer:
        case Dense(units=units, use_bias=use_bias):
            weights = shape[-1] * units
            return (*shape[:-1], units), weights + use_bias * units, 0, prod(shape) * units
        case Conv2D(filters=filters, kernel_size=window, use_bias=use_bias):
            channels = _image(layer.type, shape)[2]
            rows, columns = _windows("kernel_size", shape, window, layer.strides, layer.padding)
            weights = prod(window) * channels * filters
            return (rows, columns, filters), weights + use_bias * filters, 0, rows * columns * weights
        case MaxPooling2D(pool_size=window, strides=strides) | AveragePooling2D(pool_size=window, strides=strides):
            channels = _image(layer.type, shape)[2]
            rows, columns = _windows("pool_size", shape, window, strides or window, layer.padding)
            return (rows, columns, channels), 0, 0, 0
        case Flatten():
            return (prod(shape),), 0, 0, 0
        case BatchNormalization(center=center, scale=scale):
            return shape, (center + scale) * shape[-1], 2 * shape[-1], 0
        case ActivationLayer() | Dropout():
            return shape, 0, 0, 0
        case _:
            assert_never(layer)


def _image(type_: str, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise Misfit("", f"{type_} needs height, width and channels, but its input has the shape {list(shape)}")
    return shape


def _windows(field: str, shape: Shape, window: Shape, strides: Shape, padding: Padding) -> tuple[int, int]:
    """How many windows fit along height and width, by TensorFlow's rule for `valid` and `same`."""
    if padding == "valid" and (window[0] > shape[0] or window[1] > shape[1]):
        raise Misfit(
            field,
            f"{field} {list(window)} is larger than the layer's input of {shape[0]}x{shape[1]}: "
            "make it smaller, or set padding to same",
        )
    if window[0] > 2 * shape[0] - 1 or window[1] > 2 * shape[1] - 1:
        raise Misfit(
            field,
            f"{field} {list(window)} is larger than the layer's input of {shape[0]}x{shape[1]} with all its padding: "
            f"make it at most {2 * shape[0] - 1}x{2 * shape[1] - 1}, beyond which nothing is ever seen",
        )
    rows, columns = (
        -(-size // step) if padding == "same" else (size - side) // step + 1
        for size, side, step in zip(shape[:2], window, strides, strict=True)
    )
    return rows, columns

"""What every layer of a spec has: a shape rule, by which a network is measured without TensorFlow."""

from abc import ABC, abstractmethod
from math import prod
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from models.spec.base import Part

Shape = tuple[int, ...]
MAX_WIDTH = 65_536
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Padding = Literal["valid", "same"]


class Misfit(Exception):
    """A layer that cannot take its input: which field of it ("" for the layer itself), and why."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field, self.detail = field, detail


class Effect(NamedTuple):
    """What a layer makes of its input: a shape without the batch, parameters, and multiply-adds for one example."""

    output_shape: Shape
    weights: int = 0
    """Parameters that gradients change unless the layer is frozen."""
    statistics: int = 0
    """Parameters that are never trained, such as moving averages."""
    multiply_adds: int = 0


class LayerPart(Part, ABC):
    """Base of all layers with one input."""

    type: str
    keeps_shape: ClassVar[bool] = False
    """Whether what comes out has the shape of what goes in, whatever the fields say."""
    keeps_range: ClassVar[bool] = False
    """Whether, when it serves, each value that comes out lies among those that go in: probabilities stay such."""
    training_only: ClassVar[bool] = False
    """Whether it does nothing when the network serves."""

    @abstractmethod
    def applied_to(self, shape: Shape) -> Effect:
        """The effect on an example of `shape`, by Keras's rules. Raises Misfit."""

    @property
    def detail(self) -> str:
        """A few words for a picture of the network: "128, relu"."""
        return ""


class WeightedPart(LayerPart, ABC):
    """Base of all layers that learn."""

    trainable: bool = True
    """Whether training changes its weights."""


class MergePart(Part, ABC):
    """Base of what joins several inputs into one."""

    type: str
    keeps_shape: ClassVar[bool] = False
    """Whether what comes out has the shape of what goes in."""

    @abstractmethod
    def merged(self, shapes: tuple[Shape, ...]) -> Effect:
        """The effect on examples of these shapes. Raises Misfit."""

    @property
    def detail(self) -> str:
        """A few words for a picture of the network."""
        return ""


def image_shape(type_: str, shape: Shape) -> Shape:
    """`shape` if it is (height, width, channels). Raises Misfit."""
    if len(shape) != 3:
        raise Misfit("", f"{type_} needs height, width and channels, but its input has the shape {list(shape)}")
    return shape


def windows(field: str, shape: Shape, window: Shape, strides: Shape, padding: Padding) -> tuple[int, int]:
    """How many windows fit along height and width, by TensorFlow's rule for `valid` and `same`. Raises Misfit."""
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


def words(*parts: object) -> str:
    """The parts that say something, separated by commas; a pair of sides as 3x3."""
    told = ("x".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in parts if part)
    return ", ".join(text for text in told if text not in ("linear", "valid"))


def values_in(shape: Shape) -> int:
    """How many numbers an example of `shape` has."""
    return prod(shape)

"""What joins the branches of a graph."""

from typing import ClassVar, Literal

from models.spec.layers.base import Effect, MergePart, Misfit, Shape


def _sizes(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


class Add(MergePart):
    """The sum of its inputs."""

    type: Literal["add"] = "add"
    keeps_shape: ClassVar[bool] = True

    def merged(self, shapes: tuple[Shape, ...]) -> Effect:
        if len(set(shapes)) > 1:
            raise Misfit("inputs", f"add needs inputs of one shape, but theirs are {_sizes(shapes)}")
        return Effect(shapes[0])


class Concatenate(MergePart):
    """Its inputs side by side along the last axis."""

    type: Literal["concatenate"] = "concatenate"
    axis: Literal[-1] = -1
    """The last one."""

    def merged(self, shapes: tuple[Shape, ...]) -> Effect:
        if len({shape[:-1] for shape in shapes}) > 1:
            detail = (
                f"concatenate needs inputs that differ in the last axis only, but their shapes are {_sizes(shapes)}"
            )
            raise Misfit("inputs", detail)
        return Effect((*shapes[0][:-1], sum(shape[-1] for shape in shapes)))

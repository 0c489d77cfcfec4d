"""Output shapes, parameter counts and multiply-adds of a network, worked out without TensorFlow, by Keras's rules."""

from collections.abc import Sequence

from pydantic import BaseModel

from models.spec.layers.base import Effect, MergePart, Misfit, Shape, WeightedPart
from models.spec.network import INPUT, Node


class LayerSummary(BaseModel):
    """One layer as it stands in its network."""

    name: str
    """Its type and its number among those of the type: dense_1; in a graph the node's name."""
    type: str
    detail: str
    """A few words on it: "128, relu"."""
    inputs: list[str]
    """Names of the layers that feed it; `input` is the network's own."""
    output_shape: Shape
    """Without the batch."""
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    """Of matrix products and convolutions, for one example forward."""


def trace(nodes: Sequence[Node], shape: Shape) -> tuple[list[LayerSummary], Misfit | None]:
    """Each layer's summary when an example of `shape` goes through; ends early at a misfit, which comes second."""
    found: list[LayerSummary] = []
    shapes = {INPUT: shape}
    for node in nodes:
        try:
            effect = _effect(node, [shapes[name] for name in node.inputs])
        except Misfit as misfit:
            return found, misfit
        shapes[node.name] = effect.output_shape
        found.append(_summary(node, effect))
    return found, None


def _effect(node: Node, shapes: list[Shape]) -> Effect:
    return node.layer.merged(tuple(shapes)) if isinstance(node.layer, MergePart) else node.layer.applied_to(shapes[0])


def _summary(node: Node, effect: Effect) -> LayerSummary:
    frozen = isinstance(node.layer, WeightedPart) and not node.layer.trainable
    return LayerSummary(
        name=node.name,
        type=node.layer.type,
        detail=node.layer.detail,
        inputs=list(node.inputs),
        output_shape=effect.output_shape,
        parameters=effect.weights + effect.statistics,
        trainable_parameters=0 if frozen else effect.weights,
        multiply_adds=effect.multiply_adds,
    )

"""Which activations are watched for units that died or are saturated, and for which layer that learns."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from models.spec.activations import LINEAR, LeakyRelu, PlainActivation
from models.spec.layers import GRU, LSTM, ActivationLayer, BatchNormalization, Concatenate, LayerNormalization
from models.spec.layers.base import WeightedPart
from models.spec.network import Node

# Of the largest slope; below it counts as saturated.
FLAT = 0.1


class Watched(NamedTuple):
    """An activation that says how the units of a layer do."""

    layer: str
    """The layer that learns; its name."""
    output: str
    """The layer whose output is watched: the same, or the activation layer behind it."""
    kind: Literal["relu", "sigmoid", "tanh"]


def watched_activations(nodes: Sequence[Node]) -> list[Watched]:
    """At most one activation a layer: its own, or else the one that it reaches first.

    What lies between may drop, pool, normalise or add, but not learn units of its own or join them: batch and layer
    normalisation learn, but their units are those of the layer before. The outputs of a long short-term memory and of
    a gated recurrent unit are no plain activation. Where the network ends, a sigmoid or tanh may be as flat as it
    likes; a relu may not die there either.
    """
    by_name = {node.name: node for node in nodes}
    fed = _feeding_learners(nodes)
    found: dict[str, Watched] = {}
    for node in nodes:
        kind = _kind(node)
        if kind is None or (kind != "relu" and node.name not in fed):
            continue
        for layer in _learners_behind(node, by_name):
            found.setdefault(layer, Watched(layer, node.name, kind))
    return list(found.values())


def dead_share(watched: Watched, output: Any) -> float | None:
    """The share of units, along the last axis, that are 0 at every place of every example; None where none can die."""
    if watched.kind != "relu":
        return None
    values = _matrix(output)
    return float(np.mean(~values.any(axis=0)))


def saturated_share(watched: Watched, output: Any) -> float | None:
    """The share of all outputs where the slope is below a tenth of its largest; None where it cannot become flat.

    The slope of a sigmoid y is y(1 - y), at most 1/4; that of a tanh y is 1 - y^2, at most 1. What is NaN counts not.
    """
    if watched.kind == "relu":
        return None
    values = _matrix(output)
    slopes = 4 * values * (1 - values) if watched.kind == "sigmoid" else 1 - values**2
    return float(np.mean(slopes < FLAT))


def _matrix(output: Any) -> np.ndarray:
    """Examples and places by units, float32."""
    values = output.numpy()
    return values.reshape(-1, values.shape[-1]).astype(np.float32, copy=False)


def _kind(node: Node) -> Literal["relu", "sigmoid", "tanh"] | None:
    if isinstance(node.layer, LSTM | GRU):
        return None
    match _activation(node):
        case LeakyRelu(negative_slope=0.0):
            return "relu"
        case PlainActivation(type="relu" | "sigmoid" | "tanh" as kind):
            return kind
        case _:
            return None


def _learners_behind(node: Node, by_name: Mapping[str, Node]) -> list[str]:
    """The layers with units whose values the activation at `node` takes; the layer at `node` itself if it has some."""
    if _has_units(node):
        return [node.name]
    learners, ahead, seen = [], list(node.inputs), set()
    while ahead:
        name = ahead.pop(0)
        before = by_name.get(name)
        if before is None or name in seen or isinstance(before.layer, ActivationLayer | Concatenate):
            continue
        seen.add(name)
        if not _has_units(before):
            ahead.extend(before.inputs)
        elif _activation(before) == LINEAR:
            learners.append(name)
    return learners


def _activation(node: Node) -> object:
    return getattr(node.layer, "activation", None)


def _has_units(node: Node) -> bool:
    return isinstance(node.layer, WeightedPart) and not isinstance(node.layer, BatchNormalization | LayerNormalization)


def _feeding_learners(nodes: Sequence[Node]) -> set[str]:
    """The nodes whose outputs reach a layer with units of its own."""
    fed: set[str] = set()
    for node in reversed(nodes):
        if node.name in fed or _has_units(node):
            fed.update(node.inputs)
    return fed

"""A network as named nodes, each with the names of what feeds it; sound and in order once it is read."""

import difflib
import heapq
from collections.abc import Iterator, Mapping
from typing import Annotated, LiteralString

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from models.spec.base import Part
from models.spec.layers import AnyLayerField
from models.spec.layers.base import MergePart

MAX_NODES = 200
INPUT = "input"
"""What a node calls the network's input."""
RESERVED_NAMES = frozenset(
    {
        INPUT,
        "image",  # the network's input in Keras and ONNX
        "rescaling",
        "probabilities",
        "augment_rotation",
        "augment_translation",
        "augment_zoom",
        "augment_noise",
    }
)
"""Names of what the worker puts before and after the layers of a spec."""

NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Feeder = Annotated[str, StringConstraints(max_length=64)]
_Feeders = Annotated[tuple[_Feeder, ...], Field(strict=False, min_length=1, max_length=MAX_NODES)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class GraphNode(Part):
    """A layer, or `add` or `concatenate`, with what feeds it."""

    layer: AnyLayerField
    """What it does."""
    inputs: Annotated[_Feeders, BeforeValidator(_listed, json_schema_input_type=_Feeder | _Feeders)] = Field(
        examples=["input", ["stem", "shortcut"]]
    )
    """Names of the nodes that feed it, one as a bare string; `input` is the network's input."""


def _mistake(code: LiteralString, place: tuple[str | int, ...], value: object, detail: str) -> InitErrorDetails:
    error = PydanticCustomError(code, "{detail}", {"detail": detail})
    return InitErrorDetails(type=error, loc=place, input=value)


def _sound_and_in_order(nodes: dict[str, GraphNode]) -> dict[str, GraphNode]:
    """The nodes, each after those that feed it, ties by name: however it was written, a graph has one order."""
    mistakes = [mistake for name, node in nodes.items() for mistake in _mistakes(name, node, nodes)]
    order = _order(nodes)
    if not mistakes and len(order) < len(nodes):
        circle = _circle({name: nodes[name] for name in nodes.keys() - set(order)})
        story = ", ".join(f"{name} takes {taken}" for name, taken in zip(circle, [*circle[1:], circle[0]], strict=True))
        place, value = (circle[0], "inputs"), list(nodes[circle[0]].inputs)
        mistakes.append(_mistake("cycle", place, value, f"must not lead back to the node: {story}"))
    if not mistakes:
        taken = {feeder for node in nodes.values() for feeder in node.inputs}
        *loose, _ = (name for name in order if name not in taken)
        for name in loose:
            ends = ", ".join(name for name in order if name not in taken)
            detail = f"must feed another node, since one node only may be the output; nobody takes {ends}"
            mistakes.append(_mistake("too_many", (name,), name, detail))
    if mistakes:
        raise ValidationError.from_exception_data("Graph", mistakes)
    return {name: nodes[name] for name in order}


def _mistakes(name: str, node: GraphNode, nodes: Mapping[str, GraphNode]) -> Iterator[InitErrorDetails]:
    if name in RESERVED_NAMES:
        yield _mistake("reserved", (name,), name, "is a name of what is there beside the nodes: take another")
    for place, feeder in enumerate(node.inputs):
        if feeder != INPUT and feeder not in nodes:
            close = difflib.get_close_matches(feeder, [INPUT, *nodes], n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            yield _mistake("unknown_value", (name, "inputs", place), feeder, f"must be the name of a node{hint}")
    count, received = len(node.inputs), list(node.inputs)
    if isinstance(node.layer, MergePart) and count < 2:
        yield _mistake("too_few", (name, "inputs"), received, f"must have 2 or more entries for {node.layer.type}")
    if not isinstance(node.layer, MergePart) and count > 1:
        detail = f"must have one entry for {node.layer.type}: join them by add or concatenate first"
        yield _mistake("too_many", (name, "inputs"), received, detail)


def _order(nodes: Mapping[str, GraphNode]) -> list[str]:
    """Names, inputs before what they feed, the least first where several could follow; without those in circles.

    Kahn's algorithm, https://doi.org/10.1145/368996.369025.
    """
    waits = {name: {feeder for feeder in node.inputs if feeder in nodes} for name, node in nodes.items()}
    takers: dict[str, list[str]] = {name: [] for name in nodes}
    for name, feeders in waits.items():
        for feeder in feeders:
            takers[feeder].append(name)
    ready = [name for name, feeders in waits.items() if not feeders]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for taker in takers[order[-1]]:
            waits[taker].remove(order[-1])
            if not waits[taker]:
                heapq.heappush(ready, taker)
    return order


def _circle(rest: Mapping[str, GraphNode]) -> list[str]:
    """Names of a circle among nodes each of which waits for another of them, each taking the one after it."""
    way = [min(rest)]
    while way[-1] not in way[:-1]:
        way.append(min(feeder for feeder in rest[way[-1]].inputs if feeder in rest))
    circle = way[way.index(way[-1]) : -1]
    first = circle.index(min(circle))
    return [*circle[first:], *circle[:first]]


class Graph(Part):
    """Layers by name, each with what feeds it; the order of the names does not matter."""

    graph: Annotated[
        dict[NodeName, GraphNode],
        Field(min_length=1, max_length=MAX_NODES),
        AfterValidator(_sound_and_in_order),
    ]
    """The nodes; the one that no other takes is the output."""

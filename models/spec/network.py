"""The part of a spec that says what learns: layers one after another, a graph, or a preset that stands for either."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.base import Part
from models.spec.graph import INPUT, RESERVED_NAMES, Graph, GraphNode
from models.spec.layers import Add, Concatenate, Layer, LayerField, Merge
from models.spec.presets import PresetName, preset_network
from models.spec.problems import Path

__all__ = [
    "INPUT",
    "RESERVED_NAMES",
    "Graph",
    "GraphNode",
    "Layers",
    "Network",
    "NetworkField",
    "Node",
    "Preset",
    "chain",
    "last_activation",
    "nodes_of",
    "written_out",
]

MAX_LAYERS = 200
KEYS = ("layers", "preset", "graph")


class Layers(Part):
    """Layers, first to last."""

    layers: Annotated[tuple[LayerField, ...], Field(strict=False, min_length=1, max_length=MAX_LAYERS)]
    """The layers; images enter as (28, 28, 1), the last gives one value a class."""


class Preset(Part):
    """A well-tried network by name."""

    preset: PresetName
    """`softmax_regression`: no hidden layer; `mlp`: one of 256; `deep_mlp`: three; `lenet5`: LeCun's of 1998;
    `cnn`: two convolutions; `resnet_small`: three residual stages."""


Network = Layers | Preset | Graph


def _network_tag(value: Any) -> str:
    for key, kind in (("preset", Preset), ("graph", Graph)):
        if isinstance(value, kind) or (isinstance(value, dict) and key in value):
            return f"<{key}>"
    return "<layers>"


def _one_network(value: object) -> object:
    if isinstance(value, dict) and len(value.keys() & set(KEYS)) > 1:
        raise PydanticCustomError("invalid", "must have only one of layers, preset and graph")
    if value == {}:
        raise PydanticCustomError("invalid", "must have one of layers, preset and graph")
    return {"preset": value} if isinstance(value, str) else value


_ByKey = Annotated[
    Annotated[Layers, Tag("<layers>")] | Annotated[Preset, Tag("<preset>")] | Annotated[Graph, Tag("<graph>")],
    Discriminator(_network_tag),
]
NetworkField = Annotated[_ByKey, BeforeValidator(_one_network, json_schema_input_type=PresetName | _ByKey)]


class Node(NamedTuple):
    """A layer in its place."""

    name: str
    """Stable and unique: its type and its number among those of the type, dense_1; in a graph its own."""
    layer: Layer | Merge
    inputs: tuple[str, ...]
    """The nodes that feed it, each earlier in the network; `input` is the network's own."""
    path: Path
    """Where the normalised spec has the layer; the preset's place for all nodes of a preset."""

    def at(self, *fields: str) -> Path:
        """The path to a field of the layer, to the layer, or in a graph to the node's `inputs`."""
        if self.path[-1] == "preset":
            return self.path
        return (*self.path[:-1], "inputs") if fields == ("inputs",) else (*self.path, *fields)


def nodes_of(network: Network, outputs: int, last_activation: Literal["linear", "softmax"]) -> tuple[Node, ...]:
    """The network written out, inputs before those that they feed.

    Args:
        network: layers, a graph or a preset.
        outputs: how many outputs a preset ends in.
        last_activation: and in which activation.
    """
    match network:
        case Layers(layers=layers):
            return chain(layers, [("network", "layers", n) for n in range(len(layers))])
        case Graph(graph=graph):
            return tuple(
                Node(name, node.layer, node.inputs, ("network", "graph", name, "layer")) for name, node in graph.items()
            )
        case Preset():
            nodes = nodes_of(written_out(network, outputs, last_activation), outputs, last_activation)
            return tuple(node._replace(path=("network", "preset")) for node in nodes)


def written_out(network: Network, outputs: int, last_activation: Literal["linear", "softmax"]) -> Layers | Graph:
    """The network as layers or a graph: itself, or what its preset stands for; the arguments are those of `nodes_of`.

    Its nodes have the same names, layers, inputs and order, and hence the same weights.
    """
    if not isinstance(network, Preset):
        return network
    found = preset_network(network.preset, outputs, last_activation)
    return found if isinstance(found, Graph) else Layers(layers=found)


def chain(layers: Sequence[Layer], paths: Sequence[Path]) -> tuple[Node, ...]:
    """Layers one after another as nodes, named by type and number."""
    counts: Counter[str] = Counter()
    nodes: list[Node] = []
    for layer, path in zip(layers, paths, strict=True):
        counts[layer.type] += 1
        before = nodes[-1].name if nodes else INPUT
        nodes.append(Node(f"{layer.type}_{counts[layer.type]}", layer, (before,), path))
    return tuple(nodes)


def last_activation(nodes: Sequence[Node]) -> str:
    """The name of the activation that the network ends in; `linear` when it ends in none."""
    endings = {INPUT: "linear"}
    for node in nodes:
        endings[node.name] = _ending(node, endings)
    return endings[nodes[-1].name]


def _ending(node: Node, endings: Mapping[str, str]) -> str:
    match node.layer:
        case Add():
            return "linear"
        case Concatenate():
            joined = {endings[name] for name in node.inputs}
            # Two softmaxes side by side sum to two.
            return joined.pop() if len(joined) == 1 and "softmax" not in joined else "linear"
        case layer if layer.keeps_range:
            return endings[node.inputs[0]]
        case layer:
            activation = getattr(layer, "activation", None)
            return activation.type if activation else "linear"

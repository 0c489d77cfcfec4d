"""The part of a spec that says what learns: layers one after another, or a preset that stands for a network."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.base import Part
from models.spec.layers import (
    ActivationLayer,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerField,
    MaxPooling2D,
)
from models.spec.presets import PresetName, preset_layers
from models.spec.problems import Path

MAX_LAYERS = 200
INPUT = "input"
"""What a node calls the network's input."""


class Layers(Part):
    """Layers, first to last."""

    layers: Annotated[tuple[LayerField, ...], Field(strict=False, min_length=1, max_length=MAX_LAYERS)]
    """The layers; images enter as (28, 28, 1), the last gives one value a class."""


class Preset(Part):
    """A well-tried network by name."""

    preset: PresetName
    """`mlp`: one hidden layer of 256; `cnn`: two convolutions."""


Network = Layers | Preset


def _network_tag(value: Any) -> str:
    return "<preset>" if isinstance(value, Preset) or (isinstance(value, dict) and "preset" in value) else "<layers>"


def _one_network(value: object) -> object:
    if isinstance(value, dict) and {"layers", "preset"} <= value.keys():
        raise PydanticCustomError("invalid", "must have either layers or preset, not both")
    return {"preset": value} if isinstance(value, str) else value


_ByKey = Annotated[Annotated[Layers, Tag("<layers>")] | Annotated[Preset, Tag("<preset>")], Discriminator(_network_tag)]
NetworkField = Annotated[_ByKey, BeforeValidator(_one_network, json_schema_input_type=PresetName | _ByKey)]


class Node(NamedTuple):
    """A layer in its place."""

    name: str
    """Stable and unique: its type and its number among those of the type, dense_1."""
    layer: Layer
    inputs: tuple[str, ...]
    """The nodes that feed it, each earlier in the network; `input` is the network's own."""
    path: Path
    """Where the normalised spec has it; the preset's place for all nodes of a preset."""

    def at(self, *fields: str) -> Path:
        """The path to a field of the layer, or to the layer."""
        return self.path if self.path[-1] == "preset" else (*self.path, *fields)


def nodes_of(network: Network, outputs: int, last_activation: Literal["linear", "softmax"]) -> tuple[Node, ...]:
    """The network written out, inputs before those that they feed.

    Args:
        network: layers or a preset.
        outputs: how many outputs a preset ends in.
        last_activation: and in which activation.
    """
    match network:
        case Layers(layers=layers):
            return chain(layers, [("network", "layers", n) for n in range(len(layers))])
        case Preset(preset=name):
            layers = preset_layers(name, outputs, last_activation)
            return chain(layers, [("network", "preset")] * len(layers))


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
    by_name = {node.name: node for node in nodes}
    node: Node | None = nodes[-1]
    while node is not None:
        match node.layer:
            case Dropout() | Flatten() | MaxPooling2D() | AveragePooling2D():  # the range of values stays
                node = by_name.get(node.inputs[0])
            case Dense(activation=activation) | Conv2D(activation=activation) | ActivationLayer(activation=activation):
                return activation.type
            case _:
                return "linear"
    return "linear"

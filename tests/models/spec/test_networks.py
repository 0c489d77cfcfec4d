"""Networks of a spec: graphs in order, presets written out, what each layer makes of its input."""

import json
import random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec import JobSpec, parse_spec, summarize
from models.spec.layers import Layer, Merge
from models.spec.layers.base import LayerPart, MergePart
from models.spec.network import last_activation, written_out
from tests.models.spec.network_strategies import PRESETS, Body, graphs
from tests.models.spec.test_parsing import END, network

CONV = {"type": "conv2d", "filters": 3, "kernel_size": 3}
SAME = {**CONV, "filters": 1, "padding": "same"}
ROWS = {"type": "reshape", "target_shape": [28, 28]}
NODES: Body = {
    "out": {"layer": END, "inputs": "flat"},
    "flat": {"layer": "flatten", "inputs": "sum"},
    "sum": {"layer": "add", "inputs": ["stem", "input"]},
    "stem": {"layer": SAME, "inputs": ["input"]},
}


def graph(**changes: Any) -> Body:
    nodes = {**NODES, **changes}
    return {"dataset": "mnist", "network": {"graph": {name: node for name, node in nodes.items() if node is not None}}}


def concrete(kind: Any) -> set[Any]:
    below = {inner for child in kind.__subclasses__() for inner in concrete(child)}
    return below or {kind}


def test_every_layer_that_there_is_can_be_named() -> None:
    assert concrete(LayerPart) == set(get_args(Layer))
    assert concrete(MergePart) == set(get_args(Merge))


def test_nodes_come_after_what_feeds_them_with_ties_by_name() -> None:
    spec = parse_spec(graph(a={"layer": SAME, "inputs": "input"}, sum={"layer": "add", "inputs": ["stem", "a"]}))
    assert [node.name for node in spec.nodes] == ["a", "stem", "sum", "flat", "out"]
    assert list(spec.model_dump(mode="json")["network"]["graph"]) == ["a", "stem", "sum", "flat", "out"]
    assert spec.nodes[2].inputs == ("stem", "a")
    assert spec.nodes[2].at() == ("network", "graph", "sum", "layer")
    assert spec.nodes[1].at("filters") == ("network", "graph", "stem", "layer", "filters")
    assert spec.nodes[2].at("inputs") == ("network", "graph", "sum", "inputs")


@given(graphs(END), st.randoms())
def test_a_graph_in_any_order_is_the_same_spec(body: Body, order: random.Random) -> None:
    nodes = list(body["graph"].items())
    order.shuffle(nodes)
    first, again = (
        parse_spec({"dataset": "mnist", "network": {"graph": each}}) for each in (body["graph"], dict(nodes))
    )
    assert json.dumps(first.model_dump(mode="json")) == json.dumps(again.model_dump(mode="json"))
    seen = {"input"}
    for node in first.nodes:
        assert set(node.inputs) <= seen
        seen.add(node.name)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("loss", ["mse", {"type": "sparse_categorical_crossentropy", "from_logits": True}])
def test_a_preset_can_be_written_out(preset: str, loss: Any) -> None:
    body = {"dataset": {"name": "mnist", "classes": [3, 8, 9]}, "loss": loss}
    by_name = parse_spec({**body, "network": preset})
    last = "softmax" if loss == "mse" else "linear"
    whole = written_out(by_name.network, 3, last)  # type: ignore[arg-type]
    again = parse_spec({**body, "network": whole.model_dump(mode="json")})
    assert again.network == whole
    assert [node[:3] for node in again.nodes] == [node[:3] for node in by_name.nodes]
    assert {node.path for node in by_name.nodes} == {("network", "preset")}
    assert last_activation(again.nodes) == last
    assert written_out(again.network, 3, last) is again.network  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [
        ("softmax_regression", 785 * 10, 785 * 10),
        ("mlp", 785 * 256 + 257 * 10, 785 * 256 + 257 * 10),
        ("deep_mlp", 785 * 512 + 513 * 256 + 257 * 128 + 129 * 10, 600_000),
        ("lenet5", 61_706, 61_706),  # with all maps connected; the paper's own third layer leaves some out
        ("cnn", 34_826, 34_826),
        ("resnet_small", 100_000, 200_000),
    ],
)
def test_the_size_of_a_preset(preset: str, least: int, most: int) -> None:
    assert least <= summarize(parse_spec({"dataset": "mnist", "network": preset})).parameters <= most


def test_the_small_resnet_has_three_stages_of_blocks_with_shortcuts() -> None:
    spec = parse_spec({"dataset": "mnist", "network": "resnet_small"})
    shapes = {layer.name: layer.output_shape for layer in summarize(spec).layers}
    sums = {node.name: node.inputs for node in spec.nodes if node.layer.type == "add"}
    assert sums == {
        "stage1_add": ("stage1_conv2_norm", "stem_relu"),
        "stage2_add": ("stage2_conv2_norm", "stage2_shortcut_norm"),
        "stage3_add": ("stage3_conv2_norm", "stage3_shortcut_norm"),
    }
    assert [shapes[name] for name in sums] == [(28, 28, 24), (14, 14, 48), (7, 7, 96)]


@pytest.mark.parametrize("preset", ["softmax_regression", "mlp", "deep_mlp"])
def test_dense_presets_take_points(preset: str) -> None:
    assert parse_spec({"dataset": "spiral", "network": preset}).network.preset == preset  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("layers", "shape", "parameters", "multiply_adds", "detail"),
    [
        ([{**CONV, "strides": 2, "activation": "relu"}], (13, 13, 3), 30, 13 * 13 * 27, "3, 3x3, strides 2, relu"),
        (
            [{"type": "depthwise_conv2d", "kernel_size": [3, 5], "depth_multiplier": 4, "strides": 2}],
            (13, 12, 4),
            15 * 4 + 4,
            13 * 12 * 60,
            "4 a channel, 3x5, strides 2",
        ),
        (
            [{"type": "separable_conv2d", "filters": 8, "kernel_size": 3, "depth_multiplier": 2, "padding": "same"}],
            (28, 28, 8),
            9 * 2 + 2 * 8 + 8,
            28 * 28 * (18 + 16),
            "8, 3x3, same",
        ),
        ([CONV, "global_average_pooling2d"], (3,), 0, 0, ""),
        ([CONV, {"type": "global_average_pooling2d", "keepdims": True}], (1, 1, 3), 0, 0, ""),
        ([{"type": "reshape", "target_shape": [7, -1, 2]}], (7, 56, 2), 0, 0, "7x-1x2"),
        ([{"type": "spatial_dropout2d", "rate": 0.25}], (28, 28, 1), 0, 0, "0.25"),
        ([{"type": "gaussian_noise", "stddev": 0.1}], (28, 28, 1), 0, 0, "0.1"),
        ([ROWS, "layer_normalization"], (28, 28), 56, 0, ""),
        ([ROWS, {"type": "simple_rnn", "units": 8}], (8,), 8 * 36 + 8, 28 * 8 * 36, "8, tanh"),
        (
            [ROWS, {"type": "lstm", "units": 8, "return_sequences": True}],
            (28, 8),
            4 * (8 * 36 + 8),
            28 * 4 * 8 * 36,
            "8, tanh, sequences",
        ),
        ([ROWS, {"type": "gru", "units": 8}], (8,), 3 * (8 * 36 + 16), 28 * 3 * 8 * 36, "8, tanh"),
        (
            [ROWS, {"type": "gru", "units": 8, "reset_after": False, "go_backwards": True}],
            (8,),
            3 * (8 * 36 + 8),
            28 * 3 * 8 * 36,
            "8, tanh, backwards",
        ),
    ],
)
def test_what_a_layer_makes_of_its_input(
    layers: list[Any], shape: Any, parameters: int, multiply_adds: int, detail: str
) -> None:
    ends = [] if len(shape) == 1 else ["flatten"]
    layer = summarize(parse_spec(network(*layers, *ends, END))).layers[len(layers) - 1]
    assert (layer.output_shape, layer.parameters, layer.multiply_adds) == (shape, parameters, multiply_adds)
    assert layer.detail == detail


def test_merges_in_the_summary() -> None:
    spec = parse_spec(graph(sum={"layer": "concatenate", "inputs": ["stem", "input", "stem"]}))
    merged = summarize(spec).layers[1]
    assert (merged.name, merged.type, merged.inputs) == ("sum", "concatenate", ["stem", "input", "stem"])
    assert merged.output_shape == (28, 28, 3)


@pytest.mark.parametrize(
    ("layers", "ending"),
    [
        (["flatten", END], "softmax"),
        (["flatten", END, {"type": "gaussian_noise", "stddev": 0.1}, {"type": "dropout", "rate": 0.1}], "softmax"),
        (["flatten", END, "layer_normalization"], "linear"),
        ([{**CONV, "filters": 10, "activation": "sigmoid"}, "global_average_pooling2d"], "sigmoid"),
        (
            [{"type": "separable_conv2d", "filters": 10, "kernel_size": 28, "activation": "softmax"}, "flatten"],
            "softmax",
        ),
        ([ROWS, {"type": "simple_rnn", "units": 10, "activation": "softmax"}], "softmax"),
        ([ROWS, {"type": "gru", "units": 10}], "tanh"),
    ],
)
def test_every_layer_with_an_activation_is_known_to_end_in_it(layers: list[Any], ending: str) -> None:
    assert last_activation(JobSpec.model_validate(network(*layers)).nodes) == ending


@pytest.mark.parametrize(
    ("merge", "activation", "ending"),
    [
        ("add", "softmax", "linear"),
        ("add", "sigmoid", "linear"),
        ("concatenate", "softmax", "linear"),
        ("concatenate", "sigmoid", "sigmoid"),
    ],
)
def test_what_a_merge_ends_in(merge: str, activation: str, ending: str) -> None:
    half = {"layer": {"type": "dense", "units": 5, "activation": activation}, "inputs": "flat"}
    out = {"layer": merge, "inputs": ["stem", "sum"]}
    nodes = JobSpec.model_validate(
        graph(flat={"layer": "flatten", "inputs": "input"}, stem=half, sum=half, out=out)
    ).nodes
    assert last_activation(nodes) == ending

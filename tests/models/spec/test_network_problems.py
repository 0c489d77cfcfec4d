"""Bad networks: each mistake of a layer or a graph is found at its place, with a sentence that names it."""

from typing import Any

import pytest

from models.spec import SpecError, parse_spec
from models.spec.network import RESERVED_NAMES
from tests.models.spec.network_strategies import Body
from tests.models.spec.test_networks import CONV, ROWS, SAME, graph
from tests.models.spec.test_parsing import END, network


def at(layer: Body, **changes: Any) -> Body:
    """The layer, changed, as the second of a network for images or rows."""
    first = ROWS if layer["type"] in ("simple_rnn", "lstm", "gru") else {**CONV, "padding": "same"}
    return network(first, {**layer, **changes}, "flatten", END)


DENSE = {"type": "dense", "units": 3}
DEPTHWISE = {"type": "depthwise_conv2d", "kernel_size": 3}
SEPARABLE = {"type": "separable_conv2d", "filters": 3, "kernel_size": 3}
GAP = {"type": "global_average_pooling2d"}
RESHAPE = {"type": "reshape"}
LAYER_NORM = {"type": "layer_normalization"}
NOISE = {"type": "gaussian_noise"}
SPATIAL = {"type": "spatial_dropout2d"}
RNN, LSTM, GRU = ({"type": name, "units": 3} for name in ("simple_rnn", "lstm", "gru"))
SPOILT: list[tuple[Body, str, Any, str, str]] = [
    (DENSE, "kernel_regularizer", "l3", "", "unknown_type"),
    (DENSE, "kernel_regularizer", {"type": "l2", "l1": 0.1}, "/l1", "unknown_key"),
    (DENSE, "bias_regularizer", {"type": "l1", "l1": -0.1}, "/l1", "too_small"),
    (DENSE, "activity_regularizer", {"type": "l1_l2", "l2": 1e7}, "/l2", "too_large"),
    (DENSE, "activity_regularizer", {"l2": 0.1}, "/type", "missing"),
    (DENSE, "trainable", 1, "", "wrong_type"),
    (CONV, "kernel_regularizer", 0.1, "", "wrong_type"),
    (DEPTHWISE, "depth_multiplier", 0, "", "too_small"),
    (DEPTHWISE, "depth_multiplier", 1025, "", "too_large"),
    (DEPTHWISE, "kernel_initializer", "zeros", "", "unknown_key"),
    (DEPTHWISE, "depthwise_initializer", "one", "", "unknown_type"),
    (DEPTHWISE, "depthwise_initializer", {"type": "uniform", "minval": 1.0}, "/maxval", "too_small"),
    (DEPTHWISE, "depthwise_regularizer", "l3", "", "unknown_type"),
    (DEPTHWISE, "kernel_size", 29, "", "shape"),
    (DEPTHWISE, "strides", 0, "", "too_small"),
    (DEPTHWISE, "strides", [1, 2], "", "invalid"),
    (SEPARABLE, "strides", [2, 1], "", "invalid"),
    (DEPTHWISE, "padding", "full", "", "unknown_value"),
    (SEPARABLE, "filters", 0, "", "too_small"),
    (SEPARABLE, "pointwise_initializer", "one", "", "unknown_type"),
    (SEPARABLE, "pointwise_regularizer", True, "", "wrong_type"),
    (SEPARABLE, "kernel_size", [3, 29], "", "shape"),
    (GAP, "keepdims", 1, "", "wrong_type"),
    (RESHAPE, "target_shape", None, "", "wrong_type"),
    (RESHAPE, "target_shape", [], "", "too_short"),
    (RESHAPE, "target_shape", [1, 1, 1, -1], "", "too_long"),
    (RESHAPE, "target_shape", [0, -1], "/0", "too_few"),
    (RESHAPE, "target_shape", [7, -2], "/1", "too_small"),
    (RESHAPE, "target_shape", [-1, -1], "", "duplicate"),
    (RESHAPE, "target_shape", [28, 28], "", "shape"),
    (RESHAPE, "target_shape", [5, -1], "", "shape"),
    (SPATIAL, "rate", 1.0, "", "too_large"),
    (NOISE, "stddev", -0.1, "", "too_small"),
    (NOISE, "stddev", 1.1, "", "too_large"),
    (LAYER_NORM, "epsilon", 0.0, "", "too_small"),
    (LAYER_NORM, "axis", -1, "", "unknown_key"),
    (LAYER_NORM, "center", "yes", "", "wrong_type"),
    (RNN, "units", 0, "", "too_small"),
    (RNN, "recurrent_activation", "tanh", "", "unknown_key"),
    (RNN, "recurrent_initializer", "orthogonl", "", "unknown_type"),
    (RNN, "recurrent_regularizer", "l3", "", "unknown_type"),
    (LSTM, "dropout", 1.0, "", "too_large"),
    (LSTM, "recurrent_dropout", -0.1, "", "too_small"),
    (LSTM, "unit_forget_bias", None, "", "wrong_type"),
    (LSTM, "recurrent_activation", "sigmiod", "", "unknown_type"),
    (LSTM, "bias_initializer", "orthogonal", "", "unknown_type"),
    (GRU, "return_sequences", 1, "", "wrong_type"),
    (GRU, "go_backwards", "no", "", "wrong_type"),
    (GRU, "reset_after", 0, "", "wrong_type"),
    (GRU, "unit_forget_bias", True, "", "unknown_key"),
]
MISTAKEN: list[tuple[Body, str, str]] = [
    *[(at(layer, **{name: v}), f"/network/layers/1/{name}{at_}", code) for layer, name, v, at_, code in SPOILT],
    (network(ROWS, SPATIAL | {"rate": 0.5}, "flatten", END), "/network/layers/1", "shape"),
    (network(ROWS, GAP, "flatten", END), "/network/layers/1", "shape"),
    (network(LSTM, END), "/network/layers/0", "shape"),
    (
        network(ROWS, LSTM | {"units": 1, "recurrent_activation": "softmax"}, END),
        "/network/layers/1/recurrent_activation",
        "invalid",
    ),
    (network(ROWS, GRU | {"units": 1, "activation": "softmax"}, END), "/network/layers/1/activation", "invalid"),
    (network(ROWS, GRU | {"units": 60_000}, END), "/network/layers/1", "too_large"),
    (network(ROWS, GRU | {"return_sequences": True}), "/network/layers/1", "output_shape"),
    (network(ROWS, GRU), "/network/layers/1", "output_shape"),
    (network("flatten", "add", END), "/network/layers/1", "unknown_type"),
    ({"dataset": "spiral", "network": {"preset": "cnn"}}, "/network/preset", "shape"),
    ({"dataset": "spiral", "network": {"preset": "resnet_small"}}, "/network/preset", "shape"),
    *[
        (graph(**{name: {"layer": "flatten", "inputs": "input"}}), f"/network/graph/{name}", "reserved")
        for name in sorted(RESERVED_NAMES)
    ],
    (graph(Stem={"layer": "flatten", "inputs": "input"}), "/network/graph/Stem", "bad_pattern"),
    (graph(**{"a/b": {"layer": "flatten", "inputs": "input"}}), "/network/graph/a~1b", "bad_pattern"),
    (graph(**{"x" * 65: {"layer": "flatten", "inputs": "input"}}), f"/network/graph/{'x' * 65}", "bad_pattern"),
    (graph(stem=None), "/network/graph/sum/inputs/0", "unknown_value"),
    (graph(stem={"layer": SAME, "inputs": "inptu"}), "/network/graph/stem/inputs", "unknown_value"),
    (graph(stem={"layer": SAME, "inputs": "x" * 65}), "/network/graph/stem/inputs", "too_long"),
    (graph(stem={"layer": SAME, "inputs": []}), "/network/graph/stem/inputs", "too_short"),
    (graph(stem={"layer": SAME, "inputs": 3}), "/network/graph/stem/inputs", "wrong_type"),
    (graph(stem={"layer": SAME, "inputs": ["input", 3]}), "/network/graph/stem/inputs/1", "wrong_type"),
    (graph(stem={"layer": SAME, "inputs": ["input", "input"]}), "/network/graph/stem/inputs", "too_many"),
    (graph(stem={"layer": SAME}), "/network/graph/stem/inputs", "missing"),
    (graph(stem={"inputs": "input"}), "/network/graph/stem/layer", "missing"),
    (graph(stem={"layer": SAME, "inputs": "input", "units": 3}), "/network/graph/stem/units", "unknown_key"),
    (graph(stem="conv2d"), "/network/graph/stem", "wrong_type"),
    (graph(stem={"layer": "conv3d", "inputs": "input"}), "/network/graph/stem/layer", "unknown_type"),
    (
        graph(stem={"layer": {**SAME, "filters": 0}, "inputs": "input"}),
        "/network/graph/stem/layer/filters",
        "too_small",
    ),
    (
        graph(stem={"layer": {**SAME, "kernel_size": 99}, "inputs": "input"}),
        "/network/graph/stem/layer/kernel_size",
        "shape",
    ),
    (graph(stem={"layer": {**SAME, "filters": 2}, "inputs": "input"}), "/network/graph/sum/inputs", "shape"),
    (graph(sum={"layer": "add", "inputs": "stem"}), "/network/graph/sum/inputs", "too_few"),
    (
        graph(sum={"layer": {"type": "concatenate", "axis": 1}, "inputs": ["stem", "input"]}),
        "/network/graph/sum/layer/axis",
        "unknown_value",
    ),
    (
        graph(sum={"layer": {"type": "add", "axis": -1}, "inputs": ["stem", "input"]}),
        "/network/graph/sum/layer/axis",
        "unknown_key",
    ),
    (
        graph(stem={"layer": CONV, "inputs": "input"}, sum={"layer": "concatenate", "inputs": ["stem", "input"]}),
        "/network/graph/sum/inputs",
        "shape",
    ),
    (graph(stem={"layer": SAME, "inputs": "stem"}), "/network/graph/stem/inputs", "cycle"),
    (graph(stem={"layer": SAME, "inputs": "sum"}), "/network/graph/stem/inputs", "cycle"),
    (graph(flat={"layer": "flatten", "inputs": "out"}), "/network/graph/flat/inputs", "cycle"),
    (graph(aside={"layer": "flatten", "inputs": "input"}), "/network/graph/aside", "too_many"),
    (graph(out={"layer": {**END, "units": 3}, "inputs": "flat"}), "/network/graph/out/layer", "output_shape"),
    ({"dataset": "mnist", "network": {"graph": {}}}, "/network/graph", "too_short"),
    ({"dataset": "mnist", "network": {"graph": ["flatten"]}}, "/network/graph", "wrong_type"),
    ({"dataset": "mnist", "network": {"graph": {}, "preset": "mlp"}}, "/network", "invalid"),
    (graph(**{f"n{n}": {"layer": "flatten", "inputs": "input"} for n in range(200)}), "/network/graph", "too_long"),
]


@pytest.mark.parametrize(
    ("body", "pointer", "code"), MISTAKEN, ids=[f"{n}{row[1]}-{row[2]}" for n, row in enumerate(MISTAKEN)]
)
def test_a_mistake_is_found_at_its_place(body: Body, pointer: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(body)
    assert [(problem.pointer, problem.code) for problem in caught.value.problems] == [(pointer, code)]
    assert "Received: " in caught.value.problems[0].detail


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            graph(stem={"layer": SAME, "inputs": "sum"}),
            'inputs must not lead back to the node: stem takes sum, sum takes stem. Received: inputs="sum"',
        ),
        (
            graph(sum={"layer": "add", "inputs": ["stme", "input"]}),
            'entry 0 must be the name of a node (did you mean stem?). Received: inputs/0="stme"',
        ),
        (
            graph(stem={"layer": {**SAME, "filters": 2}, "inputs": "input"}),
            "add needs inputs of one shape, but theirs are [28, 28, 2], [28, 28, 1]. "
            'Received: inputs=["stem", "input"]',
        ),
        (
            graph(aside={"layer": "flatten", "inputs": "input"}),
            "aside must feed another node, since one node only may be the output; nobody takes aside, out. "
            'Received: aside={"layer": "flatten", "inputs": "input"}',
        ),
        (
            {"dataset": "spiral", "network": {"preset": "lenet5"}},
            "lenet5 cannot take this data, in its layer conv2d_1: conv2d needs height, width and channels, "
            'but its input has the shape [2]. Received: preset="lenet5"',
        ),
        (
            network(LSTM, END),
            "lstm needs steps and features, but its input has the shape [28, 28, 1]: put a reshape before it, such as "
            'one to [28, 28] for the rows of an image. Received: type="lstm"',
        ),
    ],
)
def test_the_sentence_names_what_is_wrong(body: Body, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(body)
    assert [problem.detail for problem in caught.value.problems] == [sentence]

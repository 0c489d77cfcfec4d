"""Whatever network a spec describes, Keras builds that one, field by field, and ONNX answers as it does."""

import math
import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from models.spec import Node, output_kind, parse_spec, summarize
from models.spec.network import written_out
from tests.factories.examples import examples
from tests.models.spec.network_strategies import PRESETS, Body, graphs
from tests.models.spec.strategies import specs
from tests.models.spec.test_parsing import END, network
from worker.export import _in_float64, export_keras, export_onnx, verify_onnx
from worker.network import build_network, copy_weights

UNIT = (1 / 255, 0.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1)).astype(np.float32)

# Keras's name where it is not the spec's with capitals.
CLASSES = {
    "activation": "Activation",
    "conv2d": "Conv2D",
    "depthwise_conv2d": "DepthwiseConv2D",
    "separable_conv2d": "SeparableConv2D",
    "max_pooling2d": "MaxPooling2D",
    "average_pooling2d": "AveragePooling2D",
    "global_average_pooling2d": "GlobalAveragePooling2D",
    "spatial_dropout2d": "SpatialDropout2D",
    "simple_rnn": "SimpleRNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "l1": "L1",
    "l2": "L2",
    "l1_l2": "L1L2",
    "leaky_relu": "LeakyReLU",
}


def class_of(kind: str) -> str:
    return CLASSES.get(kind) or "".join(word.capitalize() for word in kind.split("_"))


def said_by_keras(name: str, value: Any) -> Any:
    """A field of a Keras configuration as a spec's dump has it, parts as (class name, fields)."""
    if name.endswith("activation"):
        if isinstance(value, dict):
            return (value["class_name"], {"negative_slope": value["config"]["negative_slope"]})
        return ({"silu": "swish"}.get(value, value), {})
    if isinstance(value, dict):
        fields = {key: field for key, field in value["config"].items() if key != "seed" and field is not None}
        if name.endswith("_regularizer"):  # some factors come back as float32
            fields = {key: pytest.approx(field, rel=1e-7) for key, field in fields.items()}
        return (value["class_name"], fields)
    return list(value) if isinstance(value, tuple) else value


def said_by_spec(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    fields = {key: field for key, field in value.items() if key != "type"}
    return (value["type"] if name.endswith("activation") and not fields else class_of(value["type"]), fields)


def assert_configured(layer: keras.layers.Layer, node: Node) -> None:
    wanted = node.layer.model_dump(mode="json")
    kind = wanted.pop("type")
    assert type(layer).__name__ == class_of(kind)
    # Not every layer of Keras has all its regularizers in its configuration.
    penalties = [name for name in wanted if name.endswith("_regularizer")]
    config = {**layer.get_config(), "trainable": layer.trainable}
    config |= {name: keras.regularizers.serialize(getattr(layer, name)) for name in penalties}
    if wanted.get("strides", 0) is None:
        wanted["strides"] = wanted["pool_size"]
    assert {name: said_by_keras(name, config[name]) for name in wanted} == {
        name: said_by_spec(name, value) for name, value in wanted.items()
    }


def sources_of(model: keras.Model) -> dict[str, list[str]]:
    """The layers that feed each layer."""
    found = {}
    for layer in model.layers:
        (node,) = layer._inbound_nodes
        found[layer.name] = [tensor._keras_history.operation.name for tensor in node.input_tensors]
    return found


# To shrink a failing example would take minutes, each of its many steps builds a network.
QUICK = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@settings(QUICK, max_examples=examples(60))
@given(specs())
def test_keras_gets_the_network_of_the_spec(body: Body) -> None:
    spec = parse_spec(body)
    summary, model = summarize(spec), build_network(spec, UNIT)
    sources = sources_of(model)
    before = sources["image"] if not sources.get("rescaling") else ["rescaling"]
    for node, described in zip(spec.nodes, summary.layers, strict=True):
        layer = model.get_layer(node.name)
        counts = layer.count_params(), sum(math.prod(weight.shape) for weight in layer.trainable_weights)
        assert layer.output.shape[1:] == described.output_shape
        assert counts == (described.parameters, described.trainable_parameters)
        assert_configured(layer, node)
        fed_by = [name for feeder in node.inputs for name in (before if feeder == "input" else [feeder])]
        assert sources[node.name] == fed_by
    assert model.count_params() == summary.parameters
    twin = build_network(spec, UNIT, serving=True)
    assert twin.output_shape == (None, output_kind(spec).outputs)
    assert twin.count_params() == summary.parameters


def same(first: keras.Model, second: keras.Model) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(one, two) for one, two in pairs)


@settings(QUICK, max_examples=10)
@given(graphs(END), st.randoms())
def test_a_graph_in_any_order_has_the_same_weights(body: Body, order: random.Random) -> None:
    nodes = list(body["graph"].items())
    order.shuffle(nodes)
    one, two = (
        build_network(parse_spec({"dataset": "mnist", "network": {"graph": graph}}), UNIT)
        for graph in (body["graph"], dict(nodes))
    )
    assert [layer.name for layer in one.layers] == [layer.name for layer in two.layers]
    assert same(one, two)
    assert np.array_equal(one(IMAGES), two(IMAGES))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_written_out_has_the_same_weights(preset: str) -> None:
    spec = parse_spec({"dataset": "mnist", "network": preset, "seed": 4})
    whole = written_out(spec.network, 10, "softmax").model_dump(mode="json")
    one, two = (
        build_network(parse_spec(spec.model_dump() | {"network": network}), UNIT) for network in (preset, whole)
    )
    assert same(one, two)
    assert np.array_equal(one(IMAGES), two(IMAGES))


def test_first_weights_stay_what_they_were() -> None:
    """Sums of the first weights of a network as of the first version that had them: a seed means the same for ever."""
    model = build_network(parse_spec({"dataset": "mnist", "network": "cnn", "seed": 5}), UNIT)
    sums = [float(np.sum(weight)) for weight in model.get_weights()]
    assert sums == pytest.approx([-0.8637, 0.0, 11.4056, 0.0, -0.7809, 0.0], abs=1e-3)


def test_each_kind_of_weights_has_a_seed_of_its_own() -> None:
    normal = {f"{role}_initializer": "random_normal" for role in ("kernel", "recurrent", "bias")}
    separable = {f"{role}_initializer": "random_normal" for role in ("depthwise", "pointwise", "bias")}
    layers = [
        {"type": "separable_conv2d", "filters": 28, "kernel_size": 1, **separable},
        {"type": "reshape", "target_shape": [-1, 28]},
        {"type": "simple_rnn", "units": 28, **normal},
    ]
    model = build_network(parse_spec(network(*layers, END)), UNIT)
    firsts = [float(weight.ravel()[0]) for weight in model.get_weights()[:6]]
    assert len(set(firsts)) == 6


DROPPED: list[Body] = [
    {"type": "gaussian_noise", "stddev": 0.5},
    {"type": "spatial_dropout2d", "rate": 0.5},
    {"type": "dropout", "rate": 0.5},
]


@pytest.mark.parametrize("layer", DROPPED, ids=[str(layer["type"]) for layer in DROPPED])
def test_what_acts_in_training_only_is_seeded_and_is_not_served(layer: Body) -> None:
    body = network(layer, "flatten", END)
    one, two, twin = (build_network(parse_spec(body), UNIT, serving=serving) for serving in (False, False, True))
    assert np.array_equal(one(IMAGES, training=True), two(IMAGES, training=True))
    assert not np.array_equal(one(IMAGES, training=True), one(IMAGES))
    assert [each.name for each in twin.layers] == ["image", "rescaling", "flatten_1", "dense_1"]
    assert np.array_equal(twin(IMAGES), one(IMAGES))


def test_the_twin_of_a_graph_joins_what_is_left() -> None:
    nodes = {
        "stem": {"layer": {"type": "conv2d", "filters": 2, "kernel_size": 3, "trainable": False}, "inputs": "input"},
        "noisy": {"layer": {"type": "gaussian_noise", "stddev": 0.2}, "inputs": "stem"},
        "dropped": {"layer": {"type": "spatial_dropout2d", "rate": 0.2}, "inputs": "stem"},
        "both": {"layer": "concatenate", "inputs": ["noisy", "stem", "dropped"]},
        "twice": {"layer": "add", "inputs": ["both", "both"]},
        "rows": {"layer": {"type": "reshape", "target_shape": [26, -1]}, "inputs": "twice"},
        "memory": {
            "layer": {"type": "gru", "units": 4, "dropout": 0.3, "recurrent_dropout": 0.3, "kernel_regularizer": "l2"},
            "inputs": "rows",
        },
        "output": {"layer": {**END, "activation": "linear"}, "inputs": "memory"},
    }
    spec = parse_spec({"dataset": "mnist", "network": {"graph": nodes}})
    trained, twin = build_network(spec, UNIT), build_network(spec, UNIT, serving=True, seed=9)
    copy_weights(trained, twin)
    assert sources_of(twin)["both"] == ["stem"] * 3
    assert sources_of(twin)["twice"] == ["both"] * 2
    assert twin.layers[-1].name == "probabilities"
    assert (twin.get_layer("memory").dropout, twin.get_layer("memory").recurrent_dropout) == (0, 0)
    assert not twin.losses
    assert np.allclose(twin(IMAGES), keras.ops.softmax(trained(IMAGES)), atol=1e-6)
    assert verify_onnx(export_onnx(twin), twin, IMAGES) < 1e-5


GELU, LEAKY = "gelu", {"type": "leaky_relu", "negative_slope": 0.3}
ROWS = {"type": "reshape", "target_shape": [7, -1]}
EXPORTED: dict[str, list[Any]] = {
    "convolutions": [
        {
            "type": "depthwise_conv2d",
            "kernel_size": [3, 5],
            "strides": 2,
            "depth_multiplier": 3,
            "activation": GELU,
        },
        {"type": "separable_conv2d", "filters": 4, "kernel_size": 3, "padding": "same", "activation": LEAKY},
        "layer_normalization",
        {"type": "global_average_pooling2d", "keepdims": True},
        {"type": "reshape", "target_shape": [-1]},
    ],
    "pooled": [{"type": "separable_conv2d", "filters": 4, "kernel_size": 3}, "global_average_pooling2d"],
    "simple_rnn": [
        ROWS,
        {"type": "simple_rnn", "units": 4, "activation": GELU, "return_sequences": True, "go_backwards": True},
        {"type": "simple_rnn", "units": 4},
    ],
    "lstm": [
        ROWS,
        {"type": "lstm", "units": 4, "return_sequences": True},
        {"type": "lstm", "units": 4, "activation": GELU, "recurrent_activation": GELU, "go_backwards": True},
    ],
    "gru": [
        ROWS,
        {"type": "gru", "units": 4, "activation": LEAKY, "return_sequences": True, "reset_after": False},
        {"type": "gru", "units": 4, "recurrent_activation": "softmax", "go_backwards": True},
    ],
}


def moved(twin: keras.Model) -> keras.Model:
    """The twin with weights that are not the first ones, moving averages included."""
    random = np.random.default_rng(1)
    twin.set_weights([weight + np.abs(random.normal(0, 0.05, weight.shape)) for weight in twin.get_weights()])
    return twin


@pytest.mark.parametrize("layers", EXPORTED.values(), ids=EXPORTED)
def test_each_new_layer_answers_the_same_in_onnx_and_in_its_file(layers: list[Any], tmp_path: Path) -> None:
    spec = parse_spec(network(*layers, END))
    twin = moved(build_network(spec, UNIT, serving=True))
    assert verify_onnx(export_onnx(twin), twin, IMAGES) < 1e-5
    path = tmp_path / "model.keras"
    path.write_bytes(export_keras(twin))
    assert np.array_equal(keras.saving.load_model(path, safe_mode=True)(IMAGES), twin(IMAGES))
    # In float64 there is something to compare with where float32 is not exact enough.
    assert np.allclose(_in_float64(twin, IMAGES), twin(IMAGES), atol=1e-5)


@settings(QUICK, max_examples=5)
@given(specs())
def test_any_network_answers_the_same_in_onnx(body: Body) -> None:
    spec = parse_spec(body)
    twin = build_network(spec, UNIT, serving=True)
    # Weights of a moderate size: a spec may ask for some that overflow.
    random = np.random.default_rng(0)
    twin.set_weights([np.abs(random.normal(0, 0.1, weight.shape)) for weight in twin.get_weights()])
    inputs = random.integers(0, 256, (5, *twin.input_shape[1:])).astype(np.float32)
    assume(np.isfinite(twin(inputs)).all())
    verify_onnx(export_onnx(twin), twin, inputs)

"""The builder: what Keras gets is what the spec says, and counts as `models.spec` counts."""

from typing import Any

import keras
import numpy as np
import pytest

from models.spec import parse_spec
from tests.models.spec.strategies import Body
from tests.models.spec.test_parsing import END, network
from worker.losses import build_loss
from worker.metrics import build_metrics
from worker.network import build_network, copy_weights

UNIT = (1 / 255, 0.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1)).astype(np.float32)


def built(body: Body, **options: Any) -> keras.Model:
    return build_network(parse_spec(body), UNIT, **options)


def weights_of(model: keras.Model) -> list[Any]:
    return [np.array(weight) for weight in model.get_weights()]


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("linear", keras.activations.linear),
        ("sigmoid", keras.activations.sigmoid),
        ("tanh", keras.activations.tanh),
        ("relu", keras.activations.relu),
        ("elu", keras.activations.elu),
        ("selu", keras.activations.selu),
        ("softplus", keras.activations.softplus),
        ("swish", keras.activations.silu),
        ("silu", keras.activations.silu),
        ("gelu", keras.activations.gelu),
        ("softmax", keras.activations.softmax),
    ],
)
def test_every_activation_in_every_place(name: str, function: Any) -> None:
    layers = [
        {"type": "conv2d", "filters": 2, "kernel_size": 3, "activation": name},
        {"type": "activation", "activation": name},
        "flatten",
        {"type": "dense", "units": 3, "activation": {"type": name}},
        END,
    ]
    model = built(network(*layers))
    names = ("conv2d_1", "activation_1", "dense_1")
    assert [model.get_layer(layer).activation for layer in names] == [function] * 3


def test_leaky_relu_with_its_slope() -> None:
    leaky = {"type": "leaky_relu", "negative_slope": 0.25}
    model = built(network({"type": "activation", "activation": leaky}, "flatten", END))
    given_values = np.array([[-4.0, 0.0, 2.0]], np.float32)
    assert np.array(model.get_layer("activation_1")(given_values)).tolist() == [[-1.0, 0.0, 2.0]]


INITIALIZERS = [
    ("glorot_normal", keras.initializers.GlorotNormal, {}),
    ("glorot_uniform", keras.initializers.GlorotUniform, {}),
    ("he_normal", keras.initializers.HeNormal, {}),
    ("he_uniform", keras.initializers.HeUniform, {}),
    ("lecun_normal", keras.initializers.LecunNormal, {}),
    ("lecun_uniform", keras.initializers.LecunUniform, {}),
    ("zeros", keras.initializers.Zeros, {}),
    ("ones", keras.initializers.Ones, {}),
    ("random_normal", keras.initializers.RandomNormal, {"mean": 0.5, "stddev": 0.25}),
    ("truncated_normal", keras.initializers.TruncatedNormal, {"mean": 0.5, "stddev": 0.25}),
    ("random_uniform", keras.initializers.RandomUniform, {"minval": -0.5, "maxval": 0.25}),
    (
        "variance_scaling",
        keras.initializers.VarianceScaling,
        {"scale": 0.5, "mode": "fan_avg", "distribution": "uniform"},
    ),
    ("constant", keras.initializers.Constant, {"value": 0.25}),
    ("orthogonal", keras.initializers.Orthogonal, {"gain": 0.5}),
]


@pytest.mark.parametrize(("name", "kind", "arguments"), INITIALIZERS, ids=[row[0] for row in INITIALIZERS])
@pytest.mark.parametrize("role", ["kernel", "bias"])
def test_every_initializer(name: str, kind: Any, arguments: dict[str, Any], role: str) -> None:
    if name == "orthogonal" and role == "bias":
        return  # Refused: tests/models/spec/test_problems.py.
    chosen = {f"{role}_initializer": {"type": name, **arguments}}
    model = built(network("flatten", {"type": "dense", "units": 3, **chosen}, END))
    initializer = getattr(model.get_layer("dense_1"), f"{role}_initializer")
    assert type(initializer) is kind
    config = initializer.get_config()
    assert {key: config[key] for key in arguments} == arguments


@pytest.mark.parametrize(("name", "kind"), [row[:2] for row in INITIALIZERS], ids=[row[0] for row in INITIALIZERS])
def test_an_initializers_defaults_are_keras_own(name: str, kind: Any) -> None:
    model = built(network("flatten", {"type": "dense", "units": 3, "kernel_initializer": name}, END))
    config = model.get_layer("dense_1").kernel_initializer.get_config()
    assert {**config, "seed": None} == {**kind().get_config(), "seed": None}


def test_the_arguments_of_layers_reach_keras() -> None:
    conv = {"type": "conv2d", "filters": 3, "kernel_size": [3, 5], "strides": 2, "padding": "same", "use_bias": False}
    pool = {"pool_size": [2, 3], "strides": [1, 2], "padding": "same"}
    norm = {"type": "batch_normalization", "momentum": 0.5, "epsilon": 0.01, "center": False, "scale": False}
    model = built(
        network(
            conv,
            {"type": "max_pooling2d", **pool},
            {"type": "average_pooling2d", **pool},
            norm,
            {"type": "dropout", "rate": 0.25},
            "flatten",
            END,
        )
    )
    by_layer: dict[str, dict[str, Any]] = {
        "conv2d_1": {"filters": 3, "kernel_size": (3, 5), "strides": (2, 2), "padding": "same", "use_bias": False},
        "max_pooling2d_1": {"pool_size": (2, 3), "strides": (1, 2), "padding": "same"},
        "average_pooling2d_1": {"pool_size": (2, 3), "strides": (1, 2), "padding": "same"},
        "batch_normalization_1": {"momentum": 0.5, "epsilon": 0.01, "center": False, "scale": False},
        "dropout_1": {"rate": 0.25},
        "dense_1": {"units": 10, "use_bias": True},
    }
    for name, wanted in by_layer.items():
        config = model.get_layer(name).get_config()
        assert {key: config[key] for key in wanted} == wanted
    assert [layer.name for layer in model.layers] == [
        "image",
        "rescaling",
        *list(by_layer)[:-1],
        "flatten_1",
        "dense_1",
    ]


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    random_bias = {"bias_initializer": "random_normal"}
    body = network("flatten", *[{"type": "dense", "units": 784, "use_bias": True, **random_bias}] * 2, END, seed=7)
    first, again, other = built(body), built(body), built({**body, "seed": 8})
    assert same(weights_of(first), weights_of(again))
    assert same(weights_of(built({**body, "seed": 3}, seed=7)), weights_of(first))
    assert not any(
        np.array_equal(one, two) for one, two in zip(weights_of(first)[:4], weights_of(other)[:4], strict=True)
    )
    # Layers of equal shape are not copies of each other.
    assert not np.array_equal(weights_of(first)[0], weights_of(first)[2])


def test_dropout_drops_the_same_for_the_same_seed_in_training_only() -> None:
    body = network("flatten", {"type": "dropout", "rate": 0.5}, END)
    one, two = built(body), built(body)
    assert np.array_equal(one(IMAGES, training=True), two(IMAGES, training=True))
    assert not np.array_equal(one(IMAGES, training=True), one(IMAGES))


@pytest.mark.parametrize("scaling", [(1 / 255, 0.0), (0.0125, -0.5), (1.0, 0.0)])
def test_pixels_are_scaled_inside(scaling: tuple[float, float]) -> None:
    model = build_network(parse_spec(network("flatten", END)), scaling)
    first = IMAGES * scaling[0] + scaling[1]
    kernel, bias = weights_of(model)
    expected = keras.ops.softmax(first.reshape(6, -1) @ kernel + bias)
    assert np.allclose(model(IMAGES), expected, atol=1e-5)
    assert model.input_shape == (None, 28, 28, 1)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_short_and_ends_in_float32(precision: str) -> None:
    leaky = {"type": "dense", "units": 8, "activation": "leaky_relu"}
    body = network("flatten", leaky, {"type": "dense", "units": 10}, {"type": "activation", "activation": "softmax"})
    model = built({**body, "precision": precision})
    assert model.get_layer("dense_1").compute_dtype == precision.removeprefix("mixed_")
    assert model.get_layer("dense_1").variable_dtype == "float32"
    assert model.get_layer("dense_1").output.dtype == precision.removeprefix("mixed_")
    assert model.get_layer("activation_1").compute_dtype == "float32"
    assert model(IMAGES).dtype == "float32"
    twin = built({**body, "precision": precision}, serving=True)
    assert {layer.compute_dtype for layer in twin.layers} == {"float32"}
    copy_weights(model, twin)
    assert np.allclose(twin(IMAGES), model(IMAGES), atol=0.02)


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_without_a_gpu_auto_is_float32(precision: str) -> None:
    model = built(network("flatten", END, precision=precision, device="cpu"))
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@pytest.mark.parametrize(
    ("loss", "units", "classes", "added"),
    [
        ({"type": "sparse_categorical_crossentropy", "from_logits": True}, 10, None, "softmax"),
        ({"type": "categorical_crossentropy", "from_logits": True}, 10, None, "softmax"),
        ({"type": "binary_crossentropy", "from_logits": True}, 1, [3, 8], "sigmoid"),
        ({"type": "binary_crossentropy", "from_logits": True}, 2, [3, 8], "sigmoid"),
    ],
)
def test_the_twin_serves_probabilities_of_the_trained_network(
    loss: Any, units: int, classes: list[int] | None, added: str
) -> None:
    layers = [
        {"type": "conv2d", "filters": 2, "kernel_size": 3},
        {"type": "dropout", "rate": 0.5},
        "batch_normalization",
        "flatten",
        {"type": "dropout", "rate": 0.5},
        {"type": "dense", "units": units},
    ]
    body = {"dataset": {"name": "mnist", "classes": classes}, "network": {"layers": layers}, "loss": loss}
    trained, twin = built(body), built(body, serving=True, seed=99)
    trained.get_layer("batch_normalization_1").moving_mean.assign([0.5, -0.5])
    copy_weights(trained, twin)
    expected = keras.activations.get(added)(trained(IMAGES))
    assert np.allclose(twin(IMAGES), expected, atol=1e-6)
    assert not [layer for layer in twin.layers if isinstance(layer, keras.layers.Dropout)]
    assert twin.layers[-1].name == "probabilities"


def test_nothing_is_added_to_a_network_that_ends_in_probabilities() -> None:
    assert built(network("flatten", END), serving=True).layers[-1].name == "dense_1"


@pytest.mark.parametrize(
    ("loss", "kind", "config"),
    [
        (
            {"type": "categorical_crossentropy", "label_smoothing": 0.1},
            keras.losses.CategoricalCrossentropy,
            {"from_logits": False, "label_smoothing": 0.1},
        ),
        (
            {"type": "binary_crossentropy", "label_smoothing": 0.2},
            keras.losses.BinaryCrossentropy,
            {"from_logits": False, "label_smoothing": 0.2},
        ),
        ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy, {"from_logits": False}),
        ("mse", keras.losses.MeanSquaredError, {}),
    ],
)
def test_every_loss(loss: Any, kind: Any, config: dict[str, Any]) -> None:
    keras_loss = build_loss(parse_spec(network("flatten", END, loss=loss)))
    assert type(keras_loss) is kind
    assert {key: keras_loss.get_config()[key] for key in config} == config


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy", "sparse_categorical_crossentropy"])
def test_a_loss_from_logits(loss: str) -> None:
    last = {**END, "activation": "linear"}
    keras_loss = build_loss(parse_spec(network("flatten", last, loss={"type": loss, "from_logits": True})))
    assert keras_loss.get_config()["from_logits"] is True


def test_golden_cross_entropies() -> None:
    spec = parse_spec({"dataset": {"name": "mnist", "classes": [1, 2, 3]}, "loss": "categorical_crossentropy"})
    value = build_loss(spec)([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    assert float(value) == pytest.approx(1.1769, abs=1e-4)
    spec = parse_spec({"dataset": {"name": "mnist", "classes": [1, 2]}, "loss": "binary_crossentropy"})
    assert float(build_loss(spec)([[0.0], [1.0]], [[0.4], [0.6]])) == pytest.approx(0.5108, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "labels", "outputs"),
    [
        ("sparse_categorical_crossentropy", [1, 0, 1, 1], [[0.4, 0.6], [0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]),
        ("mse", [[0, 1], [1, 0], [0, 1], [0, 1]], [[0.4, 0.6], [0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]),
    ],
)
def test_accuracy_counts_for_labels_as_the_loss_wants_them(loss: str, labels: Any, outputs: Any) -> None:
    spec = parse_spec({"dataset": {"name": "mnist", "classes": [3, 8]}, "loss": loss})
    (metric,) = build_metrics(spec)
    metric.update_state(np.array(labels), np.array(outputs))
    assert metric.name == "accuracy"
    assert float(metric.result()) == 0.75


@pytest.mark.parametrize(("from_logits", "outputs"), [(False, [0.6, 0.4, 0.3, 0.8]), (True, [0.1, -0.1, -2, 0.4])])
def test_accuracy_of_a_single_output(from_logits: bool, outputs: list[float]) -> None:
    last = {"type": "dense", "units": 1, "activation": "linear" if from_logits else "sigmoid"}
    body = {"dataset": {"name": "mnist", "classes": [3, 8]}, "network": {"layers": ["flatten", last]}}
    spec = parse_spec({**body, "loss": {"type": "binary_crossentropy", "from_logits": from_logits}})
    (metric,) = build_metrics(spec)
    metric.update_state(np.array([[1.0], [0.0], [1.0], [1.0]]), np.array(outputs)[:, None])
    assert float(metric.result()) == 0.75


def test_no_metrics_when_none_are_asked_for() -> None:
    assert build_metrics(parse_spec({"dataset": "mnist", "metrics": []})) == []

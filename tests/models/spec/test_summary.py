"""What a spec amounts to: shapes and counts by hand here, against Keras in tests/worker/test_network.py."""

from typing import Any

import pytest
from hypothesis import given

from models.spec import class_labels, output_kind, parse_spec, summarize
from models.spec.data import train_count
from models.spec.summary import memory_mb
from tests.models.spec.strategies import Body, specs
from tests.models.spec.test_parsing import END, network


def test_the_numbers_of_a_small_network() -> None:
    layers = ["flatten", {"type": "dense", "units": 32, "activation": "relu"}, "batch_normalization", END]
    summary = summarize(parse_spec(network(*layers, batch_size=32)))
    assert [(layer.name, list(layer.output_shape), layer.parameters) for layer in summary.layers] == [
        ("flatten_1", [784], 0),
        ("dense_1", [32], 785 * 32),
        ("batch_normalization_1", [32], 4 * 32),
        ("dense_2", [10], 33 * 10),
    ]
    assert summary.parameters == 785 * 32 + 4 * 32 + 33 * 10
    assert summary.trainable_parameters == summary.parameters - 2 * 32
    assert summary.multiply_adds == 784 * 32 + 32 * 10
    assert summary.steps_per_epoch == 1688  # 54,000 images, the last batch partial
    assert [(point.step, point.learning_rate) for point in summary.learning_rate] == [(0, 0.001), (8439, 0.001)]
    data = 60_000 * (784 + 8)
    weights = 4 * (summary.parameters + 3 * summary.trainable_parameters)  # gradients and Adam's two
    activations = 32 * (4 * 784 + 2 * 4 * (784 + 32 + 32 + 10))
    assert summary.memory_bytes == data + weights + activations


def test_what_a_worker_needs_is_more_than_training_holds() -> None:
    body = {"dataset": "digits", "network": {"layers": ["flatten", {"type": "dense", "units": 4000}, END]}}
    spec = parse_spec(body)
    numbers = summarize(spec)
    assert numbers.parameters == 785 * 4000 + 4001 * 10
    assert memory_mb(spec) == 700 + (numbers.memory_bytes + 200 * numbers.parameters) // 1_000_000
    assert memory_mb(parse_spec(body | {"device": "gpu"})) is None
    assert memory_mb(parse_spec(body | {"kind": "gradient_check"})) == 700 + numbers.memory_bytes // 1_000_000


def test_the_multiply_adds_of_a_convolution() -> None:
    conv = {"type": "conv2d", "filters": 8, "kernel_size": [3, 5], "strides": [2, 1], "padding": "same"}
    first = summarize(parse_spec(network(conv, "flatten", END))).layers[0]
    assert first.output_shape == (14, 28, 8)
    assert first.parameters == 3 * 5 * 8 + 8
    assert first.multiply_adds == 14 * 28 * 3 * 5 * 8


@pytest.mark.parametrize(
    ("rest", "steps"),
    [
        ({"dataset": "mnist"}, 844),
        ({"dataset": {"name": "mnist", "validation": "none"}}, 938),
        ({"dataset": {"name": "mnist", "validation": {"test": True}}}, 938),
        ({"dataset": {"name": "mnist", "train_size": 100}}, 2),
        ({"dataset": {"name": "mnist", "classes": [0, 1], "validation": "none"}}, 198),  # 5,923 + 6,742 images
        ({"dataset": "mnist", "batch_size": "full"}, 1),
        ({"dataset": {"name": "mnist", "train_size": 10}, "batch_size": 64}, 1),
    ],
)
def test_steps_per_epoch(rest: Body, steps: int) -> None:
    assert summarize(parse_spec(rest)).steps_per_epoch == steps


@pytest.mark.parametrize(
    ("optimizer", "kept"),
    [
        ("sgd", 0),
        ({"type": "sgd", "momentum": 0.9}, 1),
        ("adam", 2),
        ({"type": "adam", "amsgrad": True}, 3),
        ("rmsprop", 1),
        ({"type": "rmsprop", "momentum": 0.9, "centered": True}, 3),
        ("adagrad", 1),
    ],
)
def test_memory_counts_what_the_optimizer_keeps(optimizer: Any, kept: int) -> None:
    def memory(choice: Any) -> int:
        return summarize(parse_spec({"dataset": "mnist", "optimizer": choice})).memory_bytes

    parameters = summarize(parse_spec({"dataset": "mnist"})).trainable_parameters
    assert memory(optimizer) - memory("sgd") == 4 * kept * parameters


@pytest.mark.parametrize(
    ("last", "loss", "labels", "added"),
    [
        (END, "sparse_categorical_crossentropy", "integer", None),
        (END, "categorical_crossentropy", "one_hot", None),
        (END, "mse", "one_hot", None),
        (END, "binary_crossentropy", "one_hot", None),
        (
            {**END, "activation": "linear"},
            {"type": "sparse_categorical_crossentropy", "from_logits": True},
            "integer",
            "softmax",
        ),
        (
            {**END, "activation": "linear"},
            {"type": "categorical_crossentropy", "from_logits": True},
            "one_hot",
            "softmax",
        ),
        ({**END, "activation": "linear"}, {"type": "binary_crossentropy", "from_logits": True}, "one_hot", "sigmoid"),
    ],
)
def test_output_kind_follows_the_loss(last: Body, loss: Any, labels: str, added: str | None) -> None:
    kind = output_kind(parse_spec(network("flatten", last, loss=loss)))
    assert (kind.outputs, kind.labels, kind.serving_activation) == (10, labels, added)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "mse", {"type": "binary_crossentropy", "from_logits": True}])
def test_one_output_for_two_classes_is_binary(loss: Any) -> None:
    from_logits = isinstance(loss, dict)
    last = {"type": "dense", "units": 1, "activation": "linear" if from_logits else "sigmoid"}
    body = {
        "dataset": {"name": "mnist", "classes": [8, 3]},
        "network": {"layers": ["flatten", last]},
        "loss": loss,
    }
    kind = output_kind(parse_spec(body))
    assert (kind.outputs, kind.labels) == (1, "binary")
    assert kind.serving_activation == ("sigmoid" if from_logits else None)
    assert kind.class_labels == [8, 3]


@given(specs())
def test_a_valid_spec_can_be_summarised(body: Body) -> None:
    spec = parse_spec(body)
    summary = summarize(spec)
    assert summary.layers[-1].output_shape == (output_kind(spec).outputs,)
    assert summary.parameters == sum(layer.parameters for layer in summary.layers)
    assert 1 <= summary.steps_per_epoch <= train_count(spec.dataset)
    assert output_kind(spec).outputs in (1, len(class_labels(spec)))
    assert summary.memory_bytes > 4 * summary.parameters

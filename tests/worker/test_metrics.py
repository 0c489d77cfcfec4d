"""Metrics of a spec: macro means as scikit-learn computes them, whatever labels and outputs the loss wants."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score, top_k_accuracy_score

from models.spec import JobSpec, output_kind, parse_spec
from tests.worker.spirals import BATCH, EXAMPLES, SPIRALS, spiral_model, spiral_spec
from worker.chunks import Chunks
from worker.metrics import build_metrics
from worker.training import fit

TOP_3 = {"type": "top_k_categorical_accuracy", "k": 3}
NAMES = ["accuracy", "precision", "recall", "f1", "mean_absolute_error", "mean_squared_error"]
SKLEARN = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
LOSSES: list[tuple[Any, str]] = [
    ("sparse_categorical_crossentropy", "softmax"),
    ({"type": "sparse_categorical_crossentropy", "from_logits": True}, "linear"),
    ("categorical_crossentropy", "softmax"),
    ({"type": "categorical_crossentropy", "from_logits": True}, "linear"),
    ("categorical_hinge", "linear"),
    ("mse", "softmax"),
]
SINGLE: list[tuple[Any, str]] = [
    ("binary_crossentropy", "sigmoid"),
    ({"type": "binary_crossentropy", "from_logits": True}, "linear"),
    ("hinge", "linear"),
    ("mse", "sigmoid"),
]


def softmax(scores: Any) -> Any:
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def several(loss: Any, last: str, metrics: list[Any]) -> JobSpec:
    layers = ["flatten", {"type": "dense", "units": 10, "activation": last}]
    return parse_spec({"dataset": "digits", "network": {"layers": layers}, "loss": loss, "metrics": metrics})


def one_unit(loss: Any, last: str, metrics: list[Any]) -> JobSpec:
    layers = ["flatten", {"type": "dense", "units": 1, "activation": last}]
    dataset = {"name": "digits", "classes": [3, 8]}
    return parse_spec({"dataset": dataset, "network": {"layers": layers}, "loss": loss, "metrics": metrics})


def measured(spec: JobSpec, truth: Any, outputs: Any) -> dict[str, float]:
    """What the metrics of `spec` say of `truth` (n,), given in two batches as the loss wants it."""
    kind = output_kind(spec)
    labels: Any = truth
    if kind.labels == "one_hot":
        labels = np.eye(kind.outputs, dtype=np.float32)[truth]
    elif kind.labels == "binary":
        labels = truth[:, None].astype(np.float32)
    metrics = build_metrics(spec)
    for part in (slice(0, 7), slice(7, None)):
        for metric in metrics:
            metric.update_state(labels[part], outputs[part].astype(np.float32))
    return {metric.name: float(metric.result()) for metric in metrics}


@pytest.mark.parametrize(("loss", "last"), LOSSES)
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000), most=st.integers(2, 10))
def test_means_over_the_classes(loss: Any, last: str, seed: int, most: int) -> None:
    """Of `most` classes, so that some may never occur and some never be predicted."""
    rng = np.random.default_rng(seed)
    truth, scores = rng.integers(0, most, 40), rng.normal(0, 3, (40, 10))
    probabilities = softmax(scores)
    found = measured(several(loss, last, [*NAMES, TOP_3]), truth, scores if last == "linear" else probabilities)
    predicted, one_hot = scores.argmax(axis=1), np.eye(10)[truth]
    for name, score in SKLEARN.items():
        expected = score(truth, predicted, labels=range(10), average="macro", zero_division=0)
        assert found[name] == pytest.approx(expected, abs=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(predicted == truth), abs=1e-6)
    assert found["top_k_categorical_accuracy"] == pytest.approx(
        top_k_accuracy_score(truth, scores, k=3, labels=range(10)), abs=1e-6
    )
    assert found["mean_absolute_error"] == pytest.approx(np.abs(one_hot - probabilities).mean(), abs=1e-6)
    assert found["mean_squared_error"] == pytest.approx(((one_hot - probabilities) ** 2).mean(), abs=1e-6)


@pytest.mark.parametrize(("loss", "last"), LOSSES[1:3])
def test_auc_is_keras_mean_of_one_class_against_the_others(loss: Any, last: str) -> None:
    rng = np.random.default_rng(5)
    truth, scores = rng.integers(0, 10, 40), rng.normal(0, 3, (40, 10))
    found = measured(several(loss, last, ["auc"]), truth, scores if last == "linear" else softmax(scores))
    by_class = []
    for label in range(10):
        auc = keras.metrics.AUC()
        auc.update_state(truth == label, softmax(scores)[:, label].astype(np.float32))
        by_class.append(float(auc.result()))
    assert found["auc"] == pytest.approx(np.mean(by_class), abs=1e-6)


@pytest.mark.parametrize(("loss", "last"), SINGLE)
@settings(max_examples=5)
@given(seed=st.integers(0, 10_000))
def test_one_unit_is_measured_for_the_second_class(loss: Any, last: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = rng.integers(0, 2, 40), rng.normal(0, 3, (40, 1))
    probabilities = 1 / (1 + np.exp(-scores))
    found = measured(one_unit(loss, last, NAMES), truth, scores if last == "linear" else probabilities)
    predicted = (scores[:, 0] > 0).astype(np.int64)
    for name, score in SKLEARN.items():
        assert found[name] == pytest.approx(score(truth, predicted, zero_division=0), abs=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(predicted == truth), abs=1e-6)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(truth - probabilities[:, 0]).mean(), abs=1e-6)
    assert found["mean_squared_error"] == pytest.approx(((truth - probabilities[:, 0]) ** 2).mean(), abs=1e-6)


def test_auc_of_one_unit_is_keras_own() -> None:
    rng = np.random.default_rng(6)
    truth, scores = rng.integers(0, 2, 40), rng.normal(0, 3, (40, 1))
    auc = keras.metrics.AUC()
    auc.update_state(truth, (1 / (1 + np.exp(-scores[:, 0]))).astype(np.float32))
    assert measured(one_unit(*SINGLE[1], ["auc"]), truth, scores) == {"auc": pytest.approx(float(auc.result()))}


def test_hinge_with_one_tanh_unit_decides_at_zero() -> None:
    spec = one_unit("hinge", "tanh", ["accuracy", "precision", "recall"])
    found = measured(spec, np.array([1, 1, 0, 0, 1]), np.array([[0.1], [0.9], [-0.1], [0.2], [-0.7]]))
    assert found == {"accuracy": pytest.approx(0.6), "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3)}


def test_errors_of_values() -> None:
    spec = parse_spec({"dataset": "polynomial", "metrics": ["mae", "mse"]})
    mae, mse = build_metrics(spec)
    for metric in (mae, mse):
        metric.update_state(np.array([[2.0], [-1.0]]), np.array([[2.5], [-2.5]]))
    assert (mae.name, float(mae.result())) == ("mean_absolute_error", 1.0)
    assert (mse.name, float(mse.result())) == ("mean_squared_error", 1.25)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_that_is_reset_forgets(name: str) -> None:
    (metric,) = build_metrics(several("sparse_categorical_crossentropy", "softmax", [name]))
    outputs = np.random.default_rng(0).dirichlet(np.ones(10), 20).astype(np.float32)
    truth = outputs.argmax(axis=1)
    metric.update_state(truth, outputs)
    fresh = float(metric.result())
    metric.update_state((truth + 1) % 10, outputs)
    assert float(metric.result()) != fresh
    metric.reset_state()
    metric.update_state(truth, outputs)
    assert float(metric.result()) == fresh


def test_accuracy_alone_is_keras_own_and_costs_nothing_more() -> None:
    (metric,) = build_metrics(several("sparse_categorical_crossentropy", "softmax", ["accuracy"]))
    assert type(metric) is keras.metrics.SparseCategoricalAccuracy


def test_they_are_measured_inside_the_compiled_loop_in_every_epoch() -> None:
    spec = spiral_spec(metrics=[*NAMES, "auc", {**TOP_3, "k": 2}])
    model = spiral_model(spec)
    chunks, names = Chunks(EXAMPLES, BATCH, rows=6), [*NAMES, "auc", "top_k_categorical_accuracy"]
    history = fit(model, chunks, seed=0, epochs=2, validated=10).history
    assert set(history) == {*names, *(f"val_{name}" for name in names), "loss", "val_loss"}
    outputs = model.network.predict(SPIRALS.x_test, verbose=0)
    found = {name: history[f"val_{name}"][-1] for name in names}
    assert found == pytest.approx(measured(spec, SPIRALS.y_test, outputs), abs=1e-5)
    assert all(0 < value < 1 for name in names for value in history[name])

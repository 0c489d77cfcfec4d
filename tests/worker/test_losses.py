"""Every loss of a spec is Keras's with the spec's arguments, and gives what the formula gives."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from models.spec import output_kind, parse_spec
from tests.models.spec.strategies import Body
from tests.models.spec.test_parsing import END, network
from worker.layers import ACTIVATIONS
from worker.losses import build_loss

RNG = np.random.default_rng(3)
ROWS, CLASSES = 12, 10
TRUTH = RNG.integers(0, CLASSES, ROWS)
ONE_HOT = np.eye(CLASSES)[TRUTH]
SCORES = RNG.normal(0, 2, (ROWS, CLASSES))
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
SIGMOIDS = 1 / (1 + np.exp(-SCORES))


def huber(error: Any, delta: float) -> Any:
    return np.where(np.abs(error) <= delta, error**2 / 2, delta * np.abs(error) - delta**2 / 2)


def binary(labels: Any, probabilities: Any) -> Any:
    return -(labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities))


def value(loss: Any, last: str, labels: Any, outputs: Any, **rest: Any) -> float:
    spec = parse_spec(network("flatten", {**END, "activation": last}, loss=loss, **rest))
    return float(build_loss(spec)(np.asarray(labels, np.float32), np.asarray(outputs, np.float32)))


@pytest.mark.parametrize(
    ("loss", "last", "outputs", "formula"),
    [
        ("mse", "softmax", PROBABILITIES, lambda: (PROBABILITIES - ONE_HOT) ** 2),
        ("mae", "softmax", PROBABILITIES, lambda: np.abs(PROBABILITIES - ONE_HOT)),
        ("huber", "linear", SCORES, lambda: huber(SCORES - ONE_HOT, 1.0)),
        ({"type": "huber", "delta": 0.3}, "linear", SCORES, lambda: huber(SCORES - ONE_HOT, 0.3)),
        ("kl_divergence", "softmax", PROBABILITIES, lambda: -np.log(PROBABILITIES[ONE_HOT == 1])),
        ("categorical_crossentropy", "softmax", PROBABILITIES, lambda: -np.log(PROBABILITIES[ONE_HOT == 1])),
        (
            {"type": "categorical_crossentropy", "from_logits": True},
            "linear",
            SCORES,
            lambda: -np.log(PROBABILITIES[ONE_HOT == 1]),
        ),
        (
            {"type": "categorical_crossentropy", "label_smoothing": 0.2},
            "softmax",
            PROBABILITIES,
            lambda: -((0.8 * ONE_HOT + 0.02) * np.log(PROBABILITIES)).sum(axis=1),
        ),
        ("binary_crossentropy", "sigmoid", SIGMOIDS, lambda: binary(ONE_HOT, SIGMOIDS)),
        (
            {"type": "binary_crossentropy", "from_logits": True, "label_smoothing": 0.2},
            "linear",
            SCORES,
            lambda: binary(0.8 * ONE_HOT + 0.1, SIGMOIDS),
        ),
        ("hinge", "linear", SCORES, lambda: np.maximum(1 - (2 * ONE_HOT - 1) * SCORES, 0)),
        (
            "categorical_hinge",
            "linear",
            SCORES,
            lambda: np.maximum(((1 - ONE_HOT) * SCORES).max(axis=1) - SCORES[ONE_HOT == 1] + 1, 0),
        ),
    ],
)
def test_the_mean_over_the_batch_of_the_formula(loss: Any, last: str, outputs: Any, formula: Callable[[], Any]) -> None:
    assert value(loss, last, ONE_HOT, outputs) == pytest.approx(float(np.mean(formula())), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("from_logits", [False, True])
def test_integer_labels(from_logits: bool) -> None:
    loss = {"type": "sparse_categorical_crossentropy", "from_logits": from_logits}
    last, outputs = ("linear", SCORES) if from_logits else ("softmax", PROBABILITIES)
    expected = -np.log(PROBABILITIES[ONE_HOT == 1]).mean()
    assert value(loss, last, TRUTH, outputs) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "activation", "outputs", "expected"),
    [
        ("mse", "sigmoid", [0.4, 0.9], (0.4**2 + 0.1**2) / 2),
        ("mae", "sigmoid", [0.4, 0.9], 0.25),
        ("huber", "sigmoid", [0.4, 0.9], (0.4**2 + 0.1**2) / 4),
        ("binary_crossentropy", "sigmoid", [0.4, 0.6], 0.510826),
        ("hinge", "tanh", [0.4, 0.6], (1.4 + 0.4) / 2),
    ],
)
def test_one_output_for_two_classes(loss: str, activation: str, outputs: list[float], expected: float) -> None:
    body: Body = network("flatten", {"type": "dense", "units": 1, "activation": activation}, loss=loss)
    spec = parse_spec(body | {"dataset": {"name": "mnist", "classes": [3, 8]}})
    assert output_kind(spec).labels == "binary"
    found = build_loss(spec)(np.array([[0.0], [1.0]]), np.array(outputs)[:, None])
    assert float(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("loss", "expected"), [("mse", 1.25), ("mae", 1.0), ("huber", (0.125 + 1.0) / 2)])
def test_values(loss: str, expected: float) -> None:
    spec = parse_spec({"dataset": "polynomial", "loss": loss})
    assert float(build_loss(spec)([[2.0], [-1.0]], [[2.5], [-2.5]])) == pytest.approx(expected)


def test_kl_divergence_from_one_hot_labels_is_the_cross_entropy() -> None:
    arguments = ("softmax", ONE_HOT, PROBABILITIES)
    assert value("kl_divergence", *arguments) == pytest.approx(value("categorical_crossentropy", *arguments), rel=1e-5)


def test_reduction_is_the_mean() -> None:
    spec = parse_spec(network("flatten", END, loss="mae"))
    assert build_loss(spec).reduction == keras.losses.MeanAbsoluteError().reduction == "sum_over_batch_size"


def test_softmax_of_the_golden_numbers() -> None:
    answers = ACTIVATIONS["softmax"](np.array([[1.0, 2.0, 5.0, 3.0]], np.float32))
    assert keras.ops.convert_to_numpy(answers)[0].tolist() == pytest.approx([0.0152, 0.0414, 0.8310, 0.1125], abs=5e-5)

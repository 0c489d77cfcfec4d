"""The spiral of the optimizer chapter against the same steps written out in NumPy.

Longer runs cannot be compared: with a constant rate of 1.0 a difference in the tenth digit of one weight decides after
thousands of epochs whether the accuracy is 0.6 or 0.8 (docs/experiments.md shows the spread).
"""

from pathlib import Path

import numpy as np
import pytest

from models.spec import parse_spec
from models.spec.schedules import rate_at
from models.synthetic import spiral
from worker.data import split_for
from worker.rehearsal import chunks_of
from worker.steering import plain
from worker.training import build_model, fit

HIDDEN = {"type": "dense", "units": 64, "activation": "relu"}
# Rate, its decay, momentum, and how many epochs rounding leaves alone: momentum is at the edge of chaos after 150.
SETTINGS = [
    (1.0, 0.0, 0.0, 300),
    (0.85, 0.0, 0.0, 300),
    (1.0, 1e-2, 0.0, 300),
    (1.0, 1e-3, 0.0, 300),
    (1.0, 1e-3, 0.9, 120),
]


def numpy_losses(weights: list[np.ndarray], rates: np.ndarray, momentum: float) -> list[float]:
    """The loss before each of the steps of gradient descent, and after the last."""
    x, labels = spiral(100, 3, 0)
    points, count = x.astype(np.float64), len(x)
    velocity = [np.zeros_like(weight) for weight in weights]
    losses = []
    for rate in (*rates, 0.0):
        kernel_1, bias_1, kernel_2, bias_2 = weights
        hidden = np.maximum(points @ kernel_1 + bias_1, 0)
        scores = np.exp(hidden @ kernel_2 + bias_2)
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        losses.append(float(-np.log(probabilities[np.arange(count), labels]).mean()))
        error = (probabilities - np.eye(3)[labels]) / count
        back = (error @ kernel_2.T) * (hidden > 0)
        gradients = [points.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
        velocity = [momentum * v - rate * gradient for v, gradient in zip(velocity, gradients, strict=True)]
        weights = [weight + v for weight, v in zip(weights, velocity, strict=True)]
    return losses


@pytest.mark.parametrize(("rate", "decay", "momentum", "epochs"), SETTINGS)
def test_the_engine_takes_the_steps_of_gradient_descent(
    rate: float, decay: float, momentum: float, epochs: int
) -> None:
    schedule = {"type": "inverse_time_decay", "initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
    spec = parse_spec(
        {
            "dataset": "spiral",
            "network": {"layers": [HIDDEN, {"type": "dense", "units": 3, "activation": "softmax"}]},
            "optimizer": {"type": "sgd", "learning_rate": schedule if decay else rate, "momentum": momentum},
            "batch_size": "full",
            "epochs": epochs,
        }
    )
    split = split_for(spec, Path(), offline=True)
    model = build_model(spec, split, (1.0, 0.0))
    random = np.random.RandomState(0)
    first = [0.01 * random.standard_normal((2, 64)), np.zeros(64), 0.01 * random.standard_normal((64, 3)), np.zeros(3)]
    model.network.set_weights(first)
    chunks = chunks_of(spec, len(split.x_train))
    history = fit(model, chunks, seed=spec.seed, epochs=epochs)
    losses = [plain(loss) for loss in history.history["loss"]]
    expected = numpy_losses(first, rate_at(spec.optimizer.learning_rate, np.arange(epochs)), momentum)
    # What Keras reports of an epoch of one batch is the loss before the step.
    assert losses == pytest.approx(expected[:epochs], rel=2e-3)

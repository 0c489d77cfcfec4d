"""Learning rates by step: golden numbers here, against Keras in tests/worker/test_schedules.py."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec import parse_spec, summarize
from models.spec.schedules import CURVE_POINTS, rate_at
from models.spec.training import LearningRate
from tests.models.spec.strategies import Body, schedules

DECAY = {"initial_learning_rate": 0.1, "decay_rate": 0.9, "decay_steps": 2}


def plan(learning_rate: Any) -> LearningRate:
    body = {"dataset": "digits", "optimizer": {"type": "sgd", "learning_rate": learning_rate}}
    return parse_spec(body).optimizer.learning_rate


def curve(learning_rate: Any, epochs: int, train_size: int, batch_size: int = 1) -> list[tuple[int, float]]:
    dataset = {"name": "mnist", "validation": "none", "train_size": train_size}
    optimizer = {"type": "sgd", "learning_rate": learning_rate}
    body = {"dataset": dataset, "optimizer": optimizer, "epochs": epochs, "batch_size": batch_size}
    return [(point.step, point.learning_rate) for point in summarize(parse_spec(body)).learning_rate]


@pytest.mark.parametrize(
    ("learning_rate", "rates"),
    [
        (0.25, [0.25] * 4),
        ({"type": "exponential_decay", "staircase": True, **DECAY}, [0.1, 0.1, 0.09, 0.09, 0.081, 0.081]),
        ({"type": "exponential_decay", **DECAY}, [0.1, 0.1 * 0.9**0.5, 0.09, 0.09 * 0.9**0.5]),
        (
            {"type": "inverse_time_decay", "initial_learning_rate": 1.0, "decay_rate": 0.1, "decay_steps": 1},
            [1.0, 1 / 1.1, 1 / 1.2, 1 / 1.3],
        ),
        (
            {"type": "inverse_time_decay", "staircase": True, **DECAY, "decay_rate": 1.0},
            [0.1, 0.1, 0.05, 0.05, 0.1 / 3],
        ),
        (
            {"type": "polynomial_decay", "initial_learning_rate": 1.0, "decay_steps": 4, "end_learning_rate": 0.2},
            [1.0, 0.8, 0.6, 0.4, 0.2, 0.2],
        ),
        (
            {
                "type": "polynomial_decay",
                "initial_learning_rate": 1.0,
                "decay_steps": 2,
                "end_learning_rate": 0.0,
                "cycle": True,
            },
            [1.0, 0.5, 0.0, 0.25, 0.0, 1 / 6, 0.0],
        ),
        (
            {"type": "cosine_decay", "initial_learning_rate": 1.0, "decay_steps": 2, "alpha": 0.5},
            [1.0, 0.75, 0.5, 0.5],
        ),
        (
            {
                "type": "cosine_decay",
                "initial_learning_rate": 0,
                "warmup_target": 1,
                "warmup_steps": 2,
                "decay_steps": 2,
            },
            [0.0, 0.5, 1.0, 0.5, 0.0, 0.0],
        ),
        (
            {"type": "cosine_decay_restarts", "initial_learning_rate": 1.0, "first_decay_steps": 2, "m_mul": 0.5},
            [1.0, 0.5, 0.5, 0.25 + 0.25 * 0.5**0.5, 0.25, 0.25 - 0.25 * 0.5**0.5, 0.25],
        ),
        (
            {"type": "piecewise_constant", "boundaries": [1, 3], "values": [0.3, 0.2, 0.1]},
            [0.3, 0.3, 0.2, 0.2, 0.1, 0.1],
        ),
    ],
)
def test_the_first_rates(learning_rate: Any, rates: list[float]) -> None:
    found = rate_at(plan(learning_rate), np.arange(len(rates)))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, rates, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("t_mul", [1.0, 2.0, 3.0, 10.0])
def test_every_restart_begins_at_the_top(t_mul: float) -> None:
    """Also where floating-point logarithms of powers are a little short, such as log(243) / log(3)."""
    waves = 5 if t_mul > 3 else 9
    lengths = 3 * t_mul ** np.arange(waves)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    restarts = plan(
        {"type": "cosine_decay_restarts", "initial_learning_rate": 1.0, "first_decay_steps": 3, "t_mul": t_mul}
    )
    np.testing.assert_allclose(rate_at(restarts, starts), 1.0, atol=1e-12)
    assert (rate_at(restarts, starts[1:] - 1) < 0.3).all()


@given(schedules, st.integers(1, 10**9))
def test_rates_are_finite_and_depend_on_the_step_alone(learning_rate: Body, step: int) -> None:
    schedule = plan(learning_rate)
    alone, among = rate_at(schedule, np.array(step)), rate_at(schedule, np.array([[0, step], [step, 1]]))
    assert among.shape == (2, 2)
    assert float(alone) == among[0, 1] == among[1, 0]
    assert 0 <= float(alone) <= 10_000


def test_a_number_is_shown_by_its_ends() -> None:
    assert curve(0.01, epochs=3, train_size=10) == [(0, 0.01), (29, 0.01)]
    assert curve(0.01, epochs=1, train_size=1) == [(0, 0.01)]


def test_the_curve_of_a_short_run_has_every_step() -> None:
    found = curve({"type": "exponential_decay", "staircase": True, **DECAY}, epochs=3, train_size=2)
    assert [step for step, _ in found] == list(range(6))
    assert [rate for _, rate in found] == pytest.approx([0.1, 0.1, 0.09, 0.09, 0.081, 0.081])


@given(schedules, st.integers(1, 100_000), st.integers(1, 100))
def test_the_curve_is_the_schedule_in_at_most_200_points(learning_rate: Body, epochs: int, train_size: int) -> None:
    found = curve(learning_rate, epochs, train_size)
    steps = [step for step, _ in found]
    assert len(steps) <= CURVE_POINTS
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, epochs * train_size - 1)
    np.testing.assert_array_equal([rate for _, rate in found], rate_at(plan(learning_rate), np.array(steps)))
    for boundary in learning_rate.get("boundaries", []):
        if boundary + 1 <= steps[-1]:
            assert {boundary, boundary + 1} <= set(steps)


def test_the_corners_of_a_schedule_are_on_its_curve() -> None:
    cosine = {
        "type": "cosine_decay",
        "initial_learning_rate": 0.0,
        "decay_steps": 70_007,
        "warmup_target": 1.0,
        "warmup_steps": 1003,
    }
    found = dict(curve(cosine, epochs=100, train_size=1000))
    assert found[1003] == 1.0
    assert found[71_010] == pytest.approx(0, abs=1e-15)

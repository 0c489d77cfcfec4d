"""The learning rate batch by batch, in float64, worked out by us so that a running job's rate can still be changed.

The formulas are those of `keras.optimizers.schedules` (Keras 3.15), https://keras.io/api/optimizers/
learning_rate_schedules/; the cosine with restarts is Loshchilov and Hutter's, https://arxiv.org/abs/1608.03983.
"""

from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from models.spec.training import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRate,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

CURVE_POINTS = 200

Float64 = npt.NDArray[np.float64]


def rate_at(learning_rate: LearningRate, steps: npt.NDArray[Any]) -> Float64:
    """The learning rate of each of `steps`, which count batches from 0 over the whole run; of their shape.

    A rate that float64 cannot hold is infinite.
    """
    step = np.asarray(steps, np.float64)
    match learning_rate:
        case ExponentialDecay() as plan:
            with np.errstate(over="ignore", under="ignore"):
                return plan.initial_learning_rate * np.power(plan.decay_rate, _periods(plan, step))
        case InverseTimeDecay() as plan:
            return plan.initial_learning_rate / (1 + plan.decay_rate * _periods(plan, step))
        case PolynomialDecay() as plan:
            return _polynomial(plan, step)
        case CosineDecay() as plan:
            return _cosine(plan, step)
        case CosineDecayRestarts() as plan:
            return _restarts(plan, step)
        case PiecewiseConstantDecay(boundaries=boundaries, values=values):
            return np.asarray(values, np.float64)[np.searchsorted(boundaries, step, side="left")]
        case float() | int():
            return np.full(step.shape, learning_rate, np.float64)
        case _:
            assert_never(learning_rate)


def curve_steps(learning_rate: LearningRate, total: int) -> list[int]:
    """At most 200 of the steps 0 to total - 1 that show how the rate goes, in order.

    The first and the last are among them, and where a piecewise constant rate jumps or a schedule changes its form.
    """
    last = total - 1
    wanted = {step for step in _corners(learning_rate) if 0 <= step <= last} | {0, last}
    if not isinstance(learning_rate, float | int | PiecewiseConstantDecay):
        spread = np.linspace(0, last, CURVE_POINTS - len(wanted) + 2)
        wanted |= {round(step) for step in spread.tolist()}
    return sorted(wanted)


def _corners(learning_rate: LearningRate) -> list[int]:
    match learning_rate:
        case PiecewiseConstantDecay(boundaries=boundaries):
            return [step for boundary in boundaries for step in (boundary, boundary + 1)]
        case CosineDecay(warmup_target=None, decay_steps=decay_steps):
            return [decay_steps]
        case CosineDecay(warmup_steps=warmup_steps, decay_steps=decay_steps):
            return [warmup_steps, warmup_steps + decay_steps]
        case PolynomialDecay(decay_steps=decay_steps):
            return [decay_steps]
        case _:
            return []


def _periods(plan: ExponentialDecay | InverseTimeDecay, step: Float64) -> Float64:
    periods: Float64 = step / plan.decay_steps
    return np.floor(periods) if plan.staircase else periods


def _polynomial(plan: PolynomialDecay, step: Float64) -> Float64:
    length: Float64 = np.full(step.shape, plan.decay_steps, np.float64)
    if plan.cycle:
        length *= np.maximum(np.ceil(step / plan.decay_steps), 1)
    done = np.minimum(step / length, 1)
    span = plan.initial_learning_rate - plan.end_learning_rate
    faded: Float64 = span * np.power(1 - done, plan.power) + plan.end_learning_rate
    return faded


def _cosine(plan: CosineDecay, step: Float64) -> Float64:
    if plan.warmup_target is None:
        return plan.initial_learning_rate * _half_wave(step / plan.decay_steps, plan.alpha)
    decayed = plan.warmup_target * _half_wave((step - plan.warmup_steps) / plan.decay_steps, plan.alpha)
    climbed = step / max(plan.warmup_steps, 1)
    rising = plan.initial_learning_rate + (plan.warmup_target - plan.initial_learning_rate) * climbed
    return np.where(step < plan.warmup_steps, rising, decayed)


def _half_wave(done: Float64, alpha: float) -> Float64:
    falling: Float64 = (1 - alpha) * 0.5 * (1 + np.cos(np.pi * np.minimum(done, 1))) + alpha
    return falling


def _restarts(plan: CosineDecayRestarts, step: Float64) -> Float64:
    done = step / plan.first_decay_steps
    if plan.t_mul == 1.0:
        wave = np.floor(done)
        within = done - wave
    else:
        # The logarithm alone misses by one at some restarts: log(243) / log(3) is a little less than 5.
        wave = np.floor(np.log1p(done * (plan.t_mul - 1)) / np.log(plan.t_mul))
        wave += done >= _waves_before(plan, wave + 1)
        wave -= done < _waves_before(plan, wave)
        within = (done - _waves_before(plan, wave)) / np.power(plan.t_mul, wave)
    height = 0.5 * np.power(plan.m_mul, wave) * (1 + np.cos(np.pi * within))
    rates: Float64 = plan.initial_learning_rate * ((1 - plan.alpha) * height + plan.alpha)
    return rates


def _waves_before(plan: CosineDecayRestarts, wave: Float64) -> Float64:
    """How many first waves long all those before the `wave`-th are together."""
    before: Float64 = (np.power(plan.t_mul, wave) - 1) / (plan.t_mul - 1)
    return before

"""Compares the gradients of back-propagation with differences of the loss, weight by weight, in float64.

The figure is the relative error |a - b| / max(|a|, |b|) of a back-propagated gradient a and a numerical one
b = (L(w + h) - L(w - h)) / 2h, as in the CS231n notes, https://cs231n.github.io/neural-networks-3/#gradcheck, which
also say why in float64, why few examples, and what kinks do.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from models.spec import JobSpec
from worker.data import Split
from worker.kinds.batch import draw_batch
from worker.kinds.exact import ExactLoss
from worker.kinds.steps import Steps

TOLERANCE = 1e-5
"""From this relative error on, a gradient is wrong."""
ROUNDINGS = 8
"""How many roundings the loss may be off by; sums over examples and classes make several."""


class Difference(NamedTuple):
    """What the losses around one weight say."""

    numerical: float
    relative_error: float
    kink: bool


def check_gradients(
    spec: JobSpec, split: Split, scaling: tuple[float, float], steps: Steps | None = None
) -> dict[str, Any]:
    """The result of a job of the kind `gradient_check`, as JSON.

    `entries` has one object for each weight that was drawn: `variable`, `index`, `backpropagated`, `numerical`,
    `relative_error`, `kink`. `variables` has the largest and the median error of each; `passed` says whether no error
    beside those at kinks reaches 1e-5. An error that is not a number counts as infinite, and is null.
    """
    wanted = spec.gradient_check
    exact = ExactLoss(spec, scaling, draw_batch(spec, split, wanted.examples))
    gradients, middle = exact.gradients(), float(exact.value())
    drawn = draw_entries([gradient.shape for gradient in gradients], wanted.weights, spec.seed)
    entries = []
    for done, (place, index) in enumerate(drawn, start=1):
        variable, slope = exact.variables[place], float(gradients[place][index])

        def loss(shift: float, variable: Any = variable, index: tuple[int, ...] = index) -> float:
            return exact.at(variable, index, shift)

        found = compare(slope, loss, middle, wanted.step)
        entries.append(_entry(variable.path, index, slope, found))
        if steps is not None:
            steps.reach(done, f"{done} of {len(drawn)} weights compared", brief=done < len(drawn))
    return _result(wanted.step, middle, entries)


def draw_entries(shapes: Sequence[tuple[int, ...]], count: int, seed: int) -> list[tuple[int, tuple[int, ...]]]:
    """`count` weights as (variable, index): as many from each variable as it has, up to equal shares, at least one."""
    random = np.random.default_rng([seed, *b"entries"])
    sizes = [int(np.prod(shape)) for shape in shapes]
    shares, left = [0] * len(sizes), count
    for done, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[place] = min(sizes[place], max(1, left // (len(sizes) - done)))
        left -= shares[place]
    return [
        (place, tuple(int(part) for part in np.unravel_index(flat, shapes[place])))
        for place, share in enumerate(shares)
        for flat in sorted(random.choice(sizes[place], share, replace=False).tolist())  # nosec B311 # no secret
    ]


def compare(slope: float, loss: Callable[[float], float], middle: float, step: float) -> Difference:
    """The gradient `slope` against differences of `loss`, a function of how far the weight is moved from `middle`.

    The error is relative to the larger of both, but at least to what keeps the rounding of the losses, about
    2e-15 |L| / step, below 1e-5: a smaller gradient cannot be told by differences and is compared absolutely.

    A weight is at a kink, of relu or max-pooling, or the loss bends too strongly for the step, when half the step
    gives another slope, or the difference of the slopes to either side does not halve with the step as that of a
    smooth function does. There a difference says nothing about the gradient.
    """
    up, down = loss(step), loss(-step)
    numerical, jump = (up - down) / (2 * step), (up - 2 * middle + down) / step
    rounding = ROUNDINGS * np.finfo(np.float64).eps * max(abs(middle), abs(up), abs(down)) / step
    error = abs(slope - numerical) / max(abs(slope), abs(numerical), rounding / TOLERANCE)
    if error < TOLERANCE:
        return Difference(numerical, error, kink=False)
    up, down, half = loss(step / 2), loss(-step / 2), step / 2
    bend = max(abs(numerical - (up - down) / (2 * half)), abs(jump - 2 * (up - 2 * middle + down) / half))
    return Difference(numerical, error, kink=bool(bend > abs(slope - numerical) / 4))


def _entry(name: str, index: tuple[int, ...], slope: float, found: Difference) -> dict[str, Any]:
    return {
        "variable": name,
        "index": list(index),
        "backpropagated": _finite(slope),
        "numerical": _finite(found.numerical),
        "relative_error": _finite(found.relative_error),
        "kink": found.kink,
    }


def _result(step: float, loss: float, entries: list[dict[str, Any]]) -> dict[str, Any]:
    smooth = [entry for entry in entries if not entry["kink"]]
    largest = max((_error(entry) for entry in smooth), default=np.inf)
    return {
        "kind": "gradient_check",
        "loss": _finite(loss),
        "step": step,
        "tolerance": TOLERANCE,
        "passed": bool(largest < TOLERANCE),
        "largest_relative_error": _finite(largest),
        "compared": len(entries),
        "kinks": len(entries) - len(smooth),
        "variables": _by_variable(entries),
        "entries": entries,
        "summary": _sentences(entries, smooth, largest),
    }


def _by_variable(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = []
    for name in dict.fromkeys(entry["variable"] for entry in entries):
        own = [entry for entry in entries if entry["variable"] == name]
        errors = [_error(entry) for entry in own if not entry["kink"]]
        told.append(
            {
                "variable": name,
                "compared": len(own),
                "kinks": len(own) - len(errors),
                "largest": _finite(max(errors, default=np.nan)),
                "median": _finite(float(np.median(errors)) if errors else np.nan),
            }
        )
    return told


def _sentences(entries: list[dict[str, Any]], smooth: list[dict[str, Any]], largest: float) -> list[str]:
    told = []
    wrong = [entry for entry in smooth if _error(entry) >= TOLERANCE]
    if not smooth:
        told.append("Nothing could be compared: the loss is not smooth enough at any of the weights for this step.")
    elif wrong:
        worst = max(wrong, key=_error)
        places = ", ".join(dict.fromkeys(entry["variable"] for entry in wrong))
        told.append(
            f"{len(wrong)} of {len(smooth)} gradients {_be(wrong)} wrong, in {places}; the worst, of "
            f"{worst['variable']} at {worst['index']}, is {_told(worst['backpropagated'])} by back-propagation and "
            f"{_told(worst['numerical'])} by differences."
        )
    else:
        told.append(
            f"Back-propagation agrees with differences of the loss at {_agreeing(len(smooth), len(entries))}: the "
            f"largest relative error is {largest:.1e}, less than {TOLERANCE:g}."
        )
    if kinks := [entry for entry in entries if entry["kink"]]:
        places = ", ".join(dict.fromkeys(entry["variable"] for entry in kinks))
        told.append(
            f"{_weights(len(kinks))}, in {places}, {_be(kinks)} left out: the loss has a kink there, of relu or "
            "max-pooling, or bends too strongly for the step; a smaller step may help."
        )
    return told


def _agreeing(smooth: int, drawn: int) -> str:
    if smooth < drawn:
        return f"{smooth} of {drawn} weights"
    return "the only weight drawn" if drawn == 1 else f"all {drawn} weights"


def _weights(count: int) -> str:
    return "1 weight" if count == 1 else f"{count} weights"


def _be(several: Sequence[Any]) -> str:
    return "is" if len(several) == 1 else "are"


def _error(entry: dict[str, Any]) -> float:
    return np.inf if entry["relative_error"] is None else float(entry["relative_error"])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _told(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"

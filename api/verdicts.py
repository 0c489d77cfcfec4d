"""What the runs of a study say about its settings: means, intervals, and sentences about what is more than noise."""

import functools
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import floor, inf, log10, sqrt
from statistics import fmean, stdev
from types import ModuleType

LEVEL = 0.05
MOST_SENTENCES = 20
LONGEST_REASON = 300


@dataclass(frozen=True)
class Outcome:
    """One setting that ended: the objective of each of its runs, none when it failed.

    `setting` is the same for the same setting; `invalid` says why it made no spec.
    """

    number: int
    label: str
    values: tuple[float, ...]
    setting: str = ""
    invalid: str = ""

    @property
    def mean(self) -> float:
        """The mean over its runs."""
        return fmean(self.values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean by Student's t with n - 1 degrees of freedom; None for fewer than two values."""
    half = _half(values)
    return None if half is None else (fmean(values) - half, fmean(values) + half)


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p of Welch's t-test of equal means, degrees of freedom by Welch and Satterthwaite.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34 (1947). Runs that agree in every digit have no noise: p is then 0, or 1 where the means are equal.
    """
    left, right = stdev(a) ** 2 / len(a), stdev(b) ** 2 / len(b)
    apart = abs(fmean(a) - fmean(b))
    if left + right == 0:
        return 0.0 if apart else 1.0
    freedom = (left + right) ** 2 / (left**2 / (len(a) - 1) + right**2 / (len(b) - 1))
    return float(2 * _special().stdtr(freedom, -apart / sqrt(left + right)))


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values, each adjusted for all being looked at together.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda n: ps[n])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = largest
    return adjusted


def ranked(outcomes: Sequence[Outcome], rising: bool) -> list[Outcome]:
    """Those that have values, best first; of equal ones the earlier."""
    return sorted((o for o in outcomes if o.values), key=lambda o: (-o.mean if rising else o.mean, o.number))


def verdict(
    outcomes: Sequence[Outcome], objective: str, rising: bool, settings: int, cancelled: bool = False
) -> list[str]:
    """Sentences on which of the settings that ended are better beyond the noise, out of `settings` in all."""
    order = _distinct(ranked(outcomes, rising))
    sentences = []
    if cancelled:
        sentences.append(f"The study was cancelled; {len(outcomes)} of {settings} settings had ended.")
    elif len(outcomes) < settings:
        sentences.append(f"So far {len(outcomes)} of {settings} settings have ended.")
    if order and len(order[0].values) > 1:
        sentences.append(
            f"Figures are means of {objective} over {len(order[0].values)} runs, ± half of the 95 % interval; "
            f"{'higher' if rising else 'lower'} is better."
        )
        sentences += _compared(order)
    elif order:
        sentences += _single(order, objective)
    failed = [o.label for o in outcomes if not o.values]
    if outcomes and all(o.invalid for o in outcomes):
        reason = outcomes[0].invalid
        sentences.append(f"No setting made a valid spec: {reason[:LONGEST_REASON].rstrip('.')}.")
    elif failed:
        names = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        sentences.append(f"{names} {'have' if len(failed) > 1 else 'has'} no result: not every run succeeded.")
    return sentences


def _distinct(order: Sequence[Outcome]) -> list[Outcome]:
    """Each setting once: a search may have drawn it twice, and it is not better than itself."""
    seen: dict[str | int, Outcome] = {}
    for outcome in order:
        seen.setdefault(outcome.setting or outcome.number, outcome)
    return list(seen.values())


def figure(outcome: Outcome) -> str:
    """The mean with half of its interval, in as many digits as they mean: `0.978 ± 0.002`."""
    half = _half(outcome.values)
    if half is None:
        return f"{outcome.mean:.4g}"
    digits = min(max(-floor(log10(half / 2)), 0), 8) if 0 < half < inf else 4
    return f"{outcome.mean:.{digits}f} ± {half:.{digits}f}"


def _single(order: list[Outcome], objective: str) -> list[str]:
    best = f"{order[0].label} has the best {objective}, {figure(order[0])}"
    if len(order) == 1:
        return [f"{best}; there is nothing to compare it with."]
    second = f"the next is {order[1].label} with {figure(order[1])}"
    return [
        f"{best}; {second}.",
        "With one run a setting nothing can be said about the noise, and the order may be chance: ask for repeats.",
    ]


def _compared(order: list[Outcome]) -> list[str]:
    best, others = order[0], order[1:]
    if not others:
        return [f"{best.label} reaches {figure(best)}; there is nothing to compare it with."]
    ps = holm([welch(best.values, other.values) for other in others])
    room = MOST_SENTENCES - 4
    sentences = [_pair(best, other, p) for other, p in zip(others[:room], ps, strict=False)]
    if rest := ps[room:]:
        worse = sum(p < LEVEL for p in rest)
        sentences.append(
            f"Of {len(rest)} further settings, {worse} {'is' if worse == 1 else 'are'} worse than {best.label} by more "
            f"than the noise, and {len(rest) - worse} cannot be told apart from it."
        )
    return sentences


def _pair(best: Outcome, other: Outcome, p: float) -> str:
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < LEVEL else f"p = {p:.2f}"
    if p < LEVEL:
        better = f"{best.label} ({figure(best)}) is better than {other.label} ({figure(other)})"
        return f"{better}: the difference is larger than the noise ({said})."
    names = f"{best.label} ({figure(best)}) and {other.label} ({figure(other)})"
    return f"{names} cannot be told apart with {len(best.values)} runs each ({said})."


def _half(values: Sequence[float]) -> float | None:
    spread = deviation(values)
    if spread is None:
        return None
    return float(_special().stdtrit(len(values) - 1, 1 - LEVEL / 2)) * spread / sqrt(len(values))


@functools.cache
def _special() -> ModuleType:
    """SciPy's distributions, imported when first needed: a tenth of a second. What they bring stays, and is frozen."""
    module = import_module("scipy.special")
    gc.collect()
    gc.freeze()
    return module

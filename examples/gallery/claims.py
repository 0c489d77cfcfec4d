"""Claims about figures, as experiment files write them: `adam.test.accuracy >= 0.97`, `0.61 <= sgd.loss <= 0.63`.

A claim compares sums and products of numbers, figures (`label.name`) and texts in single quotes:
`late.val_loss > early.val_loss + 0.01`, `first.gradient < 0.01 * last.gradient`, `fast.status == 'failed'`.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
}
SIGN = re.compile(r"\s(<=|>=|<|>|==)\s")


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and the same with the figures put in."""

    claim: str
    holds: bool
    measured: str


def judge(claim: str, runs: Mapping[str, Any]) -> Verdict:
    """Compare the figures; one that is missing or not finite makes the claim fail.

    Raises:
        ValueError: the claim has no comparison.
    """
    parts = SIGN.split(claim)
    if len(parts) < 3:
        raise ValueError(f"A claim compares, as in `a.test.accuracy >= 0.9`. Received: {claim!r}")
    values = [_value(part, runs) for part in parts[::2]]
    measured = " ".join(part if place % 2 else shown(values[place // 2]) for place, part in enumerate(parts))
    signs = [COMPARE[sign] for sign in parts[1::2]]
    holds = None not in values and all(
        compare(left, right) for compare, (left, right) in zip(signs, pairwise(values), strict=True)
    )
    return Verdict(claim, holds, measured)


def ticks(claims: Iterable[str], runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdict on every claim, as figures.json has them."""
    return [vars(judge(claim, runs)) for claim in claims]


def figures_in(claim: str) -> list[str]:
    """The figures that a claim names."""
    operands = [factor.strip() for part in SIGN.split(claim)[::2] for factor in re.split(r"[+*]\s", part)]
    return [name for name in operands if not _is_number(name) and not name.startswith("'")]


def look_up(path: str, runs: Mapping[str, Any]) -> Any:
    """The figure at `label.name.name`; None where there is none."""
    value: Any = runs
    for key in path.split("."):
        if isinstance(value, list) and key.lstrip("-").isdigit() and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            return None
    return value


def shown(value: Any) -> str:
    """A figure as people read it: four significant digits, more for shares."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"
    return str(value)


def _value(part: str, runs: Mapping[str, Any]) -> Any:
    total: Any = None
    for term in re.split(r"\s\+\s", part.strip()):
        product: Any = None
        for factor in re.split(r"\s\*\s", term.strip()):
            value = _factor(factor.strip(), runs)
            if value is None:
                return None
            product = value if product is None else product * value
        total = product if total is None else total + product
    return total


def _factor(text: str, runs: Mapping[str, Any]) -> Any:
    if text.startswith("'"):
        return text.strip("'")
    return float(text) if _is_number(text) else look_up(text, runs)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text) is not None

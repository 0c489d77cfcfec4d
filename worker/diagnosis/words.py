"""Numbers and lists as a finding tells them."""

from collections.abc import Sequence
from math import floor, isfinite, log10
from typing import Any

# Below it nobody counts the zeros.
SMALLEST = 1e-9


def told(value: float) -> str:
    """A number in three digits, from a thousand on without decimals: 2.3, 0.000001, 10,000,000."""
    if not isfinite(value) or abs(value) < SMALLEST:
        return f"{value:.3g}"
    decimals = max(0, 2 - floor(log10(abs(value))))
    text = f"{float(f'{value:.3g}'):,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def listed(parts: Sequence[str]) -> str:
    """The parts with commas, the last one after `and`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def evidence(**values: Any) -> dict[str, Any]:
    """What is known of `values`. JSON has no infinity, so what is not finite is told as a word."""
    known = {name: value for name, value in values.items() if value is not None}
    return {name: value if _is_json(value) else str(value) for name, value in known.items()}


def _is_json(value: object) -> bool:
    return not isinstance(value, float) or isfinite(value)

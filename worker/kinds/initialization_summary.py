"""What the spread of activations and gradients by layer says, in plain words.

Compared are the first and the last hidden layer, which are the layers with a kernel except the last of all: between
them a gradient, or the spread of the activations, changes by the product of what each layer does to it. A factor of
`SHIFT` either way is worth a word; by He et al. (2015), section 2.2, a well-chosen spread keeps it near 1.
"""

from collections.abc import Sequence
from typing import Any

SHIFT = 100.0
"""From this factor on, gradients vanish or explode, and activations die out or blow up."""
MANY_SATURATED = 0.5
"""The share of saturated outputs of a layer that is worth a word."""
MANY_ZERO = 0.9
"""The same for relu, of which half are zero in the best of cases."""


def sentences(found: Sequence[dict[str, Any]]) -> list[str]:
    """At least one sentence about each initializer's entry in the result."""
    return [sentence for one in found for sentence in _about(f"Under {one['label']}", one)]


def _about(subject: str, one: dict[str, Any]) -> list[str]:
    hidden = [layer for layer in one["layers"] if layer["has_kernel"]][:-1]
    told = [_unbounded(subject, one), _gradient(subject, hidden), _activations(subject, hidden)]
    told.append(_saturation(subject, [layer for layer in one["layers"] if layer["outputs"]["saturated"] is not None]))
    return [sentence for sentence in told if sentence] or [f"{subject} there is nothing to remark."]


def _unbounded(subject: str, one: dict[str, Any]) -> str:
    if not one["nonfinite"]:
        return ""
    first = next(iter(one["nonfinite"]))
    return f"{subject} {len(one['nonfinite'])} figures are not finite, the first of them {first}."


def _gradient(subject: str, hidden: list[dict[str, Any]]) -> str:
    if len(hidden) < 2:
        return ""
    first, last = hidden[0], hidden[-1]
    way = f"from {last['name']} to {first['name']}"
    near, far = (layer["output_gradient"]["stddev"] for layer in (last, first))
    if near is None or far is None:
        return ""
    if near == 0 or far == 0:
        empty = first if near else last
        return f"{subject} no gradient arrives at {empty['name']}: it is zero."
    if near / far >= SHIFT:
        return f"{subject} the gradient shrinks {way} by a factor of {near / far:.1g}: it vanishes."
    if far / near >= SHIFT:
        return f"{subject} the gradient grows {way} by a factor of {far / near:.1g}: it explodes."
    return f"{subject} the gradient neither vanishes nor explodes: {way} it changes by a factor of {far / near:.2g}."


def _activations(subject: str, hidden: list[dict[str, Any]]) -> str:
    if len(hidden) < 2:
        return ""
    first, last = hidden[0], hidden[-1]
    near, far = (layer["outputs"]["stddev"] for layer in (first, last))
    if not near or far is None:
        return ""
    way = f"from {first['name']} to {last['name']}"
    if far == 0 or near / far >= SHIFT:
        by = f" by a factor of {near / far:.1g}" if far else " to nothing"
        return f"{subject} the spread of the activations shrinks {way}{by}: they die out."
    if far / near >= SHIFT:
        return f"{subject} the spread of the activations grows {way} by a factor of {far / near:.1g}: they blow up."
    return ""


def _saturation(subject: str, layers: list[dict[str, Any]]) -> str:
    over = [layer for layer in layers if layer["outputs"]["saturated"] > _limit(layer)]
    if not over:
        return ""
    worst = max(over, key=lambda layer: layer["outputs"]["saturated"])
    how = "zero" if worst["activation"] == "relu" else "saturated"
    share = f"{100 * worst['outputs']['saturated']:.0f} %"
    return f"{subject} {share} of what {worst['name']} gives is {how}, where there is hardly any slope."


def _limit(layer: dict[str, Any]) -> float:
    return MANY_ZERO if layer["activation"] == "relu" else MANY_SATURATED

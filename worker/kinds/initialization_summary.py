"""What the spread of activations and gradients by layer says, in plain words.

A gradient is followed from the last layer with a kernel to the first. What counts is its length, the standard deviation
times the root of the layer's size: a well-chosen spread of the weights keeps it by He et al. (2015), section 2.2, at
each layer, whatever the widths, while the standard deviation alone falls from 10 classes to 512 units by itself.
"""

import math
from collections.abc import Sequence
from typing import Any

SHIFT = 100.0
"""From this factor between the first and the last hidden layer on, activations die out or blow up."""
STEP = 2.5
"""The factor a layer, as geometric mean, from which on gradients vanish or explode.

A sigmoid's slope is at most 1/4, so that each sigmoid layer takes a factor of 4 under Glorot's spread, and of
4 / sqrt(2) = 2.8 under He's. Networks whose spread fits them, and batch-normalised ones, stay between 0.6 and 1.7."""
LEAST = 10.0
"""The factor over all layers below which nothing is said to vanish or explode: one layer may well take 3."""
FAR_ABOVE = 3.0
"""How many times the loss of guessing is worth a word."""
CONSTANT = ("zeros", "ones", "constant")
MANY_SATURATED = 0.5
"""The share of saturated outputs of a layer that is worth a word."""
MANY_ZERO = 0.9
"""The same for relu, of which half are zero in the best of cases."""


def sentences(found: Sequence[dict[str, Any]], chance: float | None = None) -> list[str]:
    """At least one sentence about each initializer's entry in the result; `chance` is the loss of guessing, if any."""
    return [sentence for one in found for sentence in _about(f"Under {one['label']}", one, chance)]


def _about(subject: str, one: dict[str, Any], chance: float | None) -> list[str]:
    kernels = [layer for layer in one["layers"] if layer["has_kernel"]]
    told = [_unbounded(subject, one), _loss(subject, one["loss"], chance), _symmetry(subject, one, kernels[:-1])]
    told += [_gradient(subject, kernels), _activations(subject, kernels[:-1])]
    told.append(_saturation(subject, [layer for layer in one["layers"] if layer["outputs"]["saturated"] is not None]))
    return [sentence for sentence in told if sentence] or [f"{subject} there is nothing to remark."]


def _unbounded(subject: str, one: dict[str, Any]) -> str:
    if not one["nonfinite"]:
        return ""
    first, count = next(iter(one["nonfinite"])), len(one["nonfinite"])
    if count == 1:
        return f"{subject} one figure is not finite: {first}."
    return f"{subject} {count} figures are not finite, the first of them {first}."


def _loss(subject: str, loss: float | None, chance: float | None) -> str:
    if loss is None or chance is None or loss <= FAR_ABOVE * chance:
        return ""
    return f"{subject} the loss is {loss:.3g}, far above the {chance:.2g} of guessing: it is sure of wrong answers."


def _symmetry(subject: str, one: dict[str, Any], hidden: list[dict[str, Any]]) -> str:
    equal = [layer["name"] for layer in hidden if layer["equal_units"]]
    if not equal or one["initializer"]["type"] not in CONSTANT:
        return ""
    which = equal[0] if len(equal) == 1 else f"{equal[0]} to {equal[-1]}"
    return (
        f"{subject} all units of a layer are equal, in {which}, and stay so in training unless dropout or noise tells "
        "them apart: each layer learns no more than a single unit."
    )


def _gradient(subject: str, kernels: list[dict[str, Any]]) -> str:
    if len(kernels) < 2 or any(layer["output_gradient"]["stddev"] is None for layer in kernels):
        return ""
    lengths = [layer["output_gradient"]["stddev"] * math.sqrt(layer["size"]) for layer in kernels]
    first, last, steps = kernels[0]["name"], kernels[-1]["name"], len(kernels) - 1
    if not lengths[0] or not lengths[-1]:
        return f"{subject} no gradient arrives at {first}: it is zero."
    factor = lengths[0] / lengths[-1]
    size = max(factor, 1 / factor)
    way = f"{'shrinks' if factor < 1 else 'grows'} {_rounded(size)}-fold over {_layers(steps)}, from {last} to {first}"
    by_layer = size ** (1 / steps)
    if by_layer >= STEP and size >= LEAST:
        return f"{subject} the gradient {way}: it {'vanishes' if factor < 1 else 'explodes'}."
    if by_layer >= STEP or size >= LEAST:
        return f"{subject} the gradient {way}{f', {by_layer:.2g}-fold a layer' if steps > 1 else ''}."
    return f"{subject} the gradient changes little: by a factor of {_rounded(factor)} from {last} to {first}."


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"


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

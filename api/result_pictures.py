"""Draws the results of jobs that do not train."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from api import curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#7b3294", "#c51b7d", "#8c6d31", "#17becf", "#636363")
WIDTH_OF_A_LAYER = 0.8
MOST_NAMES = 40
EXACT = 1e-12
"""Where errors of zero are drawn on a logarithmic axis."""


def draw(title: str, result: dict[str, Any]) -> bytes:
    """The picture of a result as an SVG file; `worker.kinds` says what a result is."""
    paint = _initialization if result["kind"] == "initialization" else _gradient_check
    return curves.drawn(title, lambda: paint(result))


def _initialization(result: dict[str, Any]) -> "Figure":
    """Outputs as a box and a line of quantiles, one for each layer and initializer; gradients over the layers."""
    found = result["initializers"]
    names = [layer["name"] for layer in found[0]["layers"]]
    figure = curves.figure_class()(figsize=(max(11.0, 0.7 * len(names) + 6), 9), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for number, one in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        shift = WIDTH_OF_A_LAYER * ((number + 0.5) / len(found) - 0.5)
        _boxes(upper, one["layers"], shift, WIDTH_OF_A_LAYER / len(found), colour)
        _line(lower, one, colour, "-" if number < len(COLOURS) else "--")
    upper.set_title("outputs of each layer: median, 25 to 75 % (box), 5 to 95 % (line)", fontsize=10)
    _scale(upper, found)
    lower.set_title(
        "gradient of the loss by the outputs of each layer, standard deviation; lines join layers with a kernel",
        fontsize=10,
    )
    lower.set_yscale("log")
    lower.legend(frameon=False, fontsize=9)
    lower.set_xticks(range(len(names)))
    shown = [name if n % -(-len(names) // MOST_NAMES) == 0 else "" for n, name in enumerate(names)]
    lower.set_xticklabels(shown, rotation=40, ha="right", fontsize=8)
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    return figure


def _boxes(axes: "Axes", layers: list[dict[str, Any]], shift: float, width: float, colour: str) -> None:
    quantiles = _numbers([list(layer["outputs"]["quantiles"].values()) for layer in layers])
    low, quarter, median, three_quarters, high = quantiles.T
    x = np.arange(len(layers)) + shift
    axes.vlines(x, low, high, color=colour, linewidth=1)
    axes.bar(x, three_quarters - quarter, 0.8 * width, bottom=quarter, color=colour, alpha=0.45)
    axes.hlines(median, x - 0.4 * width, x + 0.4 * width, color=colour, linewidth=1.8)


def _line(axes: "Axes", one: dict[str, Any], colour: str, style: str) -> None:
    spread = _numbers([layer["output_gradient"]["stddev"] for layer in one["layers"]])
    label, zeros, unknown = one["label"], int(np.sum(spread == 0)), int(np.sum(np.isnan(spread)))
    if zeros:
        label += f", zero in {_layers(zeros)}"
    if unknown:
        label += f", not finite in {_layers(unknown)}"
    drawn = np.where(spread > 0, spread, np.nan)
    place = np.arange(len(drawn))
    kernels = np.array([layer["has_kernel"] for layer in one["layers"]])
    axes.plot(place[kernels], drawn[kernels], color=colour, linestyle=style, marker="o", markersize=4, label=label)
    axes.plot(place[~kernels], drawn[~kernels], color=colour, linestyle="", marker=".", markersize=4, alpha=0.6)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _scale(axes: "Axes", found: list[dict[str, Any]]) -> None:
    """A linear axis, or where some layers spread a hundred times as far as others one that shows both."""
    quantiles = _numbers([list(layer["outputs"]["quantiles"].values()) for one in found for layer in one["layers"]])
    reach = np.nanmax(np.abs(quantiles), axis=1, initial=0.0, where=np.isfinite(quantiles))
    if len(reach) and reach.max() > 100 * max(float(np.median(reach)), 1e-3):
        axes.set_yscale("symlog", linthresh=0.01)
        if np.nanmin(quantiles) >= 0:
            axes.set_ylim(bottom=0)  # which Matplotlib else leaves out of a logarithmic axis


def _gradient_check(result: dict[str, Any]) -> "Figure":
    """Numerical against back-propagated gradients, and a histogram of the relative errors; kinks apart."""
    entries = result["entries"]
    kink = np.array([entry["kink"] for entry in entries])
    figure = curves.figure_class()(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    slopes = _numbers([[entry["backpropagated"], entry["numerical"]] for entry in entries])
    errors = np.maximum(_numbers([entry["relative_error"] for entry in entries]), EXACT)
    _scatter(left, slopes, kink)
    _errors(right, errors, kink, result["tolerance"])
    return figure


def _scatter(axes: "Axes", slopes: Floats, kink: npt.NDArray[np.bool_]) -> None:
    reach = float(np.nanmax(np.abs(slopes), initial=0.0)) or 1.0
    axes.plot([-reach, reach], [-reach, reach], color="#999999", linewidth=1, zorder=1)
    axes.scatter(slopes[~kink, 0], slopes[~kink, 1], s=16, color=COLOURS[0], alpha=0.7, label="compared")
    if kink.any():
        axes.scatter(slopes[kink, 0], slopes[kink, 1], s=22, color=COLOURS[1], marker="x", label="at a kink")
    axes.set_title("gradients, weight by weight", fontsize=10)
    axes.set_xlabel("by back-propagation")
    axes.set_ylabel("by differences of the loss")
    axes.legend(frameon=False, fontsize=9)
    axes.ticklabel_format(style="sci", scilimits=(-2, 3))
    axes.grid(alpha=0.25)


def _errors(axes: "Axes", errors: Floats, kink: npt.NDArray[np.bool_], tolerance: float) -> None:
    finite = errors[np.isfinite(errors)]
    bins = np.geomspace(EXACT, max(float(finite.max(initial=EXACT)), 10 * tolerance), 40).tolist()
    groups = [errors[~kink & np.isfinite(errors)], errors[kink & np.isfinite(errors)]]
    axes.hist(groups, bins=bins, stacked=True, color=list(COLOURS[:2]), label=["compared", "at a kink"])
    axes.axvline(tolerance, color="#333333", linestyle="--", linewidth=1, label=f"{tolerance:g}")
    axes.set_xscale("log")
    axes.set_title("relative error", fontsize=10)
    axes.set_xlabel(f"|a - b| / max(|a|, |b|), {EXACT:g} and less at the left")
    axes.set_ylabel("weights")
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)


def _numbers(values: list[Any]) -> Floats:
    """The values as float64, with nan for null."""
    return np.array(values, np.float64)

"""Draws what a model does on its test set: the confusion matrix of a classifier, the errors of a regression."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from api import curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, DARK = "#1f77b4", "#d95f02", "#111111"
MOST_COUNTED = 20
"""Classes up to which each cell of the matrix has its number."""
MOST_NAMES = 100
SHORT_NAME, LONGEST_NAME = 3, 24


def draw(title: str, evaluation: dict[str, Any]) -> bytes:
    """The picture of an evaluation as an SVG file; `api.evaluations` says what an evaluation is."""
    paint = _classification if "confusion_matrix" in evaluation else _regression
    return curves.drawn(title, lambda: paint(evaluation))


def _classification(evaluation: dict[str, Any]) -> "Figure":
    """The confusion matrix as a heat map and, beside each row, how much of that class was found."""
    count = len(evaluation["classes"])
    side = min(max(0.55 * count, 3.6), 11.0)
    figure = curves.figure_class()(figsize=(1.45 * side + 3.4, side + 1.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.2, 1))
    size = float(np.clip(72 * side / count * 0.6, 3.5, 9))
    _matrix(left, np.array(evaluation["confusion_matrix"], np.int64), size)
    _recall(right, evaluation["classes"], size)
    places = range(0, count, -(-count // MOST_NAMES))
    names = [_short(evaluation["classes"][n]["class_name"]) for n in places]
    turned, end = (90, "center") if count > MOST_COUNTED else (40, "right")
    if max(map(len, names)) <= SHORT_NAME:
        turned, end = 0, "center"
    left.set_xticks(places, names, fontsize=size, rotation=turned, ha=end)
    left.set_yticks(places, names, fontsize=size)
    return figure


def _matrix(axes: "Axes", counts: npt.NDArray[np.int64], size: float) -> None:
    """Rows are true classes; the colour is the share of the row, its root, so that rare mistakes can be seen too."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    if len(counts) <= MOST_COUNTED:
        for (row, column), number in np.ndenumerate(counts):
            if number:
                colour = "white" if shares[row, column] > 0.5 else DARK
                axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=size)
    axes.set_title("answers to the test examples of each class (darker: a larger share of them)", fontsize=10)
    axes.set_xlabel("answered")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)


def _recall(axes: "Axes", classes: list[dict[str, Any]], size: float) -> None:
    recalls = _numbers([one["recall"] for one in classes])
    axes.barh(range(len(classes)), np.nan_to_num(recalls), color=BLUE, height=0.7)
    if len(classes) <= MOST_COUNTED:
        for place, recall in enumerate(recalls):
            if np.isnan(recall):
                axes.text(0.02, place, "no example", va="center", ha="left", color=DARK, fontsize=size)
                continue
            inside = recall > 0.4
            axes.text(
                recall - 0.02 if inside else recall + 0.02,
                place,
                f"{100 * recall:.1f} %",
                va="center",
                ha="right" if inside else "left",
                color="white" if inside else DARK,
                fontsize=size,
            )
    axes.set_title("recall: share that was found", fontsize=10)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)


def _regression(evaluation: dict[str, Any]) -> "Figure":
    """Predicted against true values, and how often which error."""
    figure = curves.figure_class()(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _against_truth(left, evaluation)
    _residuals(right, evaluation["residuals"])
    return figure


def _against_truth(axes: "Axes", evaluation: dict[str, Any]) -> None:
    values = _numbers([[one["truth"], one["predicted"]] for one in evaluation["examples"]]).reshape(-1, 2)
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    if low <= high:
        axes.plot([low, high], [low, high], color="#999999", linewidth=1, zorder=1, label="exact")
        axes.scatter(values[:, 0], values[:, 1], s=16, color=BLUE, alpha=0.7, label="test examples")
        axes.legend(frameon=False, fontsize=9)
    else:
        curves.say_nothing(axes)
    explained = "" if evaluation["r2"] is None else f" (R² = {evaluation['r2']:.4f})"
    axes.set_title(f"predicted against true values{explained}", fontsize=10)
    axes.set_xlabel("true value")
    axes.set_ylabel("predicted value")
    axes.grid(alpha=0.25)


def _residuals(axes: "Axes", residuals: dict[str, Any]) -> None:
    edges, counts = _numbers(residuals["histogram"]["edges"]), residuals["histogram"]["counts"]
    axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.75)
    mean, deviation = residuals["mean"], residuals["standard_deviation"]
    axes.axvline(mean, color=ORANGE, linestyle="--", linewidth=1.4, label=f"mean {mean:.3g}")
    axes.plot([], [], linestyle="", label=f"standard deviation {deviation:.3g}")
    axes.set_title("residuals: truth less prediction", fontsize=10)
    axes.set_xlabel("residual")
    axes.set_ylabel("test examples")
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _numbers(values: list[Any]) -> npt.NDArray[np.float64]:
    """The values as float64, with nan for null."""
    return np.array(values, np.float64)

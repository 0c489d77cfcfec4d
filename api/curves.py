"""Draws a job's curves: loss, accuracy and learning rate over the epochs."""

import functools
import gc
import io
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.history import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["png", "svg"]
MOST_POINTS = 2_000
LEAST_MARKED = 30
# U+FFFE and U+FFFF: a name may have them, XML 1.0 may not, and Matplotlib writes what it is given.
NOT_IN_XML = re.compile(rb"\xef\xbf[\xbe\xbf]")
drawing = threading.Lock()  # Matplotlib's font and text caches are not made for several threads


def draw(title: str, epochs: Sequence[Epoch], kind: Kind) -> bytes:
    """The curves of these epochs as a PNG or SVG file."""
    with drawing, warnings.catch_warnings():
        # A name may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = figure_class()(figsize=(12, 3.8), layout="constrained")
        figure.suptitle(title.replace("$", r"\$"), fontsize=12)
        left, middle, right = figure.subplots(1, 3)
        _plot(left, epochs, "loss", {"train": "loss", "validation": "val_loss"})
        name = _second_metric(epochs)
        _plot(middle, epochs, name, {"train": name, "validation": f"val_{name}"})
        _plot_rate(right, epochs)
        data = saved(figure, kind)
    # Figures refer to themselves: until the garbage collector comes by, each would keep 4 MB of pixels.
    del figure, left, middle, right
    gc.collect()
    return data


def drawn(title: str, paint: Callable[[], "Figure"]) -> bytes:
    """What `paint` draws, under a title, as an SVG file."""
    with drawing, warnings.catch_warnings():
        # A name may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = paint()
        figure.suptitle(title.replace("$", r"\$"), fontsize=12)
        data = saved(figure, "svg")
    del figure
    gc.collect()
    return data


def saved(figure: "Figure", kind: Kind) -> bytes:
    """The figure as a file: the same bytes for the same figure. Call it while `drawing` is held."""
    from matplotlib import rc_context

    file = io.BytesIO()
    if kind == "png":
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()
    with rc_context({"svg.hashsalt": "trainyard"}):
        figure.savefig(file, format="svg", dpi=110, metadata={"Date": None})
    return NOT_IN_XML.sub(b"", file.getvalue())


@functools.cache
def figure_class() -> "type[Figure]":
    """Matplotlib, imported when first needed: it takes a third of a second and 30 MB.

    What it brings stays for ever; frozen, it costs the garbage collector nothing (measured: 3 ms instead of 70).
    """
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg  # noqa: F401 - both are needed sooner or later
    from matplotlib.figure import Figure

    gc.collect()
    gc.freeze()
    return Figure


def _second_metric(epochs: Sequence[Epoch]) -> str:
    """What is drawn beside the loss: accuracy, else the first metric that was measured."""
    measured = [name for row in epochs[:1] for name in row.metrics if not name.startswith("val_") and name != "loss"]
    return "accuracy" if "accuracy" in measured or not measured else measured[0]


def _plot_rate(axes: "Axes", epochs: Sequence[Epoch]) -> None:
    axis(axes, "learning rate")
    rates = _numbers([row.learning_rate for row in epochs])
    marker = "o" if len(epochs) < LEAST_MARKED else ""
    axes.plot([row.epoch for row in epochs], rates, color="#555555", marker=marker, markersize=3.5)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    if not len(epochs):
        say_nothing(axes)


def _plot(axes: "Axes", rows: Sequence[Epoch], title: str, lines: dict[str, str]) -> None:
    axis(axes, title)
    x = [row.epoch for row in rows]
    marker = "o" if len(rows) < LEAST_MARKED else ""
    for (label, name), colour in zip(lines.items(), ("#1f77b4", "#d95f02"), strict=True):
        y = _numbers([row.metrics.get(name) for row in rows])
        if np.isfinite(y).any():
            axes.plot(x, y, label=label, color=colour, marker=marker, markersize=3.5)
        unbounded = [row.epoch for row in rows if name in row.nonfinite]
        if unbounded:
            axes.axvline(unbounded[0], color=colour, linestyle=":", label=f"{label} not finite")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    else:
        say_nothing(axes)


def say_nothing(axes: "Axes") -> None:
    """Say in empty axes that there is nothing to see."""
    axes.text(0.5, 0.5, "nothing measured yet", ha="center", va="center", transform=axes.transAxes, color="#777777")
    axes.set_xticks([])
    axes.set_yticks([])


def axis(axes: "Axes", title: str) -> None:
    """Give axes over epochs their title and grid."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)


def _numbers(values: Sequence[float | None]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.array([np.nan if value is None else value for value in values], np.float64)

"""Draws a job's curves: loss, accuracy and learning rate over the epochs."""

import functools
import gc
import io
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from api import curve_marks
from api.curve_story import Before, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["png", "svg"]
LEAST_MARKED = 30
RATE = "learning_rate"
# Values beyond this, and so many times beyond the job's median, would press all others flat.
FAR, TIMES = 1_000.0, 100.0
# U+FFFE and U+FFFF: a name may have them, XML 1.0 may not, and Matplotlib writes what it is given.
NOT_IN_XML = re.compile(rb"\xef\xbf[\xbe\xbf]")
drawing = threading.Lock()  # Matplotlib's font and text caches are not made for several threads


@dataclass(frozen=True)
class Line:
    """One line of an axes: of what, what a legend calls it, its colour, and its dashes where it is grey."""

    name: str
    label: str
    colour: str
    dashes: str = "-"


def draw(title: str, story: Story, kind: Kind) -> bytes:
    """The curves of a job, over those of the jobs that it goes on from, as a PNG or SVG file."""
    with drawing, warnings.catch_warnings():
        # A name may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = figure_class()(figsize=(12, 3.8), layout="constrained")
        figure.suptitle(title.replace("$", r"\$"), fontsize=12)
        left, middle, right = figure.subplots(1, 3)
        _plot(left, story, "loss", _train_and_validation("loss"))
        name = _second_metric(story)
        _plot(middle, story, name, _train_and_validation(name))
        _plot(right, story, "learning rate", [Line(RATE, "", "#555555")])
        curve_marks.add(figure, (left, middle, right), story)
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


def _train_and_validation(name: str) -> list[Line]:
    return [Line(name, "train", "#1f77b4"), Line(f"val_{name}", "validation", "#d95f02", "--")]


def _second_metric(story: Story) -> str:
    """What is drawn beside the loss: accuracy, else the first metric that was measured."""
    first = next((rows[0] for rows in (story.epochs, *(job.epochs for job in story.before)) if rows), None)
    measured = [name for name in (first.metrics if first else ()) if not name.startswith("val_") and name != "loss"]
    return "accuracy" if "accuracy" in measured or not measured else measured[0]


def _plot(axes: "Axes", story: Story, title: str, lines: Sequence[Line]) -> None:
    axis(axes, title)
    marker = "o" if len(story.epochs) < LEAST_MARKED else ""
    for line in lines:
        for job, grey in zip(story.before, curve_marks.greys(len(story.before)), strict=True):
            _draw(axes, job, line, color=grey, linewidth=1.0, linestyle=line.dashes, zorder=1.5)
        _draw(axes, story, line, color=line.colour, label=line.label, marker=marker, markersize=3.5)
        unbounded = [story.start + row.epoch for row in story.epochs if line.name in row.nonfinite]
        if unbounded:
            axes.axvline(unbounded[0], color=line.colour, linestyle=":", label=f"{line.label} not finite")
    if not axes.lines:
        say_nothing(axes)
        return
    if title == "learning rate":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    elif _goes_far(story, lines):
        axes.set_yscale("log")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, title="this job" if story.before else None)


def _draw(axes: "Axes", job: Story | Before, line: Line, **look: Any) -> None:
    """One line, unless it has no point. What is not finite is a gap."""
    values = _values(job, line)
    if np.isfinite(values).any():
        axes.plot([job.start + row.epoch for row in job.epochs], values, **look)


def _goes_far(story: Story, lines: Sequence[Line]) -> bool:
    """Whether some value is so far from the job's usual ones that these would all look alike."""
    own = np.concatenate([_values(story, line) for line in lines])
    every = np.concatenate([own, *(_values(job, line) for job in story.before for line in lines)])
    own, every = own[np.isfinite(own)], every[np.isfinite(every)]
    return bool(own.size and every.min() > 0 and every.max() > max(FAR, TIMES * np.median(own)))


def _values(job: Story | Before, line: Line) -> "np.ndarray[Any, np.dtype[np.float64]]":
    found = [row.learning_rate if line.name == RATE else row.metrics.get(line.name) for row in job.epochs]
    return np.array([np.nan if value is None else value for value in found], np.float64)


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

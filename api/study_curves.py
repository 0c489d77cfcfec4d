"""Draws a study: every setting's objective and loss over the epochs on one plot, and the search by trial."""

import gc
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.curves import axis, drawing, figure_class, say_nothing
from api.study_views import all_runs, outcomes_of
from api.verdicts import figure, ranked
from models.runs import Curve, curves_of
from models.spec.metrics_direction import higher_is_better
from models.studies import Study, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 300
MOST_COLOURED = 30
COLOURED_OF_MORE = 15
LONGEST_LABEL = 44
WIDE = 100  # a loss that spans more than this is drawn on a logarithmic axis
GREY = "#c4c4c4"
GREY_OF_TEN = 7  # of the palette's ten colours
GOLD = (0.93, 0.72, 0.0)
Colour = tuple[float, float, float]
Stroke = Literal["-", "--", ":"]


@dataclass(frozen=True)
class Line:
    """One setting: what the legend says, and by metric a curve a run."""

    legend: str
    curves: dict[str, list[Curve]]


@dataclass(frozen=True)
class Picture:
    """What is drawn: lines with the best setting first, and of a search the value of each trial."""

    title: str
    metrics: tuple[str, str]
    rising: bool
    lines: list[Line]
    search: list[tuple[int, float]] | None


def gather(session: Session, study: Study) -> Picture:
    """Everything that the plot of a study needs, in one read."""
    rows = list(session.scalars(select(Trial).where(Trial.study_id == study.id).order_by(Trial.number)))
    rising = higher_is_better(study.objective)
    order = ranked(outcomes_of(rows, all_runs(session, study, rows)), rising)
    metrics = (study.objective, "val_loss" if study.objective == "loss" else "loss")
    curves = curves_of(session, study.id, set(metrics), MOST_POINTS)
    legends = {outcome.number: f"{_clipped(outcome.label)}  {figure(outcome)}" for outcome in order}
    begun = [row for row in rows if row.number in curves]
    for row in begun:
        legends.setdefault(row.number, f"{_clipped(row.label)}  ({row.status})")
    return Picture(
        title=f"{study.name or study.id}, {study.status}",
        metrics=metrics,
        rising=rising,
        lines=[Line(legend, curves[number]) for number, legend in legends.items() if number in curves],
        search=None if study.spec["sampler"] == "grid" else sorted((o.number, o.mean) for o in order),
    )


def draw(picture: Picture) -> bytes:
    """The plot as a PNG file."""
    shown = len(picture.lines) if len(picture.lines) <= MOST_COLOURED else COLOURED_OF_MORE + 1
    panels = 2 if picture.search is None else 3
    with drawing, warnings.catch_warnings():
        # A name may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        drawn = figure_class()(figsize=(4.4 * panels + 3.6, max(4.0, 0.9 + 0.19 * shown)), layout="constrained")
        drawn.suptitle(_plain(picture.title), fontsize=12)
        axes = drawn.subplots(1, panels)
        for place, name in enumerate(picture.metrics):
            _plot(axes[place], picture.lines, name)
        if picture.search is not None:
            _plot_search(axes[2], picture)
        if picture.lines:
            handles, labels = _legend(picture.lines)
            drawn.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
        file = io.BytesIO()
        drawn.savefig(file, format="png", dpi=110)
    # Figures refer to themselves: until the garbage collector comes by, each would keep its pixels.
    del drawn, axes
    gc.collect()
    return file.getvalue()


def styles(count: int) -> list[tuple[Colour, Stroke]]:
    """A colour and a kind of line for each of up to 30 settings: ten hues, darker and dashed, lighter and dotted."""
    from matplotlib import colormaps

    hues = [colormaps["tab10"](n)[:3] for n in range(10) if n != GREY_OF_TEN] + [GOLD]
    shades: list[tuple[float, float, Stroke]] = [(0.0, 0.0, "-"), (0.0, 0.35, "--"), (1.0, 0.45, ":")]
    return [(_mixed(hue, other, share), stroke) for other, share, stroke in shades for hue in hues][:count]


def _mixed(colour: Colour, other: float, share: float) -> Colour:
    red, green, blue = (part * (1 - share) + other * share for part in colour)
    return red, green, blue


def _coloured(lines: Sequence[Line]) -> tuple[Sequence[Line], Sequence[Line]]:
    """The lines that get a colour, and those that stay grey."""
    most = len(lines) if len(lines) <= MOST_COLOURED else COLOURED_OF_MORE
    return lines[:most], lines[most:]


def _plot(axes: "Axes", lines: Sequence[Line], name: str) -> None:
    from matplotlib.collections import LineCollection

    axis(axes, name)
    front, back = _coloured(lines)
    if not any(line.curves.get(name) for line in lines):
        say_nothing(axes)
        return
    means = [_mean(line.curves[name]) for line in back if line.curves.get(name)]
    axes.add_collection(LineCollection(means, colors=GREY, linewidths=0.8))
    # The best is drawn last, above the others.
    for line, (colour, kind) in reversed(list(zip(front, styles(len(front)), strict=True))):
        runs = line.curves.get(name, [])
        if len(runs) > 1:
            axes.add_collection(LineCollection(runs, colors=[colour], linewidths=0.7, alpha=0.4))
        if runs:
            x, y = zip(*_mean(runs), strict=True)
            axes.plot(x, y, color=colour, linestyle=kind, linewidth=2.0, marker="o" if len(x) == 1 else "")
    axes.autoscale_view()
    seen = [value for line in lines for run in line.curves.get(name, []) for _, value in run]
    if not higher_is_better(name) and min(seen) > 0 and max(seen) > WIDE * min(seen):
        axes.set_yscale("log")


def _mean(runs: Sequence[Curve]) -> Curve:
    """The mean over runs at each epoch that all of them have reached; of one run itself."""
    if len(runs) == 1:
        return runs[0]
    known = [dict(run) for run in runs]
    together = sorted(set.intersection(*(set(run) for run in known)))
    return [(epoch, fmean(run[epoch] for run in known)) for epoch in together] or max(runs, key=len)


def _plot_search(axes: "Axes", picture: Picture) -> None:
    axis(axes, f"best {picture.metrics[0]} so far")
    axes.set_xlabel("trial")
    if not picture.search:
        say_nothing(axes)
        return
    numbers, values = zip(*picture.search, strict=True)
    so_far = (np.maximum if picture.rising else np.minimum).accumulate(values)
    axes.scatter(numbers, values, s=14, color="#888888", label="each trial")
    axes.step(numbers, so_far, where="post", color="#d95f02", label="best so far")
    axes.legend(frameon=False, fontsize=8)


def _legend(lines: Sequence[Line]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    front, back = _coloured(lines)
    handles = [Line2D([], [], color=colour, linestyle=kind, linewidth=2.0) for colour, kind in styles(len(front))]
    labels = [_plain(line.legend) for line in front]
    if back:
        handles.append(Line2D([], [], color=GREY))
        labels.append(f"{len(back)} more settings; coloured: the best {len(front)}")
    return handles, labels


def _clipped(label: str) -> str:
    """What tells long labels apart may stand at either end."""
    half = LONGEST_LABEL // 2
    return label if len(label) <= LONGEST_LABEL else f"{label[: half - 1]}…{label[-half:]}"


def _plain(text: str) -> str:
    """Text that Matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")

"""Marks on a job's curves: where a change was taken up, where something was diagnosed, which line is which job's."""

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from api.curve_story import Mark, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

CHANGE, DIAGNOSIS = "#3a3a3a", "#b2182b"
JUST_BEFORE, EARLIER = "#8c8c8c", "#cccccc"
DASHES = (0, (4, 3))
MOST_NAMED = 8
INCHES_A_ROW = 0.2
# Of the width of an axes: how far from each other numbers and triangles stand side by side.
NUMBER_ROOM, TRIANGLE_ROOM = 0.06, 0.05
TRIANGLE_HEIGHT = 0.075


def add(figure: "Figure", every_axes: Sequence["Axes"], story: Story) -> None:
    """Mark changes in all axes, diagnoses in the first; below all of them is said what the marks mean."""
    drawn = [axes for axes in every_axes if axes.lines]
    for axes in drawn:
        if story.before:
            axes.set_xlabel(f"epoch of the first job; this one goes on from {story.start}")
            axes.axvline(story.start, color=EARLIER, linewidth=0.8, zorder=1.2)
        if story.changes:
            _changes(axes, story.changes)
    if every_axes[0] in drawn:
        _diagnoses(every_axes[0], story.findings)
    handles = _handles(story) if drawn else []
    if handles:
        columns = 4 if max(len(str(handle.get_label())) for handle in handles) < 40 else 3
        figure.set_figheight(figure.get_figheight() + INCHES_A_ROW * -(-len(handles) // columns))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def greys(count: int) -> list[str]:
    """The colours of so many jobs before, the oldest first."""
    return [EARLIER] * (count - 1) + [JUST_BEFORE] * min(count, 1)


def _changes(axes: "Axes", changes: Sequence[Mark]) -> None:
    """Dashed lines, the first ones with their numbers above the axes."""
    axes.set_title(axes.get_title(), fontsize=10, pad=15)
    axes.yaxis.get_offset_text().set_x(-0.13)  # beside the axes: above it are the numbers
    strength = 1.0 if len(changes) <= MOST_NAMED else 0.3
    above = axes.get_xaxis_transform()
    # One line with gaps: up to 200 lines of their own would take their time.
    x, y = [place for change in changes for place in (change.at, change.at, nan)], [0, 1, nan] * len(changes)
    axes.plot(x, y, transform=above, color=CHANGE, linestyle=DASHES, linewidth=0.8, alpha=strength, zorder=1.8)
    left, right = axes.get_xlim()
    for close in _groups(changes[:MOST_NAMED], NUMBER_ROOM * (right - left)):
        numbers = str(close[0].number) if len(close) == 1 else f"{close[0].number}-{close[-1].number}"
        middle = (close[0].at + close[-1].at) / 2
        axes.text(middle, 1.01, numbers, transform=above, ha="center", va="bottom", fontsize=8, color=CHANGE)


def _diagnoses(axes: "Axes", findings: Sequence[Mark]) -> None:
    """Triangles in a strip below the curves, above each other where they would overlap."""
    left, right = axes.get_xlim()
    groups = _groups(sorted(findings, key=lambda mark: mark.at), TRIANGLE_ROOM * (right - left))
    _make_room_below(axes, TRIANGLE_HEIGHT * max(map(len, groups), default=0))
    inside = axes.get_xaxis_transform()
    for close in groups:
        for level, finding in enumerate(close):
            height = TRIANGLE_HEIGHT * (level + 0.45)
            axes.plot([finding.at], [height], marker="^", markersize=13, color=DIAGNOSIS, transform=inside, zorder=4)
            label = axes.text(
                finding.at, height - 0.011, str(finding.number), transform=inside, color="white", zorder=5
            )
            label.set(ha="center", va="center", fontsize=7, fontweight="bold")


def _make_room_below(axes: "Axes", share: float) -> None:
    """Move the curves up so that this share of the axes' height is free below them."""
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(axes.get_ylim())
    axes.set_ylim(bottom=float(scale.inverted().transform([low - (high - low) * share / (1 - share)])[0]))


def _groups(marks: Sequence[Mark], room: float) -> list[list[Mark]]:
    """Marks in order, those together that are less than `room` from the one before."""
    groups: list[list[Mark]] = []
    for mark in marks:
        if groups and mark.at - groups[-1][-1].at < room:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    return groups


def _handles(story: Story) -> list["Line2D"]:
    """What the marks and the grey lines mean, as a legend has it."""
    from matplotlib.lines import Line2D

    handles = []
    if story.before:
        handles.append(Line2D([], [], color=JUST_BEFORE, label="job before (validation dashed)"))
    if len(story.before) > 1:
        handles.append(Line2D([], [], color=EARLIER, label="jobs before that"))
    for finding in story.findings:
        label = f"diagnosis {finding.number}: {finding.label}"
        handles.append(Line2D([], [], color=DIAGNOSIS, linestyle="", marker="^", markersize=8, label=label))
    for change in story.changes[:MOST_NAMED]:
        label = f"change {change.number}: {change.label}"
        handles.append(Line2D([], [], color=CHANGE, linestyle=DASHES, linewidth=0.8, label=label))
    more = len(story.changes) - MOST_NAMED
    if more > 0:
        handles.append(Line2D([], [], linestyle="", label=f"and {more} more {'change' if more == 1 else 'changes'}"))
    return handles

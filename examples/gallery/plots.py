"""The pictures of the gallery: those that the service draws, and those that put several jobs together."""

import io
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from examples.gallery.animation import animate
from examples.gallery.service import Service
from examples.gallery.studies import trial_values

if TYPE_CHECKING:
    from examples.gallery.runner import Outcome

Json = dict[str, Any]
Made = tuple[str, bytes] | None
# Rolling what is drawn of long runs down to so many points changes nothing that can be seen.
MOST_POINTS = 600


def make(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """The suffix and content of a plot; None when a quick run has left out what it shows.

    Raises:
        KeyError: there is no such type; `TYPES` has them all.
    """
    return TYPES[plot["type"]](plot, outcome, service)


def curves(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "curves", "of": label}`: what the service draws of one job."""
    if plot["of"] not in outcome.known:
        return None
    return "png", service.file(f"/v1/jobs/{outcome.known[plot['of']]['job']}/curves.png")


def study(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "study", "of": label}`: what the service draws of a study, every setting on one plot."""
    if plot["of"] not in outcome.studies:
        return None
    return "png", service.study_curves(outcome.studies[plot["of"]]["id"])


def settings(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "settings", "of": study, "show": ["loss"], "log": ["loss"]}`: a study by the names that its step gives.

    Thin lines are the runs, the thick one of the same colour is their mean.
    """
    if plot["of"] not in outcome.studies:
        return None
    named = outcome.runs[plot["of"]]["settings"].values()
    found = [[run["job_id"] for run in trial["runs"]] for trial in outcome.studies[plot["of"]]["trials"]]
    figure, every_axes = canvas(len(plot["show"]))
    rows = [[service.metrics(job) for job in jobs] for jobs in found]
    for axes, name in zip(every_axes, plot["show"], strict=True):
        for place, (setting, runs) in enumerate(zip(named, rows, strict=True)):
            lines = [line_of(run, name) for run in runs if run]
            for epochs, values in lines:
                axes.plot(epochs, values, color=f"C{place}", linewidth=0.6, alpha=0.4)
            shortest = min((epochs for epochs, _ in lines), key=len, default=[])
            mean = [fmean(values[n] for _, values in lines) for n in range(len(shortest))]
            axes.plot(shortest, mean, color=f"C{place}", linewidth=1.8, label=setting["label"])
        axes.set(title=name, xlabel="epoch", yscale="log" if name in plot.get("log", ()) else "linear")
        whole_numbers(axes)
    every_axes[-1].legend(fontsize=8)
    return "png", png(figure)


def result(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "result", "of": label}`: the picture of a job that does not train."""
    if plot["of"] not in outcome.known:
        return None
    return "svg", service.file(f"/v1/jobs/{outcome.known[plot['of']]['job']}/result.svg")


def script(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "script", "of": label}`: what a script drew."""
    return ("png", outcome.pictures[plot["of"]]) if plot["of"] in outcome.pictures else None


def animation(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "animation", "of": label}`: the regions that a network on the spiral decides for, over the epochs."""
    if plot["of"] not in outcome.known:
        return None
    return "gif", animate(service, outcome.known[plot["of"]]["job"])


def together(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "together", "show": ["loss", "val_loss"], "of": [labels], "log": ["loss"]}`: one line a job.

    Without `of`, every job. `log` has the figures whose axis is logarithmic.
    """
    labels = [label for label in plot.get("of", outcome.rows) if label in outcome.rows]
    figure, every_axes = canvas(len(plot["show"]))
    for axes, name in zip(every_axes, plot["show"], strict=True):
        for label in labels:
            epochs, values = line_of(outcome.rows[label], name)
            axes.plot(epochs, values, label=label, linewidth=1.4)
        axes.set(title=name, xlabel="epoch", yscale="log" if name in plot.get("log", ()) else "linear")
        whole_numbers(axes)
    every_axes[-1].legend(fontsize=8)
    return "png", png(figure)


def best_so_far(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "best_so_far", "of": {"random": [studies], "tpe": [studies]}}`: means over the studies, by trial.

    On the left the best until then, with the range over the studies; on the right what the trial itself gave.
    """
    figure, (left, right) = canvas(2)
    for name, labels in plot["of"].items():
        found = [trial_values(outcome.studies[label]) for label in labels if label in outcome.studies]
        if not found:
            continue
        shortest = min(len(values) for values in found)
        single = np.asarray([values[:shortest] for values in found], float)
        best = np.maximum.accumulate(single, axis=1)
        trials = np.arange(1, shortest + 1)
        (drawn,) = left.plot(trials, best.mean(axis=0), marker=".", label=f"{name}, mean of {len(found)}")
        left.fill_between(trials, best.min(axis=0), best.max(axis=0), alpha=0.15, color=drawn.get_color())
        right.plot(trials, single.mean(axis=0), marker=".", label=f"{name}, mean of {len(found)}")
    left.set(title="best so far", xlabel="trial", ylabel="objective")
    right.set(title="each trial", xlabel="trial")
    for axes in (left, right):
        whole_numbers(axes)
    left.legend(fontsize=8)
    return "png", png(figure)


def ranges(plot: Json, outcome: "Outcome", service: Service) -> Made:
    """`{"type": "ranges", "of": study, "show": ["accuracy", "loss"]}`: every run of each setting after its last epoch.

    A dot is a run, the bar goes from the least to the greatest, the stroke across it is the mean, and a grey box is
    what others have published.
    """
    if plot["of"] not in outcome.runs:
        return None
    settings = list(outcome.runs[plot["of"]]["settings"].values())
    figure, every_axes = canvas(len(plot["show"]))
    for axes, name in zip(every_axes, plot["show"], strict=True):
        for place, setting in enumerate(settings):
            found, published = setting["last"].get(name), setting.get("published", {}).get(name)
            if published:
                low, high = published[0], published[-1]
                axes.plot([low, high], [place - 0.3] * 2, color="0.55", linewidth=6, marker="s", markersize=5)
            if found:
                axes.plot([found["min"], found["max"]], [place] * 2, color="C0", linewidth=2, alpha=0.6)
                axes.plot(found["values"], [place] * len(found["values"]), "o", color="C0", markersize=5)
                axes.plot([found["mean"]], [place], "|", color="C3", markersize=14, markeredgewidth=2)
        axes.set(title=f"{name} after the last epoch", ylim=(len(settings) - 0.4, -0.7))
        axes.set_yticks(
            range(len(settings)), [setting["label"] for setting in settings] if axes is every_axes[0] else []
        )
        axes.grid(alpha=0.3)
    return "png", png(figure)


def canvas(count: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure with `count` axes in a row."""
    figure = Figure(figsize=(1 + 4.6 * count, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def whole_numbers(axes: Axes) -> None:
    """A grid whose steps to the right are whole epochs or trials."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def line_of(rows: Sequence[Json], name: str) -> tuple[list[int], list[float]]:
    """Epochs and values of a figure, thinned out; what is not finite is a gap. `learning_rate` is one too."""
    thin = rows[:: max(1, len(rows) // MOST_POINTS)]
    values = [row["learning_rate"] if name == "learning_rate" else row["metrics"].get(name) for row in thin]
    return [row["epoch"] for row in thin], [float("nan") if value is None else value for value in values]


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()


TYPES: dict[str, Callable[[Json, "Outcome", Service], Made]] = {
    "curves": curves,
    "study": study,
    "result": result,
    "script": script,
    "animation": animation,
    "together": together,
    "best_so_far": best_so_far,
    "ranges": ranges,
    "settings": settings,
}

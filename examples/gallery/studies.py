"""The figures of studies and of jobs that do not train, named so that claims can use them."""

import re
from collections.abc import Sequence
from statistics import fmean
from typing import Any

Json = dict[str, Any]
# TPE draws its first ten trials at random.
STARTUP_TRIALS = 10


def study_figures(study: Json, labels: Sequence[str] = ()) -> Json:
    """From the answer of GET /v1/studies/{id}; `labels` are other names for the settings, in their order.

    `settings` has by name `label`, `mean`, `interval` (half of it, None for one run) and `runs`; beside it `objective`,
    `best`, `late_mean` (of the trials after the tenth) and `verdict`.
    """
    trials = study["trials"]
    names = [*labels[: len(trials)], *(trial["label"] for trial in trials[len(labels) :])]
    values = trial_values(study)
    return {
        "objective": study["objective"],
        "settings": {name_of(label): _setting(label, trial) for label, trial in zip(names, trials, strict=True)},
        "best": (study.get("best") or {}).get("mean"),
        "late_mean": fmean(values[STARTUP_TRIALS:]) if len(values) > STARTUP_TRIALS else None,
        "runs": sum(len(trial["runs"]) for trial in trials),
        "verdict": study["verdict"],
    }


def trial_values(study: Json) -> list[float]:
    """The objective of each trial that has one, in the order in which they were made."""
    return [trial["mean"] for trial in study["trials"] if trial["mean"] is not None]


def result_figures(result: Json) -> Json:
    """From the answer of GET /v1/jobs/{id}/result."""
    if result["kind"] == "initialization":
        spreads = {name_of(one["label"]): _spread(one) for one in result["initializers"]}
        return {"by": spreads, "told": result["summary"]}
    names = ("passed", "largest_relative_error", "compared", "kinks")
    return {name: result[name] for name in names} | {"told": result["summary"]}


def name_of(label: str) -> str:
    """A label as claims can name it: letters, digits and underscores."""
    return re.sub(r"[^\w-]+", "_", label).strip("_")


def _setting(label: str, trial: Json) -> Json:
    interval = trial["interval"]
    half = None if interval is None else (interval[1] - interval[0]) / 2
    return {"label": label, "mean": trial["mean"], "interval": half, "runs": len(trial["runs"])}


def _spread(one: Json) -> Json:
    """The spread in the first and the last hidden layer with a kernel, and how much of it arrives."""
    hidden = [layer for layer in one["layers"] if layer["has_kernel"]][:-1]
    first, last = hidden[0], hidden[-1]
    return {
        "first_output": first["outputs"]["stddev"],
        "last_output": last["outputs"]["stddev"],
        "first_gradient": first["output_gradient"]["stddev"],
        "last_gradient": last["output_gradient"]["stddev"],
    }

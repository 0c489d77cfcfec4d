"""The figures of studies and of jobs that do not train, named so that claims can use them."""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Json = dict[str, Any]
# TPE draws its first ten trials at random.
STARTUP_TRIALS = 10


def study_figures(study: Json, labels: Sequence[str] = ()) -> Json:
    """From the answer of GET /v1/studies/{id}; `labels` are other names for the settings, in their order.

    `settings` has by name `label`, `mean`, `interval` (half of it, None for one run) and `runs`; beside it `objective`,
    `best`, `best_setting`, `late_mean` (of the trials after the tenth), `verdict`, and `searched`, whether the settings
    were drawn.
    """
    trials = study["trials"]
    names = [*labels[: len(trials)], *(trial["label"] for trial in trials[len(labels) :])]
    values = trial_values(study)
    return {
        "objective": study["objective"],
        "settings": {name_of(label): _setting(label, trial) for label, trial in zip(names, trials, strict=True)},
        "searched": study.get("spec", {}).get("sampler", "grid") != "grid",
        "best": (study.get("best") or {}).get("mean"),
        "best_setting": (study.get("best") or {}).get("label"),
        "late_mean": fmean(values[STARTUP_TRIALS:]) if len(values) > STARTUP_TRIALS else None,
        "runs": sum(len(trial["runs"]) for trial in trials),
        "verdict": renamed(study["verdict"], [trial["label"] for trial in trials], names),
    }


def renamed(sentences: Sequence[str], labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """The sentences with `names` for the service's labels; those with a label that several share are left out."""
    shared = [label for label in labels if labels.count(label) > 1]
    told = []
    for sentence in sentences:
        for number, label in sorted(enumerate(labels), key=lambda pair: -len(pair[1])):
            if label not in shared:
                sentence = sentence.replace(label, f"\0{number}\0")
        if not any(label in sentence for label in shared):
            told.append(re.sub("\0(\\d+)\0", lambda found: names[int(found[1])], sentence))
    return told


def with_last(figures: Json, study: Json, latest: Mapping[str, Json]) -> Json:
    """The figures of a study with, for every setting, `last`: each metric's `mean`, `min`, `max` and `values` by run.

    `latest` has the metrics of the last epoch by the id of the job; a setting that failed has an empty `last`.
    """
    settings = {}
    for (name, setting), trial in zip(figures["settings"].items(), study["trials"], strict=True):
        rows = [latest[run["job_id"]] for run in trial["runs"] if latest.get(run["job_id"])]
        values = {metric: [row[metric] for row in rows if row.get(metric) is not None] for metric in (rows or [{}])[0]}
        last = {
            metric: {"mean": fmean(found), "min": min(found), "max": max(found), "values": found}
            for metric, found in values.items()
            if found
        }
        settings[name] = setting | {"last": last}
    return figures | {"settings": settings}


def covers(found: Json, published: Sequence[float]) -> str:
    """In words whether the runs' `min` to `max` takes in the published lowest and highest figure."""
    low, high = published[0], published[-1]
    if found["min"] <= low and high <= found["max"]:
        return "yes"
    return "partly" if found["min"] <= high and low <= found["max"] else "no"


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

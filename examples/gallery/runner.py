"""Runs the steps of an experiment on a service and gathers their figures and plots."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from examples.gallery import plots
from examples.gallery.claims import ticks
from examples.gallery.experiment import Experiment, Step
from examples.gallery.mending import KEPT, mend
from examples.gallery.service import Service
from examples.gallery.studies import result_figures, study_figures, with_last
from trainyard.errors import Unreachable

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
LONGEST_STEP = 3600.0
FIFTHS = 5


class Unexpected(Exception):
    """A step did not end as its experiment says."""


@dataclass
class Outcome:
    """What a run of an experiment gave: figures by label, and what plots and pages are made from.

    `rows` are the metrics rows of jobs, `known` their ids and models, `studies` the whole answers.
    """

    runs: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[Json]] = field(default_factory=dict)
    known: dict[str, Json] = field(default_factory=dict)
    studies: dict[str, Json] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Runner:
    """Runs experiments on `service`; pictures go to `folder`."""

    service: Service
    folder: Path
    quick: bool
    tell: Callable[[str], None]

    def run(self, experiment: Experiment) -> Json:
        """Run one experiment; answers its entry for figures.json. A failure is in the entry, and is not raised.

        Raises:
            Unreachable: the service is gone.
        """
        started = time.monotonic()
        entry: Json = {"date": datetime.now(UTC).date().isoformat(), "failed": None}
        outcome = Outcome()
        try:
            for step in experiment.steps(self.quick):
                before = time.monotonic()
                outcome.runs[step.label] = self._step(step.filled(outcome.known), outcome)
                self.tell(f"   {step.label}: {time.monotonic() - before:.1f} s")
            entry["plots"] = self._plots(experiment, outcome)
        except Unreachable:
            raise
        except Exception as error:  # whatever it is, the other experiments go on
            entry["failed"] = f"{type(error).__name__}: {error}"
            entry.setdefault("plots", [])
        entry["runs"] = outcome.runs
        entry["seconds"] = round(time.monotonic() - started, 1)
        if not self.quick and entry["failed"] is None:
            entry["ticks"] = ticks(experiment.body.get("expect", ()), outcome.runs)
        return entry

    def _step(self, step: Step, outcome: Outcome) -> Json:
        match step.kind:
            case "job":
                return self._job(step, outcome)
            case "study":
                return self._study(step, outcome)
            case "script":
                return self._script(step, outcome)
            case "predict":
                return self._predict(step)
            case "mend":
                return self._mend(step, outcome)

    def _job(self, step: Step, outcome: Outcome) -> Json:
        job = self.service.submit({"name": step.label} | step.body)
        job = self.service.wait(job["id"], timeout=LONGEST_STEP, check=False)
        if step.ends not in (job["status"], "any"):
            raise Unexpected(f"job {step.label} {job['status']}, not {step.ends}: {job.get('failure')}")
        model = job.get("model")
        outcome.known[step.label] = {"job": job["id"]}
        if model:
            outcome.known[step.label]["model"] = f"{model['name']}:{model['version']}"
        if job["kind"] in ("initialization", "gradient_check"):
            return result_figures(self.service.result(job["id"])) | {"seconds": seconds_of(job)}
        rows = outcome.rows[step.label] = self.service.metrics(job["id"])
        return job_figures(job, rows)

    def _study(self, step: Step, outcome: Outcome) -> Json:
        study = self.service.submit_study(step.body)
        study = outcome.studies[step.label] = self.service.wait_for_study(study["id"], timeout=LONGEST_STEP)
        jobs = [run["job_id"] for trial in study["trials"] for run in trial["runs"]]
        latest = {job: self.service.job(job)["metrics"]["latest"] or {} for job in jobs}
        figures = with_last(study_figures(study, step.source.get("labels", ())), study, latest)
        for name, published in step.source.get("published", {}).items():
            if name in figures["settings"]:
                figures["settings"][name]["published"] = published
        return figures | {"show": step.source.get("show", [])}

    def _script(self, step: Step, outcome: Outcome) -> Json:
        picture = self.folder / "script.png"
        command = [sys.executable, str(ROOT / step.body), str(picture)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=LONGEST_STEP, check=False)
        if done.returncode != 0:
            raise Unexpected(f"{step.body} ended with {done.returncode}: {done.stderr[-400:]}")
        outcome.pictures[step.label] = picture.read_bytes()
        picture.unlink()
        figures: Json = json.loads(done.stdout.splitlines()[-1])
        return figures

    def _predict(self, step: Step) -> Json:
        with Image.open(ROOT / step.body) as picture:
            pixels = np.asarray(picture.convert("L"))
        first: Json = self.service.predict(pixels, model=step.model)["predictions"][0]
        return {name: first[name] for name in ("label", "class_name", "probability")}

    def _mend(self, step: Step, outcome: Outcome) -> Json:
        before, after, done = mend(self.service, step.body, step.source.get("while_running", False))
        figures: Json = {"spec": step.body["name"], **done}
        for when, label, job in (("before", f"{step.label}-before", before), ("after", step.label, after)):
            outcome.known[label] = {"job": job["id"]}
            outcome.rows[label] = self.service.metrics(job["id"])
            told = job_figures(job, outcome.rows[label])
            figures[when] = {name: told[name] for name in KEPT}
        return figures

    def _plots(self, experiment: Experiment, outcome: Outcome) -> list[str]:
        """Fetch or draw every plot, and remove those of an earlier run; answers the file names."""
        names = []
        for place, plot in enumerate(experiment.body.get("plots", ()), start=1):
            made = plots.make(plot, outcome, self.service)
            if made is None:
                continue
            suffix, content = made
            name = f"{experiment.number}-{place}-{plot['type'].replace('_', '-')}.{suffix}"
            (self.folder / name).write_bytes(content)
            names.append(name)
        for old in self.folder.glob(f"{experiment.number}-*"):
            if old.name not in names:
                old.unlink()
        return names


def job_figures(job: Json, rows: list[Json]) -> Json:
    """The figures of a training: `test`, `first`, `last`, `min`, `max` by metric, when those were, and times.

    `fifths` has the means over the first fifth of the epochs, the second and so on: a single epoch says little of where
    a noisy curve is going.
    """
    tested = job.get("evaluation") or {}
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    told: Json = {
        "status": job["status"],
        "failure": (job.get("failure") or {}).get("kind"),
        "epochs": rows[-1]["epoch"] if rows else 0,
        "seconds": seconds_of(job),
        "last_learning_rate": rows[-1]["learning_rate"] if rows else None,
        "epoch_seconds": statistics.median(row["seconds"] for row in rows) if rows else None,
        "test": {name: value for name, value in tested.items() if isinstance(value, int | float)},
        **{part: {} for part in ("first", "last", "min", "max", "epoch_of_min", "epoch_of_max", "fifths")},
    }
    for name in names:
        values = [(row["metrics"].get(name), row["epoch"]) for row in rows]
        known = [pair for pair in values if pair[0] is not None]
        if len(known) == len(rows) >= FIFTHS:
            told["fifths"][name] = [
                statistics.fmean(value for value, _ in part) for part in np.array_split(values, FIFTHS)
            ]
        told["first"][name], told["last"][name] = values[0][0], values[-1][0]
        if known:
            told["min"][name], told["epoch_of_min"][name] = min(known)
            told["max"][name], told["epoch_of_max"][name] = max(known, key=lambda pair: pair[0])
    return told


def seconds_of(job: Json) -> float | None:
    """From the first start to the end of a job."""
    if not job.get("started_at") or not job.get("finished_at"):
        return None
    start, end = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return round((end - start).total_seconds(), 1)

"""What was seen in the course of planted jobs, kept in files, and what the rules say of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from examples.illnesses.specs import Planted
from models.diagnoses import Finding, LayerSigns
from models.spec import JobSpec, parse_spec
from worker.diagnosis.history import EpochSigns
from worker.diagnosis.rules import diagnose

History = Sequence[EpochSigns]


def history_of(planted: Planted, folder: Path, train: Callable[[JobSpec], History]) -> History:
    """What was seen in the course of the job: from `folder` where the same was trained before, else trained now."""
    later = "later-" if planted.later else ""
    path = folder / f"{later}{planted.expected or 'healthy'}-{planted.number}.json"
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["spec"] == planted.spec:
            return [_epoch(row) for row in kept["history"]]
    history = train(parse_spec(planted.spec))
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"spec": planted.spec, "history": [asdict(row) for row in history]}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return history


def sparse(history: History) -> History:
    """The history as a doctor sees it who may look only after the first epoch and the last."""
    ends = (history[0].epoch, history[-1].epoch)
    return [row if row.epoch in ends else EpochSigns(row.epoch, row.learning_rate, row.metrics) for row in history]


def first_finding(spec: JobSpec, history: History) -> Finding | None:
    """The first finding that is made in the course of the job."""
    for upto in range(1, len(history) + 1):
        if found := diagnose(spec, history[:upto]):
            return found[0]
    return None


def _epoch(row: dict[str, Any]) -> EpochSigns:
    layers = [LayerSigns(**each) for each in row["layers"]]
    return EpochSigns(row["epoch"], row["learning_rate"], row["metrics"], layers)

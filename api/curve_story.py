"""What a job's curves tell beside its epochs: the jobs that it goes on from, its changes, and what was diagnosed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from models.changes import changes_of
from models.diagnoses import diagnoses_of
from models.history import Epoch, sampled_epochs
from models.jobs import Job
from models.spec import JobSpec
from models.spec.summary import steps_per_epoch

MOST_POINTS = 2_000
MOST_BEFORE = 5


@dataclass(frozen=True)
class Before:
    """A job that another one goes on from; its epoch n stands at `start` + n."""

    epochs: Sequence[Epoch]
    start: int = 0


@dataclass(frozen=True)
class Mark:
    """Something that happened: its number on record, where it stands among the epochs, and in a few words what."""

    number: int
    at: float
    label: str


@dataclass(frozen=True)
class Story:
    """What is drawn of a job, whose epoch n stands at `start` + n; the jobs before it are the oldest first."""

    epochs: Sequence[Epoch]
    start: int = 0
    before: Sequence[Before] = ()
    changes: Sequence[Mark] = ()
    findings: Sequence[Mark] = ()


def story_of(session: Session, job: Job, sees: Callable[[str | None], bool]) -> Story:
    """The story of `job`, of the jobs before it only those whose owners' jobs the caller `sees`.

    All jobs together have about `MOST_POINTS` epochs, evenly spread over each.
    """
    chain = _jobs_before(session, job, sees)
    most = MOST_POINTS // (len(chain) + 1)
    start, before = 0, []
    for earlier, epoch in reversed(chain):
        before.append(Before(sampled_epochs(session, earlier.id, most), start))
        start += epoch
    findings = [
        Mark(row.number, start + row.epoch, f"{row.verdict.replace('_', ' ')} (epoch {start + row.epoch})")
        for row in diagnoses_of(session, job.id)
    ]
    return Story(sampled_epochs(session, job.id, most), start, before, _changes(session, job, start), findings)


def change_label(new: Mapping[str, Any]) -> str:
    """A change in a few words: `learning_rate 0.0001, epochs 30`; a schedule by its type."""
    parts = []
    if (rate := new.get("learning_rate")) is not None:
        parts.append(f"learning_rate {rate['type'] if isinstance(rate, dict) else format(rate, 'g')}")
    if (epochs := new.get("epochs")) is not None:
        parts.append(f"epochs {epochs}")
    if (stopping := new.get("early_stopping")) is not None:
        parts.append(f"patience {stopping['patience']}")
    return ", ".join(parts)


def _jobs_before(session: Session, job: Job, sees: Callable[[str | None], bool]) -> list[tuple[Job, int]]:
    """The jobs that it goes on from, the nearest first, each with the epoch from which the next one does."""
    chain: list[tuple[Job, int]] = []
    while len(chain) < MOST_BEFORE:
        source = job.spec.get("initial_weights") or {}
        earlier = session.get(Job, source["job"]) if "job" in source else None
        if earlier is None or not sees(earlier.owner):
            break
        chain.append((earlier, source["epoch"]))
        job = earlier
    return chain


def _changes(session: Session, job: Job, start: int) -> list[Mark]:
    """The changes that were taken up. The figures of epoch n stand at n, where it has been trained."""
    applied = [(row, row.applied_at_step) for row in changes_of(session, job.id)]
    if all(step is None for _, step in applied):
        return []
    batches = steps_per_epoch(JobSpec.model_validate(job.spec))
    return [
        Mark(row.number, start + step / batches, change_label(row.new)) for row, step in applied if step is not None
    ]

"""What an owner asks to be different about a training that is under way, in every status, and what came of it.

A job that waits, is paused or runs takes changes; its worker makes them at its next chunk, in the order in which they
were asked, and writes down the step. Whoever ends a job holds its row as whoever asks does: a change that was answered
was asked of a job that had not ended, though it may end, as by early stopping, before it is made.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import jobs
from models.database import now
from models.history import Change
from models.jobs import TERMINAL, Job, Status
from models.spec import JobSpec
from models.spec.change import ChangeSpec
from models.spec.parsing import check_change

__all__ = [
    "MOST_CHANGES",
    "Change",
    "Unchangeable",
    "add_change",
    "changes_of",
    "record_made",
    "request_change",
    "why_unchangeable",
]

MOST_CHANGES = 200
_TRAINED = frozenset({"evaluating", "exporting"})


class Unchangeable(Exception):
    """A job that takes no change, or not any more; `str(error)` is a sentence for people."""


def request_change(session: Session, job_id: str, change: ChangeSpec, sent: object = None) -> Change:
    """Check and record what is asked of a job, whose row stays locked until the caller commits.

    Args:
        sent: the JSON that `change` was read from, which pointers are to lead into; by default its normal form.

    Raises:
        Unchangeable: the job has ended, is about to, does not train, has had too many changes, or is not there.
        SpecError: the change makes no sense for this job.
    """
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise Unchangeable("There is no such job any more.")
    before = changes_of(session, job_id)
    if (reason := why_unchangeable(job, len(before))) is not None:
        raise Unchangeable(reason)
    spec = JobSpec.model_validate(job.spec)
    for earlier in before:
        spec = earlier.spec.of(spec)
    check_change(change, spec, job.epoch, normal_form(change) if sent is None else sent)
    return add_change(session, job, change)


def why_unchangeable(job: Job, changes: int = 0) -> str | None:
    """Why a job that has had so many changes takes no more, as a sentence; None when it does."""
    if job.kind != "train":
        return f"Only a training can be changed; this job is of the kind {job.kind}."
    if job.study_id is not None:
        return f"The job is a run of the study {job.study_id}, and that compares settings: no run is changed."
    if job.status in TERMINAL:
        ended = "is cancelled" if job.status == Status.CANCELLED else f"has {job.status}"
        return f"The job {ended}: there is nothing to change. A new job can start from its weights (initial_weights)."
    if job.requested == "cancel":
        return "The job is being cancelled: there is nothing to change."
    if job.phase in _TRAINED:
        return f"The job is trained and {job.phase}: there is nothing to change."
    if changes >= MOST_CHANGES:
        return f"The job has had {changes} changes, and there may be {MOST_CHANGES}."
    return None


def add_change(session: Session, job: Job, change: ChangeSpec) -> Change:
    """Record what is asked of `job`, whose row the caller has locked, and who commits."""
    number = session.scalar(select(func.max(Change.number)).where(Change.job_id == job.id)) or 0
    row = Change(job_id=job.id, number=number + 1, new=normal_form(change))
    session.add(row)
    session.flush()
    return row


def changes_of(session: Session, job_id: str) -> list[Change]:
    """All changes of a job, in the order in which they were asked."""
    return list(session.scalars(select(Change).where(Change.job_id == job_id).order_by(Change.number)))


def normal_form(change: ChangeSpec) -> dict[str, Any]:
    """What is asked, and nothing else."""
    return change.model_dump(mode="json", exclude_none=True)


def record_made(
    session: Session,
    job_id: str,
    attempt: int,
    number: int,
    step: int,
    epoch: int,
    old: dict[str, Any],
    **values: Any,
) -> bool:
    """Write down that a change holds from `step` on, with its `change` event; False when the attempt was fenced out.

    Args:
        epoch: the first one, from 1, that is trained with it.
        old: what its fields were before.
        values: columns of the job that follow.
    """
    row = session.get_one(Change, (job_id, number))
    told = {"number": number, "applied_at_step": step, "epoch": epoch, "old": old, "new": row.new}
    if not jobs.record_event(session, job_id, attempt, "change", told, **values):
        return False
    row.applied_at_step, row.epoch, row.old, row.applied_at = step, epoch, old, now()
    return True

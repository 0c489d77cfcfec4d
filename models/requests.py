"""What an owner asks of a job - cancel, pause, resume - in every status, and how an attempt ends that made nothing.

A request to a job that no worker has is carried out at once. To one that runs it is a word in the row, `requested`,
which the worker sees at its next chunk. Whoever ends the attempt - the worker because of the request, or on SIGTERM, or
while its store is away, or the reaper when the worker is gone - asks `end_attempt`, so all come to the same.

| status | request | what happens |
| --- | --- | --- |
| queued | cancel | cancelled |
| queued | cancel, keep the model | with a checkpoint: still queued, `requested` is cancel; without: cancelled |
| queued | pause | paused |
| queued | resume | it is so already |
| paused | cancel | cancelled |
| paused | cancel, keep the model | with a checkpoint: queued, `requested` is cancel; without: cancelled |
| paused | pause | it is so already |
| paused | resume | queued |
| running | cancel, keep the model or not | `requested` is cancel, also in place of a pause; once kept stays kept |
| running | pause | `requested` is pause |
| running, pause requested | resume | the request is taken back |
| running | resume | it is so already |
| queued or running, cancel requested | pause, resume | refused |
| cancelled | cancel | it is so already |
| succeeded, failed | any | refused |
| cancelled | pause, resume | refused |

| requested, when an attempt ends | the worker obeys, stops, or its store is away | the worker is gone |
| --- | --- | --- |
| nothing, or taken back meanwhile | queued | queued |
| pause | paused | paused |
| cancel | cancelled | cancelled |
| cancel, keep the model, with a checkpoint | obeying: kept, cancelled; else queued, to keep it | queued, to keep it |
| cancel, keep the model, no checkpoint | cancelled | cancelled |

A worker that is gone for the third time in a row without a new epoch leaves the job failed, paused where that was
requested, or cancelled where that was (models.lost_workers). So the one job with a request that no worker has is
queued, to be cancelled, and has a checkpoint: its next attempt makes the model of it without another epoch.
"""

from typing import Any, Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import jobs
from models.history import Event
from models.jobs import Job, Status

Request = Literal["cancel", "pause"]
# The status changed at once; a worker was asked; nothing had to be done. None, in its place, for what is refused.
Outcome = Literal["done", "requested", "already"]
WAITING = frozenset({Status.QUEUED, Status.PAUSED})
RUNNING = frozenset({Status.RUNNING})


def request_cancel(session: Session, job_id: str, keep_model: bool) -> Outcome | None:
    """Cancel a job that no worker has, or ask the worker that has it, or that has yet to make its model.

    Who asks twice, once with `keep_model`, has the model kept.
    """
    job = _locked(session, job_id)
    if job is None:
        return None
    if job.status == Status.CANCELLED:
        return "already"
    if job.status == Status.RUNNING or (job.status == Status.QUEUED and job.requested == "cancel"):
        kept = job.keep_model or keep_model
        if (job.requested, job.keep_model) != ("cancel", kept):
            _request(session, job_id, "cancel", keep_model=kept)
        return "requested"
    if job.status not in WAITING:
        return None
    if not keep_model or job.checkpoint is None:
        jobs.move(session, job_id, Status.CANCELLED, sources=WAITING)
        return "done"
    if job.status == Status.PAUSED:
        jobs.move(session, job_id, Status.QUEUED, reason="its model is made, then it is cancelled")
    _request(session, job_id, "cancel", keep_model=True)
    return "requested"


def request_pause(session: Session, job_id: str) -> Outcome | None:
    """Pause a job that waits, or ask the worker that has it to put it down after its last recorded epoch."""
    job = _locked(session, job_id)
    if job is None or job.requested == "cancel":
        return None
    if job.status == Status.PAUSED:
        return "already"
    if job.status == Status.QUEUED:
        jobs.move(session, job_id, Status.PAUSED, sources=WAITING)
        return "done"
    if job.status != Status.RUNNING:
        return None
    if job.requested is None:
        _request(session, job_id, "pause")
    return "requested"


def request_resume(session: Session, job_id: str) -> Outcome | None:
    """Queue a paused job again, or take back the request to pause one that runs. The caller commits, then rings."""
    job = _locked(session, job_id)
    if job is None or job.requested == "cancel":
        return None
    if job.status == Status.PAUSED:
        jobs.move(session, job_id, Status.QUEUED, sources=frozenset({Status.PAUSED}))
        return "done"
    if job.status == Status.RUNNING and job.requested == "pause":
        _request(session, job_id, None)
        return "done"
    return "already" if job.status in (Status.QUEUED, Status.RUNNING) else None


def end_attempt(
    session: Session,
    job_id: str,
    attempt: int,
    why: str,
    *,
    at_heartbeat: int | None = None,
    **values: Any,
) -> Status | None:
    """End an attempt that came to no end by itself: as the job's owner asked, and else back to the queue.

    Args:
        why: a sentence for people, where the job waits again.
        at_heartbeat: only while the heartbeat still has this value.
        values: further columns.

    Returns:
        What the job is now; None, and nothing happens, when the attempt does not own it any more.
    """
    job = _locked(session, job_id)
    if job is None or job.status != Status.RUNNING or job.attempt != attempt:
        return None
    to, reason = Status.QUEUED, why
    if job.requested == "pause":
        to = Status.PAUSED
        reason = f"to go on after epoch {job.epoch}" if job.checkpoint else "to begin again from the beginning"
    elif job.requested == "cancel" and not waits_for_its_model(job):
        to, reason = Status.CANCELLED, ""
    moved = jobs.move(
        session,
        job_id,
        to,
        sources=RUNNING,
        by_attempt=attempt,
        at_heartbeat=at_heartbeat,
        reason=reason or None,
        **values,
    )
    return to if moved else None


def waits_for_its_model(job: Job) -> bool:
    """Whether its owner cancelled the job and wants what it learned, which there is."""
    return job.requested == "cancel" and job.keep_model and job.checkpoint is not None


def _locked(session: Session, job_id: str) -> Job | None:
    """The job as it is now, and as it stays until the caller's transaction ends."""
    return session.get(Job, job_id, with_for_update=True, populate_existing=True)


def _request(session: Session, job_id: str, requested: Request | None, **values: Any) -> None:
    """Write what is asked, or that nothing is any more, into the row and the history."""
    statement = update(Job).where(Job.id == job_id).values(requested=requested, last_seq=Job.last_seq + 1, **values)
    row = session.execute(statement.returning(Job.last_seq, Job.attempt, Job.status)).one()
    data: dict[str, Any] = {"status": row.status, "requested": requested}
    if requested is None:
        data["reason"] = "the pause is taken back"
    session.add(Event(job_id=job_id, seq=row.last_seq, attempt=row.attempt, type="state", data=data))

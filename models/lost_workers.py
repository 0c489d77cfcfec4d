"""What becomes of a job whose worker is gone, and whether memory was the cause, as far as anything of it was seen."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import jobs, requests
from models.jobs import FailureKind, Job, Status
from models.workers import Worker

MOST_LOSSES = 3
# Of the memory there is, the part from which on a worker that vanished looks like one that ran out of it.
NEARLY_ALL = 0.9
LOST = "its worker was lost, another attempt follows"
IN_VAIN = f"Its worker was lost {MOST_LOSSES} times in a row without a new epoch"
ADVICE = "A smaller network, or fewer examples at once, needs less memory."


@dataclass(frozen=True)
class Seen:
    """What was last seen of a worker: a sentence about its memory, and whether it looks as if that ran out."""

    told: str = ""
    out_of_memory: bool = False


def put_back(session: Session, job_id: str, attempt: int, heartbeat: int) -> Status | None:
    """Queue a job again that lost its worker, or end or pause it where that was asked, or end it where it is in vain.

    Args:
        heartbeat: the value that did not change for the length of a lease.

    Returns:
        What the job is now; None, and nothing happens, when its attempt or its heartbeat is another by now.
    """
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None or (job.status, job.attempt, job.heartbeat) != (Status.RUNNING, attempt, heartbeat):
        return None
    seen = last_seen(session, job.worker or "")
    losses = job.losses + 1
    keeping = requests.waits_for_its_model(job)
    if losses < MOST_LOSSES or (job.requested is not None and not keeping):
        why = f"{LOST}; {seen.told}" if seen.told else LOST
        return requests.end_attempt(session, job_id, attempt, why, at_heartbeat=heartbeat, losses=losses)
    reason = f"{IN_VAIN}; {seen.told}. {ADVICE}" if seen.told else f"{IN_VAIN}."
    if keeping:
        jobs.move(session, job_id, Status.CANCELLED, sources=requests.RUNNING, by_attempt=attempt, reason=reason)
        return Status.CANCELLED
    kind: FailureKind = "out_of_memory" if seen.out_of_memory else "worker_lost"
    jobs.move(
        session,
        job_id,
        Status.FAILED,
        sources=requests.RUNNING,
        by_attempt=attempt,
        reason=reason,
        failure_kind=kind,
        failure_message=reason,
        losses=losses,
    )
    return Status.FAILED


def last_seen(session: Session, name: str) -> Seen:
    """What the row of the worker `name`, host-pid, says of its memory, and those of others on its host since.

    The kernel counts the processes that it ended for want of memory, by control group; a count that went up since the
    worker's last heartbeat, by that of the process in its place, is the proof. A worker that had nearly all the memory
    there is at its last heartbeat, up to a second before its end, is a sign of the same.
    """
    row = session.scalars(select(Worker).where(Worker.name == name).order_by(Worker.started_at.desc()).limit(1)).first()
    if row is None or row.used_memory_mb is None or row.memory_mb is None:
        return Seen()
    told = f"it had used {row.used_memory_mb:,} of {row.memory_mb:,} MB"
    host = name.rpartition("-")[0]
    beside = select(func.max(Worker.oom_kills)).where(Worker.name.startswith(f"{host}-", autoescape=True))
    if row.oom_kills is not None and (session.scalar(beside) or 0) > row.oom_kills:
        return Seen(f"the system ended a process there for want of memory, {told}", out_of_memory=True)
    if row.used_memory_mb >= NEARLY_ALL * row.memory_mb:
        return Seen(told, out_of_memory=True)
    return Seen()

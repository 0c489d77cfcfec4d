"""The job: its row, the law of its statuses, and the few guarded statements through which it ever changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    String,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now
from models.history import Change, EpochResult, Event, split_nonfinite
from models.ids import new_id
from models.spec import JobSpec
from models.spec.summary import memory_mb
from models.studies import Study


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


# The law: which status may follow which. A lost worker, or one that stops, puts its job back to queued.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.PAUSED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
TERMINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)
Phase = Literal["loading", "compiling", "training", "evaluating", "exporting"]
FailureKind = Literal["user", "dataset_unavailable", "diverged", "timeout", "out_of_memory", "worker_lost", "internal"]


class Job(Base):
    """What a user submitted, and how far it came."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    notes: Mapped[str]
    tags: Mapped[list[str]]
    owner: Mapped[str | None]
    dataset: Mapped[str]
    device: Mapped[str]
    priority: Mapped[int]
    spec: Mapped[dict[str, Any]]

    status: Mapped[str] = mapped_column(default=Status.QUEUED)
    requested: Mapped[str | None]
    keep_model: Mapped[bool] = mapped_column(Boolean, default=False)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    last_seq: Mapped[int] = mapped_column(Integer, default=0)
    heartbeat: Mapped[int] = mapped_column(Integer, default=0)
    losses: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None]
    memory_mb: Mapped[int | None] = mapped_column(Integer)

    phase: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    epochs: Mapped[int]
    seconds_per_epoch: Mapped[float | None]
    checkpoint: Mapped[str | None]
    execution: Mapped[dict[str, Any] | None]
    latest_metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    best_metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    evaluation: Mapped[dict[str, Any] | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    model_name: Mapped[str | None]
    model_version: Mapped[int | None]

    study_id: Mapped[str | None] = mapped_column(ForeignKey(Study.id))
    trial: Mapped[int | None]
    repeat: Mapped[int | None]

    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "status", "id"),
        Index(None, "dataset", "id"),
        Index(None, "owner", "id"),
        Index(None, "study_id", "id"),
        Index("ix_jobs_queue", "status", "owner", "priority", "id", "device", "memory_mb"),
        Index("ix_jobs_study_id_trial_repeat", "study_id", "trial", "repeat", unique=True),
    )


class JobTag(Base):
    """The tags once more, by tag, so that finding jobs by one stays quick."""

    __tablename__ = "job_tags"

    tag: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, index=True)


def create(
    session: Session,
    spec: JobSpec,
    owner: str | None = None,
    *,
    study_id: str | None = None,
    trial: int | None = None,
    repeat: int | None = None,
) -> Job:
    """Insert a queued job for `spec`, with its first event. The caller commits, then rings.

    A run of a study says of which, of which of its trials, and which run of that one, counted from 0, it is.
    """
    job = Job(
        # Who came first goes first, by the ids: a clock that is ahead, or steps back, must not keep anybody waiting.
        id=new_id("job", after=session.scalar(select(func.max(Job.id)))),
        kind=spec.kind,
        name=spec.name,
        notes=spec.notes,
        tags=list(spec.tags),
        owner=owner,
        dataset=spec.dataset.name,
        device=spec.device,
        priority=spec.priority,
        spec=spec.model_dump(mode="json"),
        epochs=spec.planned_epochs,
        memory_mb=memory_mb(spec) if spec.verify is None else _memory_of(session, spec.verify.job),
        study_id=study_id,
        trial=trial,
        repeat=repeat,
        last_seq=1,
    )
    session.add(job)
    session.flush()
    if job.tags:
        set_tags(session, job.id, job.tags)
    # Past the session, which would take as long again as for the job itself.
    first = {"job_id": job.id, "seq": 1, "attempt": 0, "type": "state", "data": {"status": Status.QUEUED}}
    session.execute(insert(Event.__table__).values(first))  # type: ignore[arg-type]
    return job


def _memory_of(session: Session, job_id: str) -> int | None:
    """Of a job that is done again, what it takes."""
    return session.scalar(select(Job.memory_mb).where(Job.id == job_id))


def set_tags(session: Session, job_id: str, tags: Sequence[str]) -> None:
    """Make the rows by tag match `tags`."""
    session.execute(delete(JobTag).where(JobTag.job_id == job_id))
    session.add_all(JobTag(tag=tag, job_id=job_id) for tag in dict.fromkeys(tags))


def move(
    session: Session,
    job_id: str,
    to: Status,
    *,
    sources: frozenset[Status] | None = None,
    by_attempt: int | None = None,
    at_heartbeat: int | None = None,
    reason: str | None = None,
    **values: Any,
) -> bool:
    """The one gate for a status: change it if the law allows, in one statement, and record the event.

    Args:
        sources: narrows the statuses it may come from.
        by_attempt: only while this attempt owns the job; a worker that was given up for dead changes nothing.
        at_heartbeat: only while the heartbeat still has this value.
        reason: a sentence for people, kept in the event.
        values: further columns set by the same statement.

    Returns:
        Whether the job moved; False leaves everything as it was.
    """
    lawful = frozenset(status for status, following in TRANSITIONS.items() if to in following)
    statement = update(Job).where(Job.id == job_id, Job.status.in_(lawful & (sources or lawful)))
    if by_attempt is not None:
        statement = statement.where(Job.attempt == by_attempt)
    if at_heartbeat is not None:
        statement = statement.where(Job.heartbeat == at_heartbeat)
    if to in TERMINAL:
        values |= {"finished_at": now(), "requested": None, "phase": None}
    if to == Status.PAUSED:
        values |= {"worker": None, "phase": None, "requested": None}
    if to == Status.QUEUED:
        values |= {"worker": None, "phase": None}
    statement = statement.values(status=to, last_seq=Job.last_seq + 1, heartbeat=Job.heartbeat + 1, **values)
    row = session.execute(statement.returning(Job.last_seq, Job.attempt)).one_or_none()
    if row is None:
        return False
    data: dict[str, Any] = {"status": to, "reason": reason} if reason else {"status": to}
    session.add(Event(job_id=job_id, seq=row.last_seq, attempt=row.attempt, type="state", data=data))
    return True


def claim(session: Session, job_id: str, worker: str) -> Job | None:
    """Take a queued job for `worker`; its new attempt number guards every later write.

    Returns:
        The job, or None when it is not to be had.
    """
    taken = move(
        session,
        job_id,
        Status.RUNNING,
        sources=frozenset({Status.QUEUED}),
        worker=worker,
        attempt=Job.attempt + 1,
        phase="loading",
        started_at=func.coalesce(Job.started_at, now()),
    )
    return session.get(Job, job_id, populate_existing=True) if taken else None


def beat(session: Session, job_id: str, attempt: int) -> bool:
    """Show that this attempt is alive; False when it does not own the job any more."""
    statement = update(Job).where(*_owned(job_id, attempt)).values(heartbeat=Job.heartbeat + 1)
    return session.execute(statement.returning(Job.id)).one_or_none() is not None


def set_phase(session: Session, job_id: str, attempt: int, phase: Phase) -> bool:
    """Say what the attempt does now; False when it does not own the job any more."""
    statement = update(Job).where(*_owned(job_id, attempt)).values(heartbeat=Job.heartbeat + 1, phase=phase)
    return session.execute(statement.returning(Job.id)).one_or_none() is not None


@dataclass(frozen=True)
class Control:
    """What the job's owner wants of the worker now; `changes` is the number of the last change that was asked."""

    requested: str | None
    keep_model: bool
    changes: int = 0


def control(session: Session, job_id: str, attempt: int, *, lock: bool = False) -> Control | None:
    """What is requested of this attempt; None when it does not own the job any more.

    With `lock`, in a transaction that writes, nobody can request anything else before its end.
    """
    mine = _owned(job_id, attempt)
    if lock:
        # A statement of its own: what was recorded while this one waited is seen by the next.
        session.execute(select(Job.id).where(*mine).with_for_update())
    changes = select(func.coalesce(func.max(Change.number), 0)).where(Change.job_id == job_id).scalar_subquery()
    row = session.execute(select(Job.requested, Job.keep_model, changes).where(*mine)).one_or_none()
    return None if row is None else Control(*row)


def record_epochs(
    session: Session, job_id: str, attempt: int, results: Sequence[EpochResult], reached: EpochResult, **values: Any
) -> bool:
    """Write epochs in one transaction with the fence; False when fenced out.

    Args:
        results: what becomes rows; with `log_every` there may be none.
        reached: the epoch that the job is at now.
        values: further columns of the job.
    """
    latest, _ = split_nonfinite(reached.metrics)
    values |= {"epoch": reached.epoch, "seconds_per_epoch": reached.seconds, "latest_metrics": latest, "losses": 0}
    first = _take_numbers(session, job_id, attempt, len(results), values)
    if first is None:
        return False
    session.add_all(result.row(job_id, attempt, first + n) for n, result in enumerate(results))
    return True


def record_event(session: Session, job_id: str, attempt: int, type_: str, data: dict[str, Any], **values: Any) -> bool:
    """Write one event, and further columns of the job with it; False when the attempt was fenced out."""
    seq = _take_numbers(session, job_id, attempt, 1, values)
    if seq is None:
        return False
    session.add(Event(job_id=job_id, seq=seq, attempt=attempt, type=type_, data=data))
    return True


def forget_version(session: Session, job_id: str, reason: str) -> None:
    """Record that the model version which the job became is no more; `reason` is for people."""
    statement = update(Job).where(Job.id == job_id)
    statement = statement.values(model_name=None, model_version=None, last_seq=Job.last_seq + 1)
    row = session.execute(statement.returning(Job.last_seq, Job.attempt)).one()
    session.add(Event(job_id=job_id, seq=row.last_seq, attempt=row.attempt, type="log", data={"message": reason}))


def waits_for_version(session: Session, name: str, version: int) -> str | None:
    """The id of a job that has not ended and refers to this model version; None when there is none."""
    ref = f"{name}:{version}"
    waiting = select(Job.id).where(Job.status.not_in(TERMINAL)).limit(1)
    starts_there = Job.spec["initial_weights"]["model"].as_string() == ref
    # A member stands in the JSON as "name:3" with its quotation marks, so mnist:3 is not found in mnist:31.
    is_member = cast(Job.spec["ensemble"]["members"], String).contains(f'"{ref}"', autoescape=True)
    return session.scalars(waiting.where(or_(starts_there, is_member))).one_or_none()


def waits_for_weights_of(session: Session, job_id: str) -> str | None:
    """The id of a job that has not ended and is to start from, export or verify the weights of this one; else None."""
    refers = or_(*(Job.spec[part]["job"].as_string() == job_id for part in ("initial_weights", "export", "verify")))
    return session.scalars(select(Job.id).where(Job.status.not_in(TERMINAL), refers).limit(1)).one_or_none()


def _take_numbers(session: Session, job_id: str, attempt: int, count: int, values: dict[str, Any]) -> int | None:
    """Fence, heartbeat and order at once: the first of `count` numbers, or None when the attempt lost the job."""
    statement = (
        update(Job)
        .where(*_owned(job_id, attempt))
        .values(last_seq=Job.last_seq + count, heartbeat=Job.heartbeat + 1, **values)
        .returning(Job.last_seq)
    )
    last = session.execute(statement).scalar_one_or_none()
    return None if last is None else last - count + 1


def _owned(job_id: str, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return Job.id == job_id, Job.attempt == attempt, Job.status == Status.RUNNING

"""Whose turn it is: workers take jobs from the owners in turn (docs/decisions/0019-turns.md).

Of the owners that have a queued job which the worker can run, and fewer running jobs than is allowed, the one with the
fewest running ones is next; of equals the one whose last turn was longest ago, and of those who never had one the one
whose job is the oldest. Of one owner's jobs the most urgent goes first, then the oldest.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from sqlalchemy import CTE, Integer, ScalarSelect, Select, String, case, func, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, aliased, mapped_column

from models import jobs
from models.database import Base
from models.jobs import Job, Status
from models.messages import QUEUES
from models.workers import Worker

# The turns on record under this name are those of jobs that have no owner.
NOBODY = ""
# A worker that is frozen while it chooses holds up the others for no longer than this.
HOLD_SECONDS = 10


class Turn(Base):
    """When an owner last had a turn, as a number that only grows; the owner is empty where there are no API keys."""

    __tablename__ = "turns"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    last: Mapped[int] = mapped_column(Integer)


@dataclass(frozen=True)
class Able:
    """What a worker can run: jobs for these devices that need no more MB of memory; None where that is not known."""

    devices: tuple[str, ...]
    memory_mb: int | None = None

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """What the worker of this row can run."""
        return cls(tuple(device for device, queue in QUEUES.items() if queue in worker.queues), worker.memory_mb)

    def runs(self, job: Job) -> bool:
        """Whether `job` is among it."""
        return job.device in self.devices and self.holds(job.memory_mb)

    def holds(self, memory_mb: int | None) -> bool:
        """Whether a job that needs so much fits, as far as both are known."""
        return None in (memory_mb, self.memory_mb) or memory_mb <= self.memory_mb  # type: ignore[operator]


def next_job(session: Session, able: Able, most_running: int) -> str | None:
    """The id of the job that a worker should take now; None when there is none that it may take.

    Args:
        able: what the worker can run.
        most_running: how many jobs of one owner may run at once; 0 for any number.
    """
    found = [row for row in session.execute(_first_jobs(able)) if row.first is not None]
    if not found:
        return None
    running, turns = jobs_by_owner(session, Status.RUNNING), last_turns(session)
    order = [
        (running.get(row.owner, 0), turns.get(row.owner, 0), row.first)
        for row in found
        if not most_running or running.get(row.owner, 0) < most_running
    ]
    return min(order)[-1] if order else None


def take(session: Session, worker: str, able: Able, most_running: int) -> Job | None:
    """Claim for `worker` the job that is next, in a transaction that writes; None when there is none that it may take.

    One worker chooses at a time, so that no owner ever has more than `most_running` jobs running, or two turns where
    one was due.
    """
    _choose_alone(session)
    while (job_id := next_job(session, able, most_running)) is not None:
        job = jobs.claim(session, job_id, worker)
        if job is not None:
            _had_a_turn(session, job.owner)
            return job
        # Cancelled or paused since it was chosen.
    return None


def jobs_by_owner(session: Session, status: Status) -> dict[str | None, int]:
    """How many jobs of this status each owner has, of those who have any."""
    counted = select(Job.owner, func.count()).where(Job.status == status).group_by(Job.owner)
    return dict(session.execute(counted).all())


def last_turns(session: Session) -> dict[str | None, int]:
    """The number of each owner's last turn, of those who had one."""
    return {owner or None: last for owner, last in session.execute(select(Turn.owner, Turn.last))}


@lru_cache(maxsize=64)
def _first_jobs(able: Able) -> Select[str | None, str | None]:
    """Everybody with a queued job, and the id of the one of theirs to be taken; NULL if the worker can run none."""
    owners = _owners()
    first = case((owners.c.owner.is_(None), _first(able)), else_=_first(able, owners)).label("first")
    return select(owners.c.owner, first)


def _owners() -> CTE:
    """Everybody with a queued job, found by leaps through the index, and in the end NULL, whoever has jobs or not."""
    queued = Job.status == Status.QUEUED
    owners = select(func.min(Job.owner).label("owner")).where(queued).cte("owners", recursive=True)
    following = select(func.min(Job.owner)).where(queued, Job.owner > owners.c.owner).scalar_subquery()
    return owners.union_all(select(following).where(owners.c.owner.is_not(None)))


def _first(able: Able, owners: CTE | None = None) -> ScalarSelect[str]:
    """The id of the most urgent, then oldest job that the worker can run: of an owner, or of those without one."""
    # The order names the owner too, though it is but one: else PostgreSQL, of jobs without owners, sorts all of them.
    job, urgent = aliased(Job), aliased(Job)
    most = _of_those(urgent.priority, urgent, able, owners).order_by(urgent.owner.desc(), urgent.priority.desc())
    of_those = _of_those(job.id, job, able, owners).where(job.priority == most.limit(1).scalar_subquery())
    return of_those.order_by(job.owner, job.priority, job.id).limit(1).scalar_subquery()


def _of_those(wanted: InstrumentedAttribute[Any], job: type[Job], able: Able, owners: CTE | None) -> Select[Any]:
    query = select(wanted).where(job.status == Status.QUEUED, job.device.in_(able.devices))
    if able.memory_mb is not None:
        query = query.where(or_(job.memory_mb.is_(None), job.memory_mb <= able.memory_mb))
    if owners is None:
        return query.where(job.owner.is_(None))
    return query.where(job.owner == owners.c.owner).correlate(owners)


def _choose_alone(session: Session) -> None:
    """Wait until nobody else chooses, and let nobody choose before the end of the transaction.

    On SQLite a transaction that writes is alone from its beginning.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{HOLD_SECONDS}s'"))
        session.execute(text("LOCK TABLE turns IN EXCLUSIVE MODE"))


def _had_a_turn(session: Session, owner: str | None) -> None:
    number = session.scalars(select(func.coalesce(func.max(Turn.last), 0) + 1)).one()
    session.merge(Turn(owner=owner or NOBODY, last=number))

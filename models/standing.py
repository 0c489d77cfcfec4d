"""Where a queued job stands: its place in the order in which jobs would be taken now (docs/decisions/0019-turns.md)."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from models.jobs import Job, Status
from models.turns import jobs_by_owner, last_turns

# One in so many of the jobs of a lane is remembered: to find a job's place no more need be counted.
STRIDE = 250


@dataclass
class Lane:
    """One owner's queued jobs of one priority: how many, and the ids of the first and of each STRIDE-th after it."""

    size: int
    marks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Standing:
    """The queue at one moment: lanes by owner and priority; running jobs, paused ones and last turns by owner."""

    lanes: Mapping[str | None, Mapping[int, Lane]]
    running: Mapping[str | None, int]
    paused: Mapping[str | None, int]
    turns: Mapping[str | None, int]

    @property
    def size(self) -> int:
        """How many jobs wait."""
        return sum(self.waiting(owner) for owner in self.lanes)

    def waiting(self, owner: str | None) -> int:
        """How many jobs of one owner wait."""
        return sum(lane.size for lane in self.lanes.get(owner, {}).values())

    def order(self, owner: str | None) -> tuple[int, int, str]:
        """Who goes first, the lesser one, of owners that come to have equally many jobs running.

        Who had as many from the beginning goes before those who got them by later turns, which they had in this order.
        """
        lanes = self.lanes.get(owner)
        first = lanes[max(lanes)].marks[0] if lanes else ""
        return -self.running.get(owner, 0), self.turns.get(owner, 0), first


def standing(session: Session) -> Standing:
    """The queue now, in one pass through its index."""
    lane = Job.owner, Job.priority
    numbers = func.row_number().over(partition_by=lane, order_by=Job.id).label("number")
    sizes = func.count().over(partition_by=lane).label("size")
    queued = select(*lane, Job.id, numbers, sizes).where(Job.status == Status.QUEUED).subquery()
    marks = select(queued).where(queued.c.number % STRIDE == 1).order_by(queued.c.id)
    lanes: dict[str | None, dict[int, Lane]] = {}
    for row in session.execute(marks):
        own = lanes.setdefault(row.owner, {}).setdefault(row.priority, Lane(row.size))
        own.marks.append(row.id)
    running, paused = (jobs_by_owner(session, status) for status in (Status.RUNNING, Status.PAUSED))
    return Standing(lanes, running, paused, last_turns(session))


def place(session: Session, seen: Standing, job: Job) -> int:
    """The place of a queued job, 1 being next, if any worker could run any job and none of them ended.

    When the turn of an owner's k-th queued job comes, who had r running ones then has r + k - 1, and turns go by that
    number. So before it come, of another owner with s running ones, the first r + k - 1 - s, and one more if the other
    goes first at equal numbers (`Standing.order`), as far as there are so many. A bound on running jobs does not change
    that order: it only keeps its end waiting.

    Args:
        seen: the queue; it may be that of a moment ago.
    """
    rank = _ahead_of_own(session, seen, job) + 1
    level = seen.running.get(job.owner, 0) + rank - 1
    own = seen.order(job.owner)
    others = 0
    for owner in seen.lanes:
        if owner != job.owner:
            before = level - seen.running.get(owner, 0) + (seen.order(owner) < own)
            others += min(max(before, 0), seen.waiting(owner))
    return rank + others


def _ahead_of_own(session: Session, seen: Standing, job: Job) -> int:
    """How many jobs of the same owner go before this one."""
    lanes = seen.lanes.get(job.owner, {})
    urgent = sum(lane.size for priority, lane in lanes.items() if priority > job.priority)
    lane = lanes.get(job.priority)
    known = 0 if lane is None else bisect_right(lane.marks, job.id)
    mark = "" if lane is None or known == 0 else lane.marks[known - 1]
    values = {"owner": job.owner, "priority": job.priority, "mark": mark, "id": job.id}
    nearer = session.scalars(_nearer(job.owner is None), values).one()
    return urgent + max(known - 1, 0) * STRIDE + nearer


@lru_cache
def _nearer(nobody: bool) -> Select[int]:
    """The count of jobs of one lane from a mark up to a job; to build it takes as long as to run it."""
    owner = Job.owner.is_(None) if nobody else Job.owner == bindparam("owner")
    between = Job.id >= bindparam("mark"), Job.id < bindparam("id")
    return select(func.count()).where(
        Job.status == Status.QUEUED, owner, Job.priority == bindparam("priority"), *between
    )

"""What a queued job is told: its place, and what it waits for; and whether its owner may have one more waiting."""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.errors import TooMany
from api.views import QueueView
from models.jobs import Job, Status
from models.settings import Settings
from models.standing import Standing, place, standing
from models.turns import Able, jobs_by_owner
from models.workers import Worker, WorkerStatus, all_workers

# A long queue is looked at once in so many seconds, one of less than FEW jobs each time.
KEPT_SECONDS = 1.0
FEW = 200
# More than this many jobs of one owner do not come while a look is kept.
MARGIN = 1_000
RETRY_SECONDS = 10.0


class QueueWatch:
    """Knows the queue as it stands, at most about a second late where it is long; one a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: Standing | None = None
        self._looked = 0.0

    def view(self, session: Session, job: Job, alive: frozenset[str]) -> QueueView:
        """Where the queued `job` stands; `alive` are the ids of the workers that live."""
        living = [worker for worker in all_workers(session) if worker.id in alive] if alive else []
        return QueueView(
            position=place(session, self._now(session), job), waiting_for=self._waiting_for(session, job, living)
        )

    def check_room(self, session: Session, owner: str | None, more: int = 1) -> None:
        """Raise TooMany where `owner` may not have so many `more` jobs waiting. Of several at once some may slip in.

        Paused ones count too, or pausing and resuming them would be a way around.
        """
        most = self._settings.max_queued
        if not most:
            return
        seen = self._now(session, late=True)
        if seen.waiting(owner) + seen.paused.get(owner, 0) + more + MARGIN <= most:
            return
        unbegun = Job.status.in_((Status.QUEUED, Status.PAUSED))
        count = session.scalars(select(func.count()).where(unbegun, Job.owner == owner)).one()
        if count + more > most:
            raise TooMany(
                f"You have {count:,} jobs waiting or paused and may have {most:,} (TRAINYARD_MAX_QUEUED): cancel some, "
                f"or come again when some have begun. Received: {more:,} more",
                retry_after=RETRY_SECONDS,
            )

    def _now(self, session: Session, *, late: bool = False) -> Standing:
        seen, moment = self._seen, time.monotonic()
        if seen is not None and (late or seen.size >= FEW) and moment - self._looked < KEPT_SECONDS:
            return seen
        # While this one looks, others go on with what was seen before.
        self._looked = moment
        self._seen = standing(session)
        return self._seen

    def _waiting_for(self, session: Session, job: Job, living: list[Worker]) -> str | None:
        online = [worker for worker in living if job.device in Able.of(worker).devices]
        if not online:
            return f"no {'' if job.device == 'auto' else job.device.upper() + ' '}worker is online"
        able = [worker for worker in online if Able.of(worker).runs(job)]
        if not able:
            largest = max(worker.memory_mb or 0 for worker in online)
            return f"a worker with {job.memory_mb:,} MB of memory (the largest has {largest:,})"
        most = self._settings.max_running
        if most and (running := jobs_by_owner(session, Status.RUNNING).get(job.owner, 0)) >= most:
            return f"your own {running} running job{'s' if running > 1 else ''} (at most {most} at once)"
        states = {worker.status for worker in able}
        if WorkerStatus.IDLE in states:
            return None
        if WorkerStatus.BUSY in states:
            return "a free worker"
        return next((worker.waits_for for worker in able if worker.waits_for), "a worker that is starting")

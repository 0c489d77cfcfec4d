"""Puts back what lost its worker and rings again for what waits in vain; runs in every API process, safely.

A heartbeat is judged by its value alone: when it has not changed for `lease_seconds` of this process's own monotonic
clock, its writer is lost. Clocks of different machines may jump and differ. Every change is guarded by the attempt and
the heartbeat that were seen, so of two reapers one acts.
"""

import logging
import time
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.queue import FEW, Doorbell
from api.rounds import Rounds
from api.watch import Watch
from models import lost_workers, turns, workers
from models.database import Database
from models.jobs import Job, Status
from models.messages import QUEUES
from models.settings import Settings
from models.workers import Worker, WorkerStatus

TICK_SECONDS = 1.0
log = logging.getLogger(__name__)


class Reaper:
    """One look a second, in a thread of its own."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings, self._database, self._doorbell = settings, database, doorbell
        self._jobs, self._workers, self._idle = Watch(), Watch(), Watch()
        self._looked: float | None = None
        self._first = True
        self._alive: frozenset[str] = frozenset()
        self._online: tuple[Worker, ...] = ()
        self.rounds = Rounds("reaper", lambda: self.look(time.monotonic()), TICK_SECONDS)

    @property
    def alive(self) -> frozenset[str]:
        """Ids of the workers that live: their heartbeat changed, within the lease, before this process's eyes."""
        return self._alive

    @property
    def online(self) -> tuple[Worker, ...]:
        """The rows of those workers, as they were at the latest look."""
        return self._online

    def look(self, moment: float) -> None:
        """Judge every heartbeat at `moment`, in seconds of the monotonic clock, and act on it."""
        self._forgive_own_absence(moment)
        self._put_back_lost_jobs(moment)
        with self._database.read() as session:
            announced = workers.all_workers(session)
        self._judge_workers(announced, moment)
        self._ring(announced, moment)

    def _forgive_own_absence(self, moment: float) -> None:
        """What this process did not see while it was held up itself is no evidence against anybody."""
        gap = 0.0 if self._looked is None else moment - self._looked
        if gap > self._settings.lease_seconds / 2:
            for watch in (self._jobs, self._workers, self._idle):
                watch.postpone(gap)
        self._looked = moment

    def _put_back_lost_jobs(self, moment: float) -> None:
        query = select(Job.id, Job.attempt, Job.heartbeat).where(Job.status == Status.RUNNING)
        with self._database.read() as session:
            running = {row.id: (row.attempt, row.heartbeat) for row in session.execute(query)}
        sights = self._jobs.look(running, moment)
        lost = [job_id for job_id, sight in sights.items() if moment - sight.since >= self._settings.lease_seconds]
        for job_id in lost:
            attempt, heartbeat = running[job_id]
            with self._database.write() as session:
                back = self._put_back(session, job_id, attempt, heartbeat)
            if back is not None:
                log.warning("%s: attempt %d lost its worker", job_id, attempt)
                self._doorbell.ring(back)

    @staticmethod
    def _put_back(session: Session, job_id: str, attempt: int, heartbeat: int) -> Job | None:
        """Queue a job again, or end or pause it where that is wanted; the job when it waits again."""
        now = lost_workers.put_back(session, job_id, attempt, heartbeat)
        return session.get(Job, job_id) if now == Status.QUEUED else None

    def _judge_workers(self, announced: Sequence[Worker], moment: float) -> None:
        sights = self._workers.look({worker.id: worker.heartbeat for worker in announced}, moment)
        silent = {key for key, sight in sights.items() if moment - sight.since >= self._settings.lease_seconds}
        self._alive = frozenset(key for key, sight in sights.items() if sight.changed) - silent
        self._online = tuple(worker for worker in announced if worker.id in self._alive)
        for worker_id in silent:
            log.warning("%s is lost", worker_id)
            with self._database.write() as session:
                workers.forget(session, worker_id)

    def _ring(self, announced: Sequence[Worker], moment: float) -> None:
        """Ring for what idle workers leave waiting: its message was lost.

        One message is enough for an idle worker, which then goes on until nothing is left that it may take. Where it
        may take nothing, as when the owners of all that waits have enough jobs running, it is not rung.
        """
        bored = self._bored(announced, moment)
        self._doorbell.most = len(self._online) + 1
        with self._database.read() as session:
            if self._first:
                # Before this process there may have been another broker, or none; a message too many does no harm.
                queued = select(Job).where(Job.status == Status.QUEUED).order_by(Job.id).limit(FEW)
                waiting = [job for device in QUEUES for job in session.scalars(queued.where(Job.device == device))]
                self._first = False
            else:
                waiting = self._next_of(session, bored)
        for job in waiting:
            self._doorbell.ring(job)

    def _bored(self, announced: Sequence[Worker], moment: float) -> list[Worker]:
        """Living workers that have been idle for `ring_seconds`, each at most once in that time."""
        idle = {w.id: w for w in announced if w.status == WorkerStatus.IDLE and w.id in self._alive}
        sights = self._idle.look(dict.fromkeys(idle, True), moment)
        bored = [idle[key] for key, sight in sights.items() if moment - sight.since >= self._settings.ring_seconds]
        for worker in bored:
            self._idle.restart(worker.id, moment)
        return bored

    def _next_of(self, session: Session, bored: Sequence[Worker]) -> list[Job]:
        """A job for each of these workers that may take one; several get the same one when they can run the same."""
        ables = [turns.Able.of(worker) for worker in bored]
        found = {able: turns.next_job(session, able, self._settings.max_running) for able in set(ables)}
        return [job for able in ables if (job := session.get(Job, found[able] or "")) is not None]

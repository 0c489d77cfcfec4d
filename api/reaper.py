"""Puts back what lost its worker and rings again for what waits in vain; runs in every API process, safely.

A heartbeat is judged by its value alone: when it has not changed for `lease_seconds` of this process's own monotonic
clock, its writer is lost. Clocks of different machines may jump and differ. Every change is guarded by the attempt and
the heartbeat that were seen, so of two reapers one acts.
"""

import functools
import logging
import time
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.queue import Doorbell
from api.rounds import Rounds
from api.watch import Watch
from models import jobs, workers
from models.database import Database
from models.jobs import Job, Status
from models.messages import QUEUES
from models.settings import Settings
from models.workers import Worker, WorkerStatus

TICK_SECONDS = 1.0
RINGS = 10
FIRST_RINGS = 1_000
MOST_LOSSES = 3
LOST = "its worker was lost, another attempt follows"
IN_VAIN = (
    f"Its worker was lost {MOST_LOSSES} times in a row without a new epoch: does it need more memory than there is?"
)
log = logging.getLogger(__name__)


class Reaper:
    """One look a second, in a thread of its own."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings, self._database, self._doorbell = settings, database, doorbell
        self._jobs, self._workers, self._idle = Watch(), Watch(), Watch()
        self._looked: float | None = None
        self._first = True
        self._alive: frozenset[str] = frozenset()
        self.rounds = Rounds("reaper", lambda: self.look(time.monotonic()), TICK_SECONDS)

    @property
    def alive(self) -> frozenset[str]:
        """Ids of the workers that live: their heartbeat changed, within the lease, before this process's eyes."""
        return self._alive

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
        """Queue a job again, or end it where that is wanted or in vain; the job when it waits again."""
        job = session.get_one(Job, job_id)
        move = functools.partial(
            jobs.move,
            session,
            job_id,
            sources=frozenset({Status.RUNNING}),
            by_attempt=attempt,
            at_heartbeat=heartbeat,
        )
        if job.requested == "cancel":
            move(Status.CANCELLED)
        elif job.losses + 1 >= MOST_LOSSES:
            move(Status.FAILED, reason=IN_VAIN, failure_kind="worker_lost", failure_message=IN_VAIN)
        elif move(Status.QUEUED, reason=LOST, losses=job.losses + 1):
            return job
        return None

    def _judge_workers(self, announced: Sequence[Worker], moment: float) -> None:
        sights = self._workers.look({worker.id: worker.heartbeat for worker in announced}, moment)
        silent = {key for key, sight in sights.items() if moment - sight.since >= self._settings.lease_seconds}
        self._alive = frozenset(key for key, sight in sights.items() if sight.changed) - silent
        for worker_id in silent:
            log.warning("%s is lost", worker_id)
            with self._database.write() as session:
                workers.forget(session, worker_id)

    def _ring(self, announced: Sequence[Worker], moment: float) -> None:
        """Ring for what never could be rung, and for what idle workers leave waiting: its message was lost."""
        bored = self._bored(announced, moment)
        with self._database.read() as session:
            if self._first:
                # Before this process there may have been another broker, or none; a message too many does no harm.
                waiting = list(jobs.waiting(session, tuple(QUEUES), FIRST_RINGS))
                self._first = False
            else:
                waiting = [job for worker in bored for job in self._next_for(session, worker)]
            unsent = [job for job_id in self._doorbell.unsent() if (job := self._waiting(session, job_id))]
        for job in {job.id: job for job in (*unsent, *waiting)}.values():
            if not self._doorbell.ring(job):
                break

    def _bored(self, announced: Sequence[Worker], moment: float) -> list[Worker]:
        """Living workers that have been idle for `ring_seconds`, each at most once in that time."""
        idle = {w.id: w for w in announced if w.status == WorkerStatus.IDLE and w.id in self._alive}
        sights = self._idle.look(dict.fromkeys(idle, True), moment)
        bored = [idle[key] for key, sight in sights.items() if moment - sight.since >= self._settings.ring_seconds]
        for worker in bored:
            self._idle.restart(worker.id, moment)
        return bored

    def _waiting(self, session: Session, job_id: str) -> Job | None:
        job = session.get(Job, job_id)
        if job is not None and job.status == Status.QUEUED:
            return job
        self._doorbell.forget(job_id)
        return None

    @staticmethod
    def _next_for(session: Session, worker: Worker) -> Sequence[Job]:
        devices = tuple(device for device, queue in QUEUES.items() if queue in worker.queues)
        return jobs.waiting(session, devices, RINGS)

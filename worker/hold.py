"""An attempt's hold on its job: every write goes through here and fails once the job is somebody else's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import jobs, registry, requests
from models.artifacts import Stored
from models.changes import changes_of, record_made
from models.diagnoses import Diagnosis, LayerStatistics, diagnoses_of, record_signs, statistics_of
from models.history import Epoch, EpochResult, sampled_epochs
from models.jobs import Control, Job, Phase, Status
from models.spec import JobSpec
from models.spec.kept_epochs import file_of
from worker.diagnosis.history import Observations
from worker.slot import Slot
from worker.steering import ChangeAt

NOTHING = Observations()
# Epochs that a diagnosis is given when another attempt goes on.
MOST_OBSERVED = 300


class Fenced(Exception):
    """The job is not this attempt's any more: write nothing, go."""


class Interrupted(Exception):
    """An attempt ends before its time; `why` is cancel, pause, stopping or timeout."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class TimeLimit:
    """How many seconds a job may train, and the name of what says so."""

    seconds: float
    name: str

    def __str__(self) -> str:
        return f"{self.name}={self.seconds:g}"


class Hold:
    """The job that one attempt of one slot works on; each method raises `Fenced` when it was given to another."""

    def __init__(self, slot: Slot, job: Job) -> None:
        self.slot, self.job = slot, job
        self._place = (job.id, job.attempt)
        self._asked = 0
        self.folder = f"jobs/{job.id}/{job.attempt}"

    def control(self) -> Control:
        """What the job's owner wants now."""
        with self.slot.database.read() as session:
            wanted = jobs.control(session, *self._place)
        if wanted is None:
            raise Fenced
        return wanted

    def limit_of(self, spec: JobSpec) -> TimeLimit | None:
        """The spec's own limit of time or the deployment's, whichever comes first."""
        own = [] if spec.max_seconds is None else [TimeLimit(spec.max_seconds, "max_seconds")]
        ours = self.slot.settings.max_job_seconds
        limits = [*own, *([TimeLimit(ours, "TRAINYARD_MAX_JOB_SECONDS")] if ours else [])]
        return min(limits, key=lambda limit: limit.seconds, default=None)

    def obey(self) -> None:
        """Go on, unless the job's owner or the machine wants otherwise. Raises Interrupted."""
        if self.slot.stopping:
            raise Interrupted("stopping")
        wanted = self.control()
        self._asked = wanted.changes
        if wanted.requested is not None:
            raise Interrupted(wanted.requested)

    def asked(self) -> int:
        """The number of the last change of the job that was asked, when the worker last looked; 0 without any."""
        return self._asked

    def changes(self) -> list[ChangeAt]:
        """All changes of the job that were asked, in order."""
        with self.slot.database.read() as session:
            return [ChangeAt.of(row) for row in changes_of(session, self.job.id)]

    def waiting(self) -> list[ChangeAt]:
        """Those that were asked and not made."""
        return [each for each in self.changes() if each.step is None]

    def made(self, placed: ChangeAt, epoch: int, old: dict[str, Any], epochs: int) -> None:
        """Write down that a change holds from its step on, in this epoch, with what was before it."""
        assert placed.step is not None
        with self.slot.database.write() as session:
            _require(record_made(session, *self._place, placed.number, placed.step, epoch, old, epochs=epochs))

    def enter(self, phase: Phase) -> None:
        """Say what the attempt does now."""
        with self.slot.database.write() as session:
            _require(jobs.set_phase(session, *self._place, phase))

    def say(self, phase: Phase, message: str, **values: Any) -> None:
        """Write a line into the job's log, on entering `phase`, and further columns of it."""
        with self.slot.database.write() as session:
            _require(jobs.record_event(session, *self._place, "log", {"message": message}, phase=phase, **values))

    def record(
        self,
        results: Sequence[EpochResult],
        reached: EpochResult,
        files: dict[str, Stored],
        seen: Observations = NOTHING,
        **values: Any,
    ) -> None:
        """Write epochs, what came with them and was seen in them, how far the job is, and further columns of it."""
        with self.slot.database.write() as session:
            _require(jobs.record_epochs(session, *self._place, results, reached, **values))
            registry.add_artifacts(session, self.job.id, files)
            _require(record_signs(session, *self._place, seen.signs, seen.findings))

    def last_epoch(self) -> int:
        """The last epoch that has a row, 0 when none has."""
        with self.slot.database.read() as session:
            return session.scalar(select(func.max(Epoch.epoch)).where(Epoch.job_id == self.job.id)) or 0

    def observed(self, upto: int) -> tuple[list[Epoch], list[LayerStatistics], list[Diagnosis]]:
        """What a diagnosis went by up to this epoch, and what was found."""
        with self.slot.database.read() as session:
            epochs = sampled_epochs(session, self.job.id, MOST_OBSERVED)
            statistics = statistics_of(session, self.job.id, upto)
            return [row for row in epochs if row.epoch <= upto], statistics, diagnoses_of(session, self.job.id)

    def record_missing(self, reached: EpochResult) -> None:
        """Write an epoch, unless an attempt that ended just then did."""
        with self.slot.database.read() as session:
            there = session.get(Epoch, (self.job.id, reached.epoch))
        if there is None:
            self.record([reached], reached, {})

    def store_weights(self, epoch: int, data: bytes) -> Stored:
        """A file with the weights after `epoch`; outside the attempt's folder, since it outlives a cancelled job."""
        return self.slot.store.write(f"jobs/{self.job.id}/epochs/{self.job.attempt}/{file_of(epoch)}", data)

    def keep_weights(self, epoch: int, data: bytes) -> None:
        """Store the weights after `epoch` and put them on record."""
        stored = self.store_weights(epoch, data)
        with self.slot.database.write() as session:
            _require(jobs.beat(session, *self._place))
            registry.add_artifacts(session, self.job.id, {file_of(epoch): stored})

    def move(self, to: Status, reason: str | None = None, **values: Any) -> None:
        """Change the job's status."""
        with self.slot.database.write() as session:
            self.move_in(session, to, reason, **values)

    def let_go(self, why: str) -> Status:
        """End the attempt without a result: as the job's owner asked, else back to the queue, with a sentence why."""
        with self.slot.database.write() as session:
            to = requests.end_attempt(session, *self._place, why)
        if to is None:
            raise Fenced
        return to

    def control_in(self, session: Session) -> Control:
        """What is wanted, and nobody can want anything else before the caller's transaction ends."""
        wanted = jobs.control(session, *self._place, lock=True)
        if wanted is None:
            raise Fenced
        return wanted

    def move_in(self, session: Session, to: Status, reason: str | None = None, **values: Any) -> None:
        """Change the job's status in a transaction of the caller's, which fails as a whole when fenced."""
        job_id, attempt = self._place
        # Not from any other status, however lawful: a paused or queued job has had its attempt taken away.
        running = requests.RUNNING
        _require(jobs.move(session, job_id, to, sources=running, by_attempt=attempt, reason=reason, **values))


def _require(owned: bool) -> None:
    if not owned:
        raise Fenced

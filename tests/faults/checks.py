"""What must hold after a run: nothing lost, nothing doubled, nothing left over, and the same weights."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
from sqlalchemy import select

from models.changes import changes_of
from models.database import Database
from models.history import Epoch, Event
from models.jobs import TERMINAL, TRANSITIONS, Job, Status
from models.registry import Artifact, Model, ModelVersion
from models.workers import Worker
from tests.faults.deployment import Deployment
from tests.faults.users import Asked, Users
from tests.faults.weights import difference

TRAINED = "model.keras"
MOST_LOSSES, LOST = 3, "its worker was lost"


class Checks:
    """The checks of one run, each a generator of violations; `references` are undisturbed jobs by kind."""

    def __init__(self, made: Deployment, users: Users, references: dict[str, str]) -> None:
        self._made, self._users, self._references = made, users, references
        self._database = Database(made.database_url)
        with self._database.read() as session:
            self.jobs = {job.id: job for job in session.scalars(select(Job))}
            self._artifacts = list(session.scalars(select(Artifact)))
            self._versions = list(session.scalars(select(ModelVersion)))
            self._models = list(session.scalars(select(Model)))
            self._workers = list(session.scalars(select(Worker)))
        self.compared = self.predicted = self.resumed = self.verified = self.verified_after_losses = 0

    def all(self) -> Iterator[str]:
        """Every violation."""
        yield from self._none_lost_none_doubled()
        for asked in self._users.asked:
            if (job := self.jobs.get(asked.job_id)) is not None:
                yield from (f"{asked.plan.name} ({job.id}): {what}" for what in self._of_job(asked, job))
        yield from self._registry()
        yield from self._files()
        if len(self._workers) > self._made.workers:
            yield f"{len(self._workers)} workers are on record, {self._made.workers} run"
        self._database.close()

    def failures(self) -> Counter[str]:
        """How the jobs ended."""
        return Counter(f"{job.status} {job.failure_kind or ''}".strip() for job in self.jobs.values())

    def _none_lost_none_doubled(self) -> Iterator[str]:
        for name, count in Counter(job.name for job in self.jobs.values()).items():
            if count > 1:
                yield f"{count} jobs are called {name!r}, one was asked for"
        asked = {asked.job_id: asked.plan.name for asked in self._users.asked}
        for job_id in asked.keys() - self.jobs.keys():
            yield f"{asked[job_id]} ({job_id}) was answered with 201 and is not on record"
        for job_id in self.jobs.keys() - asked.keys():
            yield f"{self.jobs[job_id].name} ({job_id}) is on record and was never answered"

    def _of_job(self, asked: Asked, job: Job) -> Iterator[str]:
        if self._users.answer("GET", f"/v1/jobs/{job.id}").status_code != 200:
            yield "GET does not find it"
        if job.status not in TERMINAL:
            yield f"it is {job.status} (requested {job.requested}) when all is over"
            return
        if job.requested is not None or job.phase is not None:
            yield f"it ended with requested={job.requested}, phase={job.phase} left over"
        with self._database.read() as session:
            epochs = list(session.scalars(select(Epoch).where(Epoch.job_id == job.id).order_by(Epoch.epoch)))
            events = list(session.scalars(select(Event).where(Event.job_id == job.id).order_by(Event.seq)))
        yield from _history(job, epochs, events)
        if asked.seqs != list(range(1, job.last_seq + 1)):
            yield f"its follower did not see 1 to {job.last_seq}, each once, in order, but {asked.seqs}"
        yield from self._ending(asked, job, epochs, events)
        self.resumed += job.attempt > 1 and job.status == Status.SUCCEEDED

    def _ending(self, asked: Asked, job: Job, epochs: list[Epoch], events: list[Event]) -> Iterator[str]:
        if job.status == Status.FAILED:
            yield from _failure(job, epochs, events)
        taken, perhaps = "cancel" in asked.acts, "perhaps cancel" in asked.acts
        if (job.status == Status.CANCELLED) != taken and not perhaps:
            yield f"it is {job.status}, and what its user did and got a yes for was {asked.acts}"
        if job.status == Status.SUCCEEDED and job.kind == "train":
            if not self._changed(job.id):
                yield from self._same_as_undisturbed(asked.plan.kind, job, epochs)
            if job.model_version is None:
                yield "it succeeded without a model version"
        if job.model_version is not None:
            yield from self._predicts(job)
        if asked.plan.kind == "initialization" and job.status == Status.SUCCEEDED:
            mine, theirs = (
                self._users.answer("GET", f"/v1/jobs/{job_id}/result").json()
                for job_id in (job.id, self._references["initialization"])
            )
            if mine != theirs:
                yield "its result is not that of an undisturbed one"

        if job.kind == "verify" and job.status == Status.SUCCEEDED:
            result = self._users.answer("GET", f"/v1/jobs/{job.id}/result").json()
            self.verified += 1
            self.verified_after_losses += self.jobs[result["job"]].attempt > 1
            if not result["same"]:
                yield f"trained again, {result['job']} is another one: {result['summary']}"

    def _changed(self, job_id: str) -> bool:
        with self._database.read() as session:
            return any(change.applied_at_step is not None for change in changes_of(session, job_id))

    def _same_as_undisturbed(self, kind: str, job: Job, epochs: list[Epoch]) -> Iterator[str]:
        reference = self._references[kind]
        if reference == job.id:
            return
        files = {row.job_id: row.key for row in self._artifacts if row.name == TRAINED}
        if job.id not in files:
            yield f"it has no {TRAINED}"
            return
        mine, theirs = ((self._made.disk.store / files[job_id]).read_bytes() for job_id in (job.id, reference))
        if (apart := difference(mine, theirs)) != 0.0:
            yield f"its weights are not those of an undisturbed one, they are {apart} apart"
        with self._database.read() as session:
            query = select(Epoch.epoch, Epoch.loss, Epoch.val_loss).where(Epoch.job_id == reference)
            undisturbed = session.execute(query.order_by(Epoch.epoch)).all()
        if [(row.epoch, row.loss, row.val_loss) for row in epochs] != [tuple(row) for row in undisturbed]:
            yield "its epochs are not those of an undisturbed one"
        self.compared += 1

    def _predicts(self, job: Job) -> Iterator[str]:
        picture = np.zeros((28, 28)).tolist()
        answer: httpx2.Response = self._users.answer("POST", f"/v1/jobs/{job.id}/predict", json={"pixels": picture})
        if answer.status_code != 200 or len(answer.json()["predictions"]) != 1:
            yield f"its model does not predict: {answer.status_code} {answer.text[:200]}"
        self.predicted += 1

    def _registry(self) -> Iterator[str]:
        """Each job at most one version, each job's version there, and no number of a model missing."""
        for job_id, count in Counter(version.job_id for version in self._versions).items():
            if count > 1:
                yield f"{job_id} has {count} model versions"
        have = {(version.name, version.version, version.job_id) for version in self._versions}
        for job in self.jobs.values():
            if job.model_version is not None and (job.model_name, job.model_version, job.id) not in have:
                yield f"{job.id} became {job.model_name}:{job.model_version}, which is not there"
        for model in self._models:
            numbers = sorted(version.version for version in self._versions if version.name == model.name)
            if numbers != list(range(1, model.last_version + 1)):
                yield f"the versions of {model.name} are {numbers}, the last one given was {model.last_version}"

    def _files(self) -> Iterator[str]:
        """Each file on record is there as it was stored."""
        for row in self._artifacts:
            path = self._made.disk.store / row.key
            if not path.is_file():
                yield f"{row.name} of {row.job_id} is on record and not in the store"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
                yield f"{row.name} of {row.job_id} is not what was stored"

    def leftovers(self) -> list[str]:
        """Files in the store that nothing on record needs."""
        named = {row.key for row in self._artifacts}
        store = self._made.disk.store
        there = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
        return sorted(there - named)


def _history(job: Job, epochs: list[Epoch], events: list[Event]) -> Iterator[str]:
    rows: list[Any] = sorted([*epochs, *events], key=lambda row: row.seq)
    if [row.seq for row in rows] != list(range(1, job.last_seq + 1)):
        yield f"its history is not 1 to {job.last_seq} without a gap: {[row.seq for row in rows]}"
    if [row.epoch for row in epochs] != list(range(1, len(epochs) + 1)):
        yield f"its epochs are {[row.epoch for row in epochs]}"
    if epochs and epochs[-1].epoch != job.epoch:
        yield f"its last epoch is {epochs[-1].epoch}, the job says {job.epoch}"
    attempts = [row.attempt for row in rows]
    if attempts != sorted(attempts):
        yield f"its attempts are not in order: {attempts}"
    states = [Status(event.data["status"]) for event in events if event.type == "state"]
    moves = [(one, other) for one, other in itertools.pairwise(states) if one != other]
    for one, other in moves:
        if other not in TRANSITIONS[one]:
            yield f"it went from {one} to {other}"
    begun = sum(other == Status.RUNNING for _, other in moves)
    if begun != job.attempt:
        yield f"it began {begun} times, and is at attempt {job.attempt}"


def _failure(job: Job, epochs: list[Epoch], events: list[Event]) -> Iterator[str]:
    """A failure that the faults explain: its worker was lost three times in a row without a new epoch."""
    last = max((row.seq for row in epochs), default=0)
    lost = sum(
        event.seq > last and event.type == "state" and str(event.data.get("reason", "")).startswith(LOST)
        for event in events
    )
    if job.failure_kind != "worker_lost" or lost < MOST_LOSSES - 1:
        yield f"it failed ({job.failure_kind}) after {lost} losses without an epoch: {job.failure_message}"

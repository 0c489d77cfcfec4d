"""Attempts whose artifact store goes away or fills up: the job waits, loses nothing, and never fails for it."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import artifacts, jobs, requests
from models.artifacts import ArtifactStore
from models.history import Epoch, Event, epochs_after
from models.jobs import Job, Status
from models.spec import parse_spec
from models.workers import WorkerStatus, all_workers
from tests.servers import wait_until
from worker.attempt import try_job
from worker.checkpoints import CheckpointKeeper
from worker.results import finish
from worker.slot import Slot

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "train_size": 100},
    "network": {"layers": ["flatten", {"type": "dense", "units": 10}]},
    "epochs": 4,
}
EPOCHS = [1, 2, 3, 4]


@pytest.fixture
def slot(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Slot:
    """A slot whose every epoch is published by itself, and which looks often whether the store is back."""
    monkeypatch.setattr("worker.callbacks.Publisher._is_due", lambda self: True)
    monkeypatch.setattr("worker.slot.STORE_SECONDS", 0.02)
    return slot


def submit(slot: Slot) -> str:
    with slot.database.write() as session:
        return jobs.create(session, parse_spec(SPEC)).id


def read(slot: Slot, job_id: str) -> tuple[Job, list[Epoch]]:
    with slot.database.read() as session:
        return session.get_one(Job, job_id), epochs_after(session, job_id, 0, 1000)


def folder(slot: Slot) -> Path:
    return slot.settings.home / "artifacts"


def take_away(slot: Slot) -> None:
    folder(slot).rename(slot.settings.home / "elsewhere")


def bring_back(slot: Slot) -> None:
    (slot.settings.home / "elsewhere").rename(folder(slot))


def before_the_checkpoint(monkeypatch: pytest.MonkeyPatch, epoch: int, what: Callable[[], None]) -> None:
    """Have something happen once, before the checkpoint of an epoch is written."""
    write, ahead = CheckpointKeeper.write, [what]

    def writing(self: CheckpointKeeper, number: int, checkpoint: Any) -> str:
        if number == epoch and ahead:
            ahead.pop()()
        return write(self, number, checkpoint)

    monkeypatch.setattr(CheckpointKeeper, "write", writing)


def try_while_mended(slot: Slot, job_id: str, mend: Callable[[], object]) -> None:
    """An attempt that ends by waiting for the store, which is mended once the worker says that it waits."""
    waits: list[bool] = []

    def mending() -> None:
        def is_waiting() -> bool:
            with slot.database.read() as session:
                [worker] = all_workers(session)
            return worker.status == WorkerStatus.STARTING and read(slot, job_id)[0].status != Status.RUNNING

        wait_until(is_waiting, "the wait")
        waits.append(True)
        mend()

    slot._show(status=WorkerStatus.IDLE)
    helper = threading.Thread(target=mending)
    helper.start()
    try_job(slot, job_id)
    helper.join()
    assert waits
    with slot.database.read() as session:
        assert [worker.status for worker in all_workers(session)] == [WorkerStatus.IDLE]


def test_away_at_a_checkpoint_the_job_waits_and_goes_on(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, disturbed = submit(slot), submit(slot)
    try_job(slot, undisturbed)
    before_the_checkpoint(monkeypatch, 3, lambda: take_away(slot))
    try_while_mended(slot, disturbed, lambda: bring_back(slot))
    waiting, rows = read(slot, disturbed)
    assert (waiting.status, waiting.losses, [row.epoch for row in rows]) == (Status.QUEUED, 0, [1, 2])
    with slot.database.read() as session:
        told = session.get_one(Event, (disturbed, waiting.last_seq)).data
    assert told["reason"] == "The folder or bucket of the artifacts is not there. The job waits until that is mended."
    try_job(slot, disturbed)
    (whole, expected), (mended, found) = read(slot, undisturbed), read(slot, disturbed)
    assert (mended.status, mended.attempt, mended.evaluation) == (Status.SUCCEEDED, 2, whole.evaluation)
    assert [row.metrics for row in found] == [row.metrics for row in expected]


def test_full_at_the_export_the_job_waits_for_as_much_room_as_it_needs(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, write, room = submit(slot), artifacts._write_durably, [1_000]

    def filling(path: Path, data: bytes) -> None:
        if path.name.startswith(("model.onnx", "probe")) and len(data) > room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(artifacts, "_write_durably", filling)
    try_while_mended(slot, job_id, lambda: room.insert(0, 10_000_000))
    waiting, rows = read(slot, job_id)
    assert (waiting.status, waiting.losses, [row.epoch for row in rows]) == (Status.QUEUED, 0, EPOCHS)
    try_job(slot, job_id)
    assert read(slot, job_id)[0].status == Status.SUCCEEDED


def test_what_failed_once_counts_as_a_loss(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a job whose files alone cannot be stored would be tried for ever."""
    job_id, write = submit(slot), ArtifactStore.write

    def refused(self: ArtifactStore, key: str, data: bytes) -> Any:
        if key.endswith("3.npz") and "checkpoints" in key:
            raise artifacts.StoreUnavailable("The artifact store refuses access.")
        return write(self, key, data)

    monkeypatch.setattr(ArtifactStore, "write", refused)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, job.failure_kind, [row.epoch for row in rows]) == (Status.RUNNING, None, [1, 2])


def test_a_cancelled_job_does_not_wait(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)

    def cancel() -> None:
        take_away(slot)
        with slot.database.write() as session:
            assert requests.request_cancel(session, job_id, keep_model=False) == "requested"

    before_the_checkpoint(monkeypatch, 3, cancel)
    try_while_mended(slot, job_id, lambda: bring_back(slot))
    assert read(slot, job_id)[0].status == Status.CANCELLED


def test_away_once_the_job_has_ended_changes_nothing(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)

    def finishing(*arguments: Any) -> None:
        finish(*arguments)
        take_away(slot)

    monkeypatch.setattr("worker.attempt.finish", finishing)
    try_job(slot, job_id)
    bring_back(slot)
    job, _ = read(slot, job_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)


def test_a_worker_that_is_told_to_end_does_not_wait(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)

    def end() -> None:
        take_away(slot)
        slot._stopping.set()

    before_the_checkpoint(monkeypatch, 2, end)
    try_job(slot, job_id)
    assert not folder(slot).exists()
    assert read(slot, job_id)[0].status == Status.QUEUED

"""Pause, resume and cancel as a worker meets them: what goes on goes on exactly, what is kept needs no epoch more."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from models import jobs, lost_workers, requests
from models.history import Event, history_after
from models.jobs import Job, Status
from models.registry import ModelVersion
from models.spec import parse_spec
from tests.worker.test_attempt import check_ended_the_same, read, submit
from worker.attempt import TAKEN_BACK, try_job
from worker.checkpoints import CheckpointKeeper
from worker.hold import Fenced, Hold
from worker.kinds.steps import Steps
from worker.slot import Slot

Act = Callable[[Slot, str], None]


@pytest.fixture
def slot(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Slot:
    """A slot whose every epoch is published by itself, and that looks at its job's row after each chunk."""
    monkeypatch.setattr("worker.callbacks.Publisher._is_due", lambda self: True)
    monkeypatch.setattr("worker.callbacks.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("worker.kinds.steps.LOOK_SECONDS", 0.0)
    return slot


def pause(slot: Slot, job_id: str) -> None:
    with slot.database.write() as session:
        assert requests.request_pause(session, job_id)


def resume(slot: Slot, job_id: str) -> None:
    with slot.database.write() as session:
        assert requests.request_resume(session, job_id)


def keep(slot: Slot, job_id: str) -> None:
    with slot.database.write() as session:
        assert requests.request_cancel(session, job_id, keep_model=True) == "requested"


def pause_and_stop(slot: Slot, job_id: str) -> None:
    slot._stopping.set()
    pause(slot, job_id)


def keep_and_stop(slot: Slot, job_id: str) -> None:
    slot._stopping.set()
    keep(slot, job_id)


def run_until(slot: Slot, monkeypatch: pytest.MonkeyPatch, job_id: str, act: Act, epoch: int = 3) -> Job:
    """Try the job, and have `act` happen as its epoch is about to be published; the job as it is then."""
    write = CheckpointKeeper.write

    def acting(self: CheckpointKeeper, reached: int, checkpoint: Any) -> str:
        if reached == epoch:
            act(slot, job_id)
        return write(self, reached, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointKeeper, "write", acting)
        assert try_job(slot, job_id)
    slot._stopping.clear()
    return read(slot, job_id)[0]


def events(slot: Slot, job_id: str) -> list[dict[str, Any]]:
    with slot.database.read() as session:
        rows = history_after(session, job_id, 0, 1000)
    return [row.data for row in rows if isinstance(row, Event) and row.type == "state"]


@pytest.mark.usefixtures("no_onnx")
def test_a_job_that_was_paused_ends_as_if_it_had_not_been(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, disturbed = submit(slot), submit(slot)
    try_job(slot, undisturbed)
    job = run_until(slot, monkeypatch, disturbed, pause)
    assert (job.status, job.requested, job.worker, job.phase) == (Status.PAUSED, None, None, None)
    assert 3 <= job.epoch < 8
    assert slot.store.keys(f"jobs/{disturbed}/1/checkpoints") == [job.checkpoint]
    assert events(slot, disturbed)[-1] == {"status": "paused", "reason": f"to go on after epoch {job.epoch}"}
    assert not try_job(slot, disturbed)
    resume(slot, disturbed)
    try_job(slot, disturbed)
    check_ended_the_same(slot, undisturbed, disturbed, {1, 2})
    assert [key for key in slot.store.keys("jobs") if "checkpoints" in key] == []


@pytest.mark.usefixtures("no_onnx")
def test_a_model_is_made_of_a_paused_job_without_another_epoch(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)
    paused = run_until(slot, monkeypatch, job_id, pause_and_stop)
    assert (paused.status, paused.losses) == (Status.PAUSED, 0)
    keep(slot, job_id)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, job.requested, job.epoch, len(rows)) == (Status.CANCELLED, None, paused.epoch, paused.epoch)
    with slot.database.read() as session:
        assert session.scalars(select(ModelVersion.job_id)).all() == [job_id]
    assert [key for key in slot.store.keys("jobs") if "checkpoints" in key] == []


@pytest.mark.usefixtures("no_onnx")
def test_a_pause_that_is_taken_back_as_it_is_obeyed_pauses_nothing(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)
    let_go = Hold.let_go

    def too_late(self: Hold, why: str) -> Status:
        resume(slot, job_id)
        return let_go(self, why)

    with monkeypatch.context() as patched:
        patched.setattr(Hold, "let_go", too_late)
        assert run_until(slot, monkeypatch, job_id, pause).status == Status.QUEUED
    assert events(slot, job_id)[-1]["reason"] == TAKEN_BACK
    job = run_until(slot, monkeypatch, job_id, keep_and_stop, epoch=6)
    assert (job.status, job.requested, job.losses) == (Status.QUEUED, "cancel", 0)


def test_a_job_that_does_not_train_begins_again(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    with slot.database.write() as session:
        job_id = jobs.create(session, parse_spec({"kind": "gradient_check", "dataset": "digits"})).id
    begun: list[int] = []

    def check(spec: Any, split: Any, scaling: Any, steps: Steps) -> dict[str, Any]:
        begun.append(1)
        if len(begun) == 1:
            pause(slot, job_id)
        steps.reach(1, "one of them")
        return {"summary": ["fine"]}

    monkeypatch.setattr("worker.kinds.running.check_gradients", check)
    try_job(slot, job_id)
    assert read(slot, job_id)[0].status == Status.PAUSED
    assert events(slot, job_id)[-1]["reason"] == "to begin again from the beginning"
    resume(slot, job_id)
    try_job(slot, job_id)
    assert read(slot, job_id)[0].status == Status.SUCCEEDED


def test_a_ghost_cannot_move_a_job_that_was_paused_or_queued_meanwhile(slot: Slot) -> None:
    job_id = submit(slot)
    with slot.database.write() as session:
        job = jobs.claim(session, job_id, slot.name)
    assert job is not None
    hold = Hold(slot, job)
    pause(slot, job_id)
    heartbeat = read(slot, job_id)[0].heartbeat
    with slot.database.write() as session:
        assert lost_workers.put_back(session, job_id, 1, heartbeat) == Status.PAUSED
    for to in (Status.QUEUED, Status.CANCELLED):
        with pytest.raises(Fenced):
            hold.move(to)
    with pytest.raises(Fenced):
        hold.let_go("a ghost stops")
    resume(slot, job_id)
    for to in (Status.PAUSED, Status.CANCELLED):
        with pytest.raises(Fenced):
            hold.move(to)
    assert read(slot, job_id)[0].status == Status.QUEUED


@pytest.mark.usefixtures("no_onnx")
def test_the_shorter_limit_of_time_holds_and_is_named(slot: Slot) -> None:
    slot.settings = slot.settings.model_copy(update={"max_job_seconds": 0.1})
    job_id = submit(slot, epochs=100_000, max_seconds=100)
    try_job(slot, job_id)
    job, _ = read(slot, job_id)
    assert job.status == Status.SUCCEEDED or job.failure_kind == "timeout"  # by whether an epoch took longer
    assert "TRAINYARD_MAX_JOB_SECONDS" in events(slot, job_id)[-1]["reason"]
    limits = [Hold(slot, job).limit_of(parse_spec({"dataset": "digits", "max_seconds": own})) for own in (0.05, 5)]
    assert [str(limit) for limit in limits] == ["max_seconds=0.05", "TRAINYARD_MAX_JOB_SECONDS=0.1"]

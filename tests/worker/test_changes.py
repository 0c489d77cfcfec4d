"""Changes of a job as its attempts meet them: on record before they hold, and made again after an interruption."""

from collections.abc import Callable
from typing import Any

import pytest

from models.changes import changes_of, request_change
from models.history import Change, Event, Result, history_after
from models.jobs import Job, Status, create
from models.references import with_references
from models.spec import parse_spec
from models.spec.change import ChangeSpec
from tests.worker.test_attempt import check_ended_the_same, read, submit
from tests.worker.test_pause import pause, resume, run_until
from worker.attempt import try_job
from worker.slot import Slot

pytestmark = pytest.mark.usefixtures("no_onnx")


@pytest.fixture
def slot(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Slot:
    """A slot whose every epoch is published by itself, and that looks at its job's row after each chunk."""
    monkeypatch.setattr("worker.callbacks.Publisher._is_due", lambda self: True)
    monkeypatch.setattr("worker.callbacks.LOOK_SECONDS", 0.0)
    return slot


def asking(**change: Any) -> Callable[[Slot, str], None]:
    """An act that asks for a change."""

    def ask(slot: Slot, job_id: str) -> None:
        with slot.database.write() as session:
            request_change(session, job_id, ChangeSpec.model_validate(change))

    return ask


def changes(slot: Slot, job_id: str) -> list[Change]:
    with slot.database.read() as session:
        return changes_of(session, job_id)


def told(slot: Slot, job_id: str) -> list[dict[str, Any]]:
    with slot.database.read() as session:
        rows = history_after(session, job_id, 0, 1000)
    return [row.data for row in rows if isinstance(row, Event) and row.type == "change"]


def test_a_change_is_on_record_and_streamed_with_its_step(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)
    before = read(slot, job_id)[0].epochs
    job = run_until(slot, monkeypatch, job_id, asking(learning_rate=0.0005, epochs=before + 2))
    assert (job.status, job.epochs, job.epoch) == (Status.SUCCEEDED, before + 2, before + 2)
    (change,) = changes(slot, job_id)
    assert change.applied_at_step is not None
    assert change.applied_at is not None
    assert change.epoch is not None
    assert 4 <= change.epoch <= before
    assert change.old == {"learning_rate": read(slot, job_id)[1][0].learning_rate, "epochs": before}
    one = {"number": 1, "applied_at_step": change.applied_at_step, "epoch": change.epoch}
    assert told(slot, job_id) == [{**one, "old": change.old, "new": {"learning_rate": 0.0005, "epochs": before + 2}}]
    rates = [row.learning_rate for row in read(slot, job_id)[1]]
    assert rates[2] != 0.0005
    assert rates[change.epoch - 1 :] == [0.0005] * (len(rates) - change.epoch + 1)


def test_a_job_that_was_changed_and_interrupted_is_what_verify_trains(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed while it waits, changed as it runs, paused right after, resumed; then the same with one that was not."""
    plain, changed = submit(slot), submit(slot)
    try_job(slot, plain)
    asking(learning_rate=0.003)(slot, changed)
    run_until(slot, monkeypatch, changed, asking(learning_rate={"type": "cosine_decay", **DECAY}), epoch=2)
    assert changes(slot, changed)[0].applied_at_step == 0
    interrupted = submit(slot)
    asking(learning_rate=0.003)(slot, interrupted)

    def change_and_pause(slot: Slot, job_id: str) -> None:
        asking(learning_rate={"type": "cosine_decay", **DECAY})(slot, job_id)
        pause(slot, job_id)

    run_until(slot, monkeypatch, interrupted, change_and_pause, epoch=2)
    resume(slot, interrupted)
    try_job(slot, interrupted)
    for job_id, made in ((plain, 0), (changed, 2), (interrupted, 2)):
        result = verified(slot, job_id)
        assert (result["same"], result["changes"], result["largest_difference"]) == (True, made, 0.0), result


DECAY = {"initial_learning_rate": 0.01, "decay_steps": 20}


def verified(slot: Slot, job_id: str) -> dict[str, Any]:
    """What the job of the kind verify finds out about a job."""
    with slot.database.write() as session:
        job = session.get_one(Job, job_id)
        body = {"kind": "verify", "dataset": job.spec["dataset"], "verify": {"job": job_id}}
        verify_id = create(session, with_references(session, parse_spec(body))).id
    assert try_job(slot, verify_id)
    with slot.database.read() as session:
        assert session.get_one(Job, verify_id).status == Status.SUCCEEDED, session.get_one(
            Job, verify_id
        ).failure_message
        return session.get_one(Result, verify_id).data


def test_verify_finds_what_is_not_the_same(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that was made but is not on record gives another model."""
    job_id = submit(slot)
    run_until(slot, monkeypatch, job_id, asking(learning_rate=0.0005), epoch=2)
    with slot.database.write() as session:
        session.delete(session.get_one(Change, (job_id, 1)))
    result = verified(slot, job_id)
    assert not result["same"]
    assert result["largest_difference"] > 0
    assert "gave another model" in result["summary"][0]


def test_an_interrupted_job_ends_as_one_that_was_not(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are changed while they wait; one is put down on the way."""
    undisturbed, disturbed = submit(slot), submit(slot)
    for job_id in (undisturbed, disturbed):
        asking(learning_rate={"type": "cosine_decay", **DECAY}, epochs=6)(slot, job_id)
    try_job(slot, undisturbed)
    run_until(slot, monkeypatch, disturbed, pause)
    resume(slot, disturbed)
    try_job(slot, disturbed)
    check_ended_the_same(slot, undisturbed, disturbed, {1, 2})
    assert read(slot, disturbed)[0].epochs == 6

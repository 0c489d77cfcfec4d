"""The plan of a job is on its record: later attempts keep it, and it lets the owner be heard in time."""

from typing import Any

import numpy as np
import pytest

from models import requests
from models.jobs import Job, Phase, Status
from models.spec import parse_spec
from models.spec.layers.core import Dropout
from tests.worker.test_attempt import LAYERS, SCHEDULE, Killed, die_after, put_back, read, slot, submit, weights
from worker import plan, rehearsal, training
from worker.attempt import try_job
from worker.callbacks import Publisher
from worker.hold import Hold
from worker.slot import Slot

__all__ = ["slot"]
pytestmark = pytest.mark.usefixtures("no_onnx")


@pytest.mark.parametrize("xla", ["chunk", "update"])
def test_the_next_attempt_keeps_the_plan_and_ends_the_same(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, xla: str
) -> None:
    """Another plan gives other numbers: it is kept though what is left, or this machine, would have another."""
    monkeypatch.setattr(plan, "CHUNK_STEPS", 5 * 8)
    # Slow, but its state must be kept all the same.
    monkeypatch.setattr(plan, "COMPILED_LAYERS", (*plan.COMPILED_LAYERS, Dropout))
    if xla == "update":
        monkeypatch.setattr(plan, "CHUNK_OPERATIONS", 0)
        monkeypatch.setattr(plan, "UPDATE_PARAMETERS", 0)
        monkeypatch.setattr(plan, "UPDATE_WORK", 0)
    changes = {"optimizer": SCHEDULE["optimizer"]}
    undisturbed, disturbed = submit(slot, **changes), submit(slot, **changes)
    try_job(slot, undisturbed)
    with monkeypatch.context() as patched:
        die_after(patched, "write", times=4)
        with pytest.raises(Killed):
            try_job(slot, disturbed)
    first = read(slot, disturbed)[0].execution
    assert first is not None
    assert (first["xla"], first["device"]) == (xla, "cpu")
    put_back(slot, disturbed)
    for name in ("CHUNK_STEPS", "UPDATE_WORK"):
        monkeypatch.setattr(plan, name, 10**12)
    try_job(slot, disturbed)
    (whole, expected), (mended, found) = read(slot, undisturbed), read(slot, disturbed)
    assert (mended.status, mended.attempt) == (Status.SUCCEEDED, 2)
    assert mended.execution is not None
    assert mended.execution | {"batches_per_chunk": 0} == first | {"batches_per_chunk": 0}
    assert [row.metrics for row in found] == [row.metrics for row in expected]
    for mine, theirs in zip(weights(slot, mended), weights(slot, whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert plan.plan_for(parse_spec(mended.spec)).xla == "none", "what a new job would get by now"


def test_a_plan_for_another_device_is_replaced(slot: Slot) -> None:
    job_id = submit(slot, epochs=1)
    elsewhere = plan.Plan("none", "mixed_bfloat16", 7, "gpu", ("made elsewhere",)).facts(3)
    with slot.database.write() as session:
        session.get_one(Job, job_id).execution = elsewhere
    try_job(slot, job_id)
    job = read(slot, job_id)[0]
    assert (job.status, job.execution) == (Status.SUCCEEDED, plan.plan_for(parse_spec(job.spec)).facts(4))


def test_a_cancel_is_obeyed_before_the_first_epoch(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large network takes seconds until all is compiled: there is a look in between."""
    job_id = submit(slot)
    asked: list[str | None] = []
    seconds = rehearsal._seconds

    def cancelled(*arguments: Any) -> float:
        if not asked:
            with slot.database.write() as session:
                asked.append(requests.request_cancel(session, job_id, keep_model=False))
        return seconds(*arguments)

    monkeypatch.setattr(rehearsal, "_seconds", cancelled)
    monkeypatch.setattr(training, "fit", None)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (asked, job.status, rows) == (["requested"], Status.CANCELLED, [])


def test_a_cancel_is_obeyed_in_the_midst_of_a_slow_epoch(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recurrent network over 28 steps, one example a batch: chunks are short enough to look at the job's row."""
    layers = [{"type": "reshape", "target_shape": [28, 28]}, {"type": "lstm", "units": 4}, LAYERS[-1]]
    job_id = submit(slot, dataset="digits", network={"layers": layers}, batch_size=1, epochs=1)
    trained, enter, look = [], Hold.enter, Publisher._look

    def cancelled(self: Hold, phase: Phase) -> None:
        enter(self, phase)
        if phase == "training":
            with slot.database.write() as session:
                assert requests.request_cancel(session, job_id, keep_model=False) == "requested"

    def counted(self: Publisher) -> None:
        trained.append(int(self.model.optimizer.iterations))
        look(self)

    monkeypatch.setattr(Hold, "enter", cancelled)
    monkeypatch.setattr(Publisher, "_look", counted)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, rows) == (Status.CANCELLED, [])
    assert job.execution is not None
    assert trained == [job.execution["batches_per_chunk"]]
    assert trained[0] < 1297

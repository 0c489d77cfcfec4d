"""Checkpoints and rows are written beside the training: it does not wait, and nothing shows before it is durable."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from models.jobs import Status
from tests.worker.spirals import BATCH, EXAMPLES, spiral_model, spiral_spec
from tests.worker.test_attempt import Killed, put_back, read, slot, submit, weights
from worker import callbacks, writer
from worker.attempt import try_job
from worker.callbacks import SHARE, Progress, Publisher
from worker.checkpoints import Checkpoint, CheckpointKeeper
from worker.chunks import Chunks
from worker.diagnosis.doctor import Doctor
from worker.hold import Hold
from worker.slot import Slot
from worker.steering import Course as Plan
from worker.steering import Steering
from worker.writer import Writer

__all__ = ["slot"]
pytestmark = pytest.mark.usefixtures("no_onnx")

PATIENCE = 30.0
EPOCHS = 8


class Course:
    """How far the training is, for a writer that waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._changed = 0, threading.Condition()
        original = Publisher.on_epoch_end

        def on_epoch_end(publisher: Publisher, epoch: int, logs: dict[str, Any] | None = None) -> None:
            with self._changed:
                self._reached = epoch + 1
                self._changed.notify_all()
            original(publisher, epoch, logs)

        monkeypatch.setattr(Publisher, "on_epoch_end", on_epoch_end)
        # Again and again, whenever nothing is being written.
        monkeypatch.setattr(Publisher, "_is_due", lambda publisher: not publisher._writer.busy())

    def wait(self, epoch: int) -> bool:
        """Until the training is at the end of `epoch`; False when that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._reached >= epoch, PATIENCE)


@pytest.fixture
def course(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Course:
    return Course(monkeypatch)


def test_a_slow_checkpoint_does_not_stop_the_training_nor_show_before_it_is_there(
    slot: Slot,
    course: Course,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[int] = []
    job_id = submit(slot)
    write, remove = CheckpointKeeper.write, CheckpointKeeper.remove

    def slow(keeper: CheckpointKeeper, epoch: int, checkpoint: Checkpoint) -> str:
        job, rows = read(slot, job_id)
        shown = written[-1] if written else 0
        assert (job.epoch, [row.epoch for row in rows]) == (shown, list(range(1, shown + 1)))
        assert course.wait(min(epoch + 3, EPOCHS)), "the training waits for the checkpoint"
        assert read(slot, job_id)[0].epoch == shown
        key = write(keeper, epoch, checkpoint)
        written.append(epoch)
        return key

    def removed(keeper: CheckpointKeeper, key: str) -> None:
        assert read(slot, job_id)[0].checkpoint != key, "what is on record must stay"
        remove(keeper, key)

    monkeypatch.setattr(CheckpointKeeper, "write", slow)
    monkeypatch.setattr(CheckpointKeeper, "remove", removed)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert job.status == Status.SUCCEEDED, job.failure_message
    assert [row.epoch for row in rows] == list(range(1, EPOCHS + 1))
    assert written[0] == 1
    assert written[-1] == EPOCHS
    assert len(written) < EPOCHS


def test_killed_while_a_checkpoint_is_written_loses_nothing_on_record(
    slot: Slot,
    course: Course,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before it is there or after; training is epochs further then, and the next attempt goes on after the first."""
    undisturbed = submit(slot)
    try_job(slot, undisturbed)
    whole, expected = read(slot, undisturbed)
    for after in (False, True):
        disturbed = submit(slot)
        with monkeypatch.context() as patched:
            patched.setattr(CheckpointKeeper, "write", killing(course, after))
            with pytest.raises(Killed):
                try_job(slot, disturbed)
        job, rows = read(slot, disturbed)
        assert (job.epoch, [row.epoch for row in rows]) == (1, [1])
        assert job.checkpoint in slot.store.keys("jobs")
        put_back(slot, disturbed)
        try_job(slot, disturbed)
        mended, found = read(slot, disturbed)
        assert (mended.status, mended.attempt) == (Status.SUCCEEDED, 2)
        assert [(row.epoch, row.metrics) for row in found] == [(row.epoch, row.metrics) for row in expected]
        for mine, theirs in zip(weights(slot, mended), weights(slot, whole), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def killing(course: Course, after: bool) -> Callable[[CheckpointKeeper, int, Checkpoint], str]:
    """A write that ends in death, `after` the file is there or before, but for that of the first epoch."""
    write = CheckpointKeeper.write

    def killed(keeper: CheckpointKeeper, epoch: int, checkpoint: Checkpoint) -> str:
        assert course.wait(min(epoch + 2, EPOCHS))
        if epoch == 1:
            return write(keeper, epoch, checkpoint)
        if after:
            write(keeper, epoch, checkpoint)
        raise Killed

    return killed


def test_what_cannot_be_written_fails_the_job(
    slot: Slot,
    course: Course,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when it is the last that is written."""

    def full(keeper: CheckpointKeeper, epoch: int, checkpoint: Checkpoint) -> str:
        assert course.wait(EPOCHS)
        raise OSError("the disk is full")

    monkeypatch.setattr(CheckpointKeeper, "write", full)
    job_id = submit(slot)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, job.failure_kind, rows) == (Status.FAILED, "internal", [])


@dataclass
class Record:
    """In place of the job's row, the store and both clocks."""

    moment: float = 0.0
    published: list[list[int]] = field(default_factory=list)

    def record(self, results: list[Any], reached: Any, files: dict[str, Any], seen: Any, **values: Any) -> None:
        self.published.append([result.epoch for result in results])

    def limit_of(self, spec: Any) -> None:
        """There is no limit of time."""

    def last_epoch(self) -> int:
        """None has a row."""
        return 0

    def store_weights(self, epoch: int, data: bytes) -> SimpleNamespace:
        return SimpleNamespace(key=f"epoch-{epoch}")

    def write(self, epoch: int, checkpoint: Checkpoint) -> str:
        return f"{epoch}.npz"

    def remove(self, key: str) -> None:
        """Nothing is kept."""


def published(monkeypatch: pytest.MonkeyPatch, epochs: int, epoch_seconds: float, write_seconds: float) -> Record:
    """What is published of so many epochs, where writing takes so much of the processor's time."""
    record, spec = Record(), spiral_spec(epochs=epochs)
    processor = [0.0]

    def spent() -> float:
        processor[0] += write_seconds
        return processor[0]

    monkeypatch.setattr(callbacks, "processors", lambda: 1)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: record.moment))
    monkeypatch.setattr(writer, "time", SimpleNamespace(thread_time=spent))
    start = Writer.start
    # What is written is done at once, so that it is the clock alone that decides.
    monkeypatch.setattr(Writer, "start", lambda own, work: (start(own, work), own.wait()))
    hold, keeper = cast(Hold, record), cast(CheckpointKeeper, record)
    model, steering = spiral_model(spec), Steering(Chunks(EXAMPLES, BATCH, 7), Plan.of(spec))
    publisher = Publisher(hold, spec, keeper, Progress(), None, None, steering, Doctor(model, spec))
    publisher.set_model(model)
    for epoch in range(epochs):
        publisher.on_epoch_begin(epoch)
        record.moment += epoch_seconds
        publisher.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5})
    publisher.close()
    return record


@pytest.mark.parametrize(
    ("epoch_seconds", "write_seconds", "between"),
    [
        pytest.param(1.0, 0.0, 1, id="cheap"),
        pytest.param(0.25, 0.0, 4, id="short epochs"),
        pytest.param(1.0, 0.01, 1, id="one hundredth"),
        pytest.param(1.0, 0.29, 10, id="dear"),
        pytest.param(20.0, 0.29, 1, id="dear, long epochs"),
    ],
)
def test_checkpoints_take_a_small_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch, epoch_seconds: float, write_seconds: float, between: int
) -> None:
    """The first epoch at once, then one a second, or fewer where they are dear; and in the end everything is there."""
    record = published(monkeypatch, 24, epoch_seconds, write_seconds)
    assert [epoch for group in record.published for epoch in group] == list(range(1, 25))
    assert record.published[0] == [1]
    assert {len(group) for group in record.published[1:-1]} == {between}
    assert len(record.published[-1]) <= between
    assert write_seconds * (len(record.published) - 2) <= SHARE * record.moment * (1 + 1e-9)

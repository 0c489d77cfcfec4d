"""Whole attempts in this process: ended by every kind of misfortune, taken up by the next, and what is left of them."""

from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest

from models import jobs, requests
from models.history import Epoch, epochs_after
from models.jobs import Job, Status
from models.references import kept_epochs
from models.spec import parse_spec
from worker import export, training
from worker.attempt import try_job, try_next
from worker.callbacks import Publisher
from worker.checkpoints import CheckpointKeeper
from worker.slot import Slot

LAYERS = [
    "flatten",
    {"type": "dense", "units": 16, "activation": "relu"},
    {"type": "batch_normalization"},
    {"type": "dropout", "rate": 0.3},
    {"type": "dense", "units": 10},
]
SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "train_size": 300},
    "network": {"layers": LAYERS},
    "optimizer": {"type": "adam", "learning_rate": 0.01},
    "epochs": 8,
}
SCHEDULE = {
    "optimizer": {
        "type": "nadam",
        "learning_rate": {
            "type": "cosine_decay",
            "initial_learning_rate": 0.0,
            "warmup_target": 0.02,
            "warmup_steps": 12,
            "decay_steps": 40,
        },
    },
    "metrics": ["accuracy", "f1"],
    "early_stopping": {"monitor": "val_f1", "patience": 3, "restore_best_weights": True},
    "epochs": 30,
}
PLATEAU = {
    "dataset": {
        "name": "digits",
        "train_size": 100,
        "augmentation": {"rotation": 0.05, "translation": 0.1, "zoom": 0.1, "noise": 0.1},
    },
    "reduce_on_plateau": {"monitor": "loss", "factor": 0.5, "patience": 1, "min_delta": 0.2},
    "epochs": 12,
}


class Killed(BaseException):
    """In place of a SIGKILL: nothing catches it."""


@pytest.fixture
def slot(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> Slot:
    """A slot whose every epoch is published by itself."""
    monkeypatch.setattr("worker.callbacks.Publisher._is_due", lambda self: True)
    return slot


def submit(slot: Slot, **changes: Any) -> str:
    with slot.database.write() as session:
        return jobs.create(session, parse_spec(SPEC | changes)).id


def read(slot: Slot, job_id: str) -> tuple[Job, list[Epoch]]:
    with slot.database.read() as session:
        return session.get_one(Job, job_id), epochs_after(session, job_id, 0, 1000)


def put_back(slot: Slot, job_id: str) -> None:
    with slot.database.write() as session:
        assert jobs.move(session, job_id, Status.QUEUED)


def weights(slot: Slot, job: Job) -> list[np.ndarray]:
    path = slot.settings.home / "model.keras"
    path.write_bytes(slot.store.read(f"jobs/{job.id}/{job.attempt}/model.keras"))
    return keras.saving.load_model(path).get_weights()


def die_after(monkeypatch: pytest.MonkeyPatch, step: str, times: int) -> None:
    """Be killed in the `times`-th call: `write` before the checkpoint is there, `remove` after its rows are."""
    original, calls = getattr(CheckpointKeeper, step), iter(range(1, 1000))

    def dying(self: CheckpointKeeper, *arguments: Any) -> Any:
        if next(calls) == times:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(CheckpointKeeper, step, dying)


@pytest.mark.usefixtures("no_onnx")
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        pytest.param({}, ["write"], id="plain"),
        pytest.param(PLATEAU, ["remove"], id="plateau, augmented"),
        pytest.param(SCHEDULE, ["write", "end"], id="schedule, early stopping"),
    ],
)
def test_killed_and_resumed_ends_as_if_nothing_had_happened(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], steps: list[str]
) -> None:
    """Killed before the fourth checkpoint is there, after its rows are, or after the last epoch, when all that is left
    to do is to keep the best weights."""
    undisturbed = submit(slot, **changes)
    try_job(slot, undisturbed)
    for step in steps:
        disturbed = submit(slot, **changes)
        with monkeypatch.context() as patched:
            if step == "end":
                patched.setattr("worker.attempt.finish", killed)
            else:
                die_after(patched, step, times=4)
            with pytest.raises(Killed):
                try_job(slot, disturbed)
        put_back(slot, disturbed)
        try_job(slot, disturbed)
        check_ended_the_same(slot, undisturbed, disturbed, {1} if step == "end" else {1, 2})
    assert [key for key in slot.store.keys("jobs") if "checkpoints" in key] == []
    job, found = read(slot, disturbed)
    if changes is SCHEDULE:
        assert len(found) < 30
        # Five batches an epoch: the rates of the steps 4, 9 and 14.
        rates = [0.02 * 4 / 12, 0.02 * 9 / 12, 0.01 * (1 + np.cos(np.pi * 2 / 40))]
        assert [row.learning_rate for row in found[:3]] == pytest.approx(rates, rel=1e-6)
        assert job.best_metrics["val_f1"] == max(row.metrics["val_f1"] or 0.0 for row in found)
    if "reduce_on_plateau" in changes:
        assert found[-1].learning_rate is not None
        assert found[-1].learning_rate < 0.01


@pytest.mark.usefixtures("no_onnx")
@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_without_its_checkpoint_a_job_begins_again_and_ends_as_if_nothing_had_happened(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """As after a backup that was made while the job replaced its checkpoint. What is on record stays as it is."""
    undisturbed, disturbed = submit(slot), submit(slot)
    try_job(slot, undisturbed)
    with monkeypatch.context() as patched:
        die_after(patched, "remove", times=4)
        with pytest.raises(Killed):
            try_job(slot, disturbed)
    put_back(slot, disturbed)
    checkpoint = read(slot, disturbed)[0].checkpoint
    assert checkpoint is not None
    whole = slot.store.read(checkpoint)
    slot.store.delete(checkpoint)
    if harm == "damaged":
        slot.store.write(checkpoint, whole[:100] + bytes(400) + whole[500:])
    with monkeypatch.context() as patched:
        # And once more, when the second attempt has rows to write again and has got to no new one yet.
        die_after(patched, "write", times=3)
        with pytest.raises(Killed):
            try_job(slot, disturbed)
    put_back(slot, disturbed)
    try_job(slot, disturbed)
    (first, expected), (job, found) = read(slot, undisturbed), read(slot, disturbed)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 3)
    assert [(row.epoch, row.metrics) for row in found] == [(row.epoch, row.metrics) for row in expected]
    assert {row.attempt for row in found} == {1, 3}
    for mine, theirs in zip(weights(slot, job), weights(slot, first), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with slot.database.read() as session:
        assert kept_epochs(session, disturbed) == kept_epochs(session, undisturbed)


def check_ended_the_same(slot: Slot, undisturbed: str, disturbed: str, learned_in: set[int]) -> None:
    """Every row, the evaluation and the model, after two attempts as after one; the rows are of these attempts."""
    (whole, expected), (mended, found) = read(slot, undisturbed), read(slot, disturbed)
    assert (whole.status, mended.status, mended.attempt) == (Status.SUCCEEDED, Status.SUCCEEDED, 2)
    assert [row.epoch for row in found] == list(range(1, len(expected) + 1))
    assert [row.metrics for row in found] == [row.metrics for row in expected]
    assert [row.learning_rate for row in found] == [row.learning_rate for row in expected]
    assert {row.attempt for row in found} == learned_in
    assert mended.evaluation == whole.evaluation
    assert mended.best_metrics == whole.best_metrics
    for mine, theirs in zip(weights(slot, mended), weights(slot, whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def killed(*_: Any) -> None:
    raise Killed


def test_an_attempt_that_lost_its_job_leaves_it_alone(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(slot)
    original = CheckpointKeeper.write

    def overtaken(self: CheckpointKeeper, epoch: int, checkpoint: Any) -> str:
        if epoch == 3:
            put_back(slot, job_id)
            with slot.database.write() as session:
                assert jobs.claim(session, job_id, "another")
        return original(self, epoch, checkpoint)

    monkeypatch.setattr(CheckpointKeeper, "write", overtaken)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, job.attempt, job.worker) == (Status.RUNNING, 2, "another")
    assert [row.epoch for row in rows] == [1, 2]
    assert job.checkpoint is not None
    kept = [f"jobs/{job_id}/epochs/1/epoch-{epoch}.npz" for epoch in (1, 2)]
    assert slot.store.keys("jobs") == [job.checkpoint, *kept]


@pytest.mark.usefixtures("no_onnx")
def test_a_message_that_comes_twice_does_nothing(slot: Slot) -> None:
    job_id = submit(slot)
    try_job(slot, job_id)
    before, rows = read(slot, job_id)
    try_job(slot, job_id)
    after, again = read(slot, job_id)
    assert (after.last_seq, after.attempt, len(again)) == (before.last_seq, 1, len(rows))
    try_job(slot, "job_unknown")


def test_missing_data_fails_with_what_to_do(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(slot.settings.home / "empty"))
    job_id = submit(slot, dataset="fashion_mnist")
    try_job(slot, job_id)
    job, _ = read(slot, job_id)
    assert (job.status, job.failure_kind) == (Status.FAILED, "dataset_unavailable")
    assert "TRAINYARD_DATASETS_DIR" in (job.failure_message or "")
    assert str(slot.settings.home) not in (job.failure_message or "")


@pytest.mark.parametrize(
    ("error", "kind"), [(MemoryError(), "out_of_memory"), (RuntimeError("secret /path"), "internal")]
)
def test_what_breaks_inside_is_told_without_its_inside(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(training, "build_model", broken)
    job_id = submit(slot)
    try_job(slot, job_id)
    job, _ = read(slot, job_id)
    assert (job.status, job.failure_kind) == (Status.FAILED, kind)
    assert "secret" not in (job.failure_message or "")


@pytest.mark.usefixtures("no_onnx")
def test_every_n_th_epoch_is_kept_and_the_last(slot: Slot) -> None:
    job_id = submit(slot, log_every=3)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert [row.epoch for row in rows] == [3, 6, 8]
    assert job.epoch == 8


@pytest.mark.usefixtures("no_onnx")
@pytest.mark.parametrize("keep_model", [False, True])
def test_a_cancel_that_comes_while_the_model_is_exported_is_obeyed(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, keep_model: bool
) -> None:
    job_id = submit(slot)
    original = export.export_keras

    def cancelled_meanwhile(twin: keras.Model) -> bytes:
        with slot.database.write() as session:
            assert requests.request_cancel(session, job_id, keep_model=keep_model) == "requested"
        return original(twin)

    monkeypatch.setattr(export, "export_keras", cancelled_meanwhile)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, len(rows)) == (Status.CANCELLED, 8)
    left = {key.rpartition("/")[2] for key in slot.store.keys("jobs")}
    assert {name for name in left if name.startswith("epoch-")} == {f"epoch-{n}.npz" for n in range(1, 9)}
    assert (job.model_version, "model.keras" in left) == ((1, True) if keep_model else (None, False))


def test_the_largest_kernel_that_is_taken_can_be_trained(slot: Slot) -> None:
    layers = [{"type": "conv2d", "filters": 1, "kernel_size": 55, "padding": "same"}, "flatten", LAYERS[-1]]
    few = {"name": "digits", "train_size": 20}
    job_id = submit(slot, dataset=few, network={"layers": layers}, epochs=1)
    try_job(slot, job_id)
    assert read(slot, job_id)[0].status == Status.SUCCEEDED


def test_a_network_that_blew_up_with_a_finite_loss_has_diverged(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Publisher.on_train_end

    def blown_up(self: Publisher, logs: dict[str, Any] | None = None) -> None:
        publish(self, logs)
        for variable in self.model.network.trainable_variables:
            variable.assign(variable * 1e30)

    monkeypatch.setattr(Publisher, "on_train_end", blown_up)
    job_id = submit(slot, epochs=1)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert (job.status, job.failure_kind, len(rows)) == (Status.FAILED, "diverged", 1)
    assert "not finite" in (job.failure_message or "")


@pytest.mark.usefixtures("no_onnx")
def test_the_job_that_should_go_next_is_taken_whatever_the_message_was_about(slot: Slot) -> None:
    late, urgent, gpu = (
        submit(slot, epochs=1, **way) for way in ({}, {"priority": 9}, {"device": "gpu", "priority": 9})
    )
    try_next(slot)
    ended = [read(slot, job_id)[0] for job_id in (urgent, late, gpu)]
    assert [job.status for job in ended] == ["succeeded", "succeeded", "queued"]
    assert ended[0].finished_at < ended[1].started_at  # type: ignore[operator]


@pytest.mark.usefixtures("no_onnx")
def test_a_worker_that_grew_large_leaves_the_rest_to_the_process_that_follows(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = submit(slot, epochs=1), submit(slot, epochs=1)
    monkeypatch.setattr(slot, "settings", slot.settings.model_copy(update={"worker_memory_mb": 1}))
    try_next(slot)
    assert sorted(read(slot, job_id)[0].status for job_id in (first, second)) == ["queued", "succeeded"]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look at the clock before something is on record, however slow this machine is just now."""
    look = Publisher._look
    monkeypatch.setattr(Publisher, "_look", lambda self: look(self) if self._progress.checkpoint else None)


@pytest.mark.usefixtures("no_onnx", "begun")
@pytest.mark.parametrize("log_every", [1, 100_000])
def test_a_model_kept_before_its_time_leaves_its_weights_too(slot: Slot, log_every: int) -> None:
    """And a row of its epoch, also where `log_every` would have left it out."""
    job_id = submit(slot, epochs=100_000, max_seconds=0.2, log_every=log_every)
    try_job(slot, job_id)
    job, rows = read(slot, job_id)
    assert job.status == Status.SUCCEEDED
    with slot.database.read() as session:
        assert kept_epochs(session, job_id) == [rows[-1].epoch]
    assert [row.epoch for row in rows] == ([job.epoch] if log_every > 1 else list(range(1, job.epoch + 1)))


@pytest.mark.usefixtures("no_onnx", "begun")
def test_the_row_of_an_epoch_that_is_kept_is_written_once(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the attempt that wrote it was killed before its end."""
    job_id = submit(slot, epochs=100_000, max_seconds=0.2, log_every=100_000)
    with monkeypatch.context() as patched:
        patched.setattr("worker.attempt.finish", killed)
        with pytest.raises(Killed):
            try_job(slot, job_id)
    (before, rows) = read(slot, job_id)
    assert [row.epoch for row in rows] == [before.epoch]
    put_back(slot, job_id)
    try_job(slot, job_id)
    job, again = read(slot, job_id)
    assert (job.status, [row.epoch for row in again]) == (Status.SUCCEEDED, [before.epoch])


def test_a_file_that_answers_with_no_number_means_that_training_diverged(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", lambda *args: [answer * np.nan for answer in run(*args)])
    job_id = submit(slot, epochs=1)
    try_job(slot, job_id)
    job = read(slot, job_id)[0]
    assert (job.status, job.failure_kind) == (Status.FAILED, "diverged")

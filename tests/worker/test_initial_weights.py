"""Starting from trained weights: of a model version, of an epoch, with layers frozen, and what can be missing."""

from typing import Any

import numpy as np
import pytest

from models import jobs, registry, requests
from models.history import history_after
from models.jobs import Job, Status
from models.references import kept_epochs, with_initial_weights
from models.registry import Artifact
from models.spec import parse_spec
from tests.worker.test_attempt import SPEC, slot
from worker.attempt import try_job
from worker.initial_weights import Weights, from_npz, load_keras, weights_of
from worker.slot import Slot

__all__ = ["slot"]
pytestmark = pytest.mark.usefixtures("no_onnx")

DENSE = {"type": "dense", "units": 16, "activation": "relu"}
END = {"type": "dense", "units": 10, "activation": "softmax"}
SMALL: dict[str, Any] = SPEC | {"network": {"layers": ["flatten", DENSE, END]}, "epochs": 3}


def train(slot: Slot, **changes: Any) -> Job:
    with slot.database.write() as session:
        spec = with_initial_weights(session, parse_spec(SMALL | changes))
        job_id = jobs.create(session, spec).id
    try_job(slot, job_id)
    with slot.database.read() as session:
        return session.get_one(Job, job_id)


def artifact(slot: Slot, job: Job, name: str) -> bytes:
    with slot.database.read() as session:
        return slot.store.read(session.get_one(Artifact, (job.id, name)).key)


def trained(slot: Slot, job: Job) -> Weights:
    return weights_of(load_keras(artifact(slot, job, "model.keras")))


def log_of(slot: Slot, job: Job) -> str:
    with slot.database.read() as session:
        return "\n".join(str(row.data) for row in history_after(session, job.id, 0, 100) if hasattr(row, "data"))


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def test_every_epoch_of_a_short_job_leaves_its_weights(slot: Slot) -> None:
    job = train(slot)
    with slot.database.read() as session:
        assert kept_epochs(session, job.id) == [1, 2, 3]
    first, last = (from_npz(artifact(slot, job, f"epoch-{epoch}.npz")) for epoch in (1, 3))
    assert all(same(last[name], weights) for name, weights in trained(slot, job).items())
    assert not same(first["dense_1"], last["dense_1"])


def test_a_longer_job_leaves_those_of_every_second_epoch_and_the_last(slot: Slot) -> None:
    job = train(slot, epochs=21)
    with slot.database.read() as session:
        assert kept_epochs(session, job.id) == [*range(2, 21, 2), 21]


def test_frozen_layers_keep_what_the_other_model_learned(slot: Slot) -> None:
    before = train(slot, model="parent")
    frozen = {"layers": ["flatten", DENSE | {"trainable": False}, END]}
    after = train(slot, initial_weights={"model": "parent"}, network=frozen)
    assert after.status == Status.SUCCEEDED
    assert after.spec["initial_weights"] == {"model": "parent:1"}
    assert same(trained(slot, after)["dense_1"], trained(slot, before)["dense_1"])
    assert not same(trained(slot, after)["dense_2"], trained(slot, before)["dense_2"])
    assert "trained weights for dense_1, dense_2" in log_of(slot, after)


def test_going_on_from_an_epoch_begins_with_its_weights(slot: Slot) -> None:
    parent = train(slot)
    start = from_npz(artifact(slot, parent, "epoch-2.npz"))
    still = {"type": "sgd", "learning_rate": 1e-30}
    child = train(slot, initial_weights={"job": parent.id, "epoch": 2}, optimizer=still, epochs=1)
    assert all(same(start[name], weights) for name, weights in trained(slot, child).items())


def test_a_layer_of_another_size_keeps_its_own_initial_values(slot: Slot) -> None:
    train(slot, model="ten")
    two = {"dataset": {"name": "digits", "classes": [3, 8]}}
    layers = {"layers": ["flatten", DENSE, {"type": "dense", "units": 2, "activation": "softmax"}]}
    job = train(slot, **two, network=layers, initial_weights={"model": "ten"})
    assert job.status == Status.SUCCEEDED
    assert "dense_2 begin with initial values" in log_of(slot, job)


def test_weights_that_went_away_fail_the_job_with_the_reason(slot: Slot) -> None:
    parent = train(slot, model="gone")
    with slot.database.write() as session:
        spec = with_initial_weights(session, parse_spec(SMALL | {"initial_weights": {"model": "gone:1"}}))
        job_id = jobs.create(session, spec).id
    slot.store.delete(f"jobs/{parent.id}/1/model.keras")
    try_job(slot, job_id)
    with slot.database.read() as session:
        job = session.get_one(Job, job_id)
    assert (job.status, job.failure_kind) == (Status.FAILED, "user")
    assert "model.keras" in (job.failure_message or "")


def test_weights_that_were_changed_are_not_used(slot: Slot) -> None:
    parent = train(slot, model="changed")
    slot.store.write(f"jobs/{parent.id}/1/model.keras", b"something else")
    job = train(slot, initial_weights={"model": "changed"})
    assert (job.status, job.failure_kind) == (Status.FAILED, "user")
    assert "checksum" in (job.failure_message or "")


def test_a_cancelled_job_leaves_its_epochs_to_go_on_from(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    with slot.database.write() as session:
        job_id = jobs.create(session, parse_spec(SMALL | {"epochs": 20})).id
    record, seen = jobs.record_epochs, iter(range(1, 100))

    def cancelling(session: Any, *arguments: Any, **values: Any) -> bool:
        done = record(session, *arguments, **values)
        if next(seen) == 4:
            requests.request_cancel(session, job_id, keep_model=False)
        return done

    monkeypatch.setattr(jobs, "record_epochs", cancelling)
    monkeypatch.setattr("worker.callbacks.LOOK_SECONDS", 0.0)
    try_job(slot, job_id)
    with slot.database.read() as session:
        job = session.get_one(Job, job_id)
        # The epoch that was trained while the fourth was written may have come to its end.
        assert (job.status, job.epoch in (4, 5)) == (Status.CANCELLED, True)
        assert kept_epochs(session, job_id) == list(range(1, job.epoch + 1))
        assert registry.names(session) == []
    monkeypatch.undo()
    child = train(slot, initial_weights={"job": job_id, "epoch": 3})
    assert child.status == Status.SUCCEEDED

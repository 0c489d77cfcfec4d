"""Jobs of the kind `export`: what they leave with the job whose model they write, and how they end."""

from typing import Any

import keras
import numpy as np
import pytest

from models import jobs, registry, requests
from models.history import Event
from models.jobs import Job, Status
from models.references import with_references
from models.registry import Artifact
from models.spec import parse_spec
from tests.worker.test_export import twin_of
from worker import data, saved_model
from worker.attempt import try_job
from worker.export import export_keras
from worker.kinds import export_model, steps
from worker.slot import Slot

SMALL: list[Any] = ["flatten", {"type": "dense", "units": 4, "activation": "gelu"}, {"type": "dense", "units": 10}]
ASK = {"tf_saved_model": saved_model.ask_saved_model, "litert": saved_model.ask_litert}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports whose file does not matter."""
    monkeypatch.setattr(export_model, "_written", lambda twin, wanted: b"a file")
    monkeypatch.setattr(export_model, "_compared", lambda content, wanted, twin, split: "the same")


def source_of(slot: Slot, layers: list[Any] = SMALL) -> tuple[str, keras.Model]:
    """A job with a model, as if it had trained, and the model."""
    body = {"dataset": "digits", "network": {"layers": layers}}
    _, twin = twin_of(body)
    with slot.database.write() as session:
        job_id = jobs.create(session, parse_spec(body)).id
        assert jobs.claim(session, job_id, "w1")
        stored = slot.store.write(f"jobs/{job_id}/1/model.keras", export_keras(twin))
        registry.add_artifacts(session, job_id, {"model.keras": stored})
        assert jobs.move(session, job_id, Status.SUCCEEDED)
    return job_id, twin


def submit(slot: Slot, source: str, wanted: str) -> str:
    spec = parse_spec({"kind": "export", "dataset": "digits", "export": {"job": source, "format": wanted}})
    with slot.database.write() as session:
        return jobs.create(session, with_references(session, spec)).id


def read(slot: Slot, job_id: str) -> Job:
    with slot.database.read() as session:
        return session.get_one(Job, job_id)


def artifact(slot: Slot, job_id: str, name: str) -> Artifact | None:
    with slot.database.read() as session:
        return session.get(Artifact, (job_id, name))


def told(slot: Slot, job_id: str) -> str:
    with slot.database.read() as session:
        return " ".join(str(event.data) for event in session.query(Event).filter_by(job_id=job_id))


@pytest.mark.parametrize(("wanted", "name"), [("tf_saved_model", "saved_model.zip"), ("litert", "model.tflite")])
def test_the_file_becomes_an_artifact_of_the_source(slot: Slot, wanted: str, name: str) -> None:
    source, twin = source_of(slot)
    export = submit(slot, source, wanted)
    assert try_job(slot, export)
    job = read(slot, export)
    assert (job.status, job.epoch, job.epochs, job.model_name) == ("succeeded", 2, 2, None)
    found = artifact(slot, source, name)
    assert found is not None
    assert artifact(slot, export, name) is None
    assert found.key == f"jobs/{source}/exports/{export}/1/{name}"
    digits = data.load("digits", slot.settings.datasets, True).x_test.astype(np.float32)
    answers = ASK[wanted](slot.store.read_verified(found.key, found.sha256), digits)
    assert np.allclose(answers, twin(digits), atol=1e-5)
    assert f"it answers {len(digits)} test examples as Keras does: largest difference" in told(slot, export)


def test_made_once_more_it_takes_the_place_of_the_first(slot: Slot, quick: None) -> None:
    source, _ = source_of(slot)
    exports = [submit(slot, source, "litert") for _ in range(2)]
    for export in exports:
        assert try_job(slot, export)
    found = artifact(slot, source, "model.tflite")
    assert found is not None
    assert exports[1] in found.key


def test_what_litert_cannot_say_is_the_users_to_know(slot: Slot) -> None:
    long = [{"type": "reshape", "target_shape": [392, 2]}, {"type": "gru", "units": 2}, {"type": "dense", "units": 10}]
    source, _ = source_of(slot, long)
    export = submit(slot, source, "litert")
    try_job(slot, export)
    job = read(slot, export)
    assert (job.status, job.failure_kind) == ("failed", "user")
    assert job.failure_message is not None
    assert "the recurrent layer gru_1" in job.failure_message
    assert artifact(slot, source, "model.tflite") is None


def test_a_file_that_answers_otherwise_is_not_kept(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = source_of(slot)
    monkeypatch.setattr(saved_model, "ask_litert", lambda content, images: np.zeros((len(images), 10), np.float32))
    export = submit(slot, source, "litert")
    try_job(slot, export)
    job = read(slot, export)
    assert (job.status, job.failure_kind) == ("failed", "internal")
    assert job.failure_message is not None
    assert job.failure_message.startswith("LiteRT and Keras differ by")
    assert slot.store.keys(f"jobs/{source}/exports") == []


def test_a_damaged_model_is_not_exported(slot: Slot) -> None:
    source, _ = source_of(slot)
    slot.store.write(f"jobs/{source}/1/model.keras", b"something else")
    export = submit(slot, source, "litert")
    try_job(slot, export)
    job = read(slot, export)
    assert (job.status, job.failure_kind) == ("failed", "user")
    assert job.failure_message is not None
    assert "checksum differs" in job.failure_message


@pytest.mark.parametrize("event", ["deleted", "cancelled"])
def test_what_comes_meanwhile_is_obeyed(slot: Slot, quick: None, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    source, _ = source_of(slot)
    export = submit(slot, source, "litert")
    written = slot.store.write

    def write(key: str, content: bytes) -> Any:
        with slot.database.write() as session:
            if event == "deleted":
                session.delete(session.get_one(Job, source))
            else:
                assert requests.request_cancel(session, export, keep_model=False) == "requested"
        return written(key, content)

    monkeypatch.setattr(slot.store, "write", write)
    try_job(slot, export)
    job = read(slot, export)
    expected = ("failed", "user") if event == "deleted" else ("cancelled", None)
    assert (job.status, job.failure_kind) == expected
    assert artifact(slot, source, "model.tflite") is None
    assert slot.store.keys(f"jobs/{source}/exports") == []


def test_a_worker_that_stops_hands_the_export_back(slot: Slot, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = source_of(slot)
    export = submit(slot, source, "tf_saved_model")
    monkeypatch.setattr(steps, "LOOK_SECONDS", 0.0)
    slot._stopping.set()
    try_job(slot, export)
    assert read(slot, export).status == "queued"
    slot._stopping.clear()
    try_job(slot, export)
    found = artifact(slot, source, "saved_model.zip")
    assert (read(slot, export).status, read(slot, export).attempt) == ("succeeded", 2)
    assert found is not None
    assert found.key == f"jobs/{source}/exports/{export}/2/saved_model.zip"

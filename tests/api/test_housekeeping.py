"""What is removed, and what never is: leftover files, old answers, jobs long over; and a disk that is nearly full."""

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import disk
from api.deps import Room
from api.housekeeping import GRACE_SECONDS, Housekeeping
from models import jobs, registry
from models.artifacts import ArtifactStore
from models.database import Database, now
from models.history import EpochResult
from models.idempotency import keep_answer, take_key
from models.jobs import Job, Status
from models.registry import ModelVersion
from models.settings import Settings
from models.spec import parse_spec
from tests.api.conftest import add_version, claim, submit
from tests.servers import wait_until

LATER = GRACE_SECONDS + 1


class Yard:
    """A database and a store with whatever a test has happen to them."""

    def __init__(self, database: Database, store: ArtifactStore, **settings: float) -> None:
        self.database, self.store = database, store
        self.keeping = Housekeeping(Settings(**settings), database, store)  # type: ignore[arg-type]
        self.moment = 0.0

    def job(self, *ways: Status, **spec: object) -> str:
        """A job that was brought to a status, claimed wherever it began to run."""
        with self.database.write() as session:
            job_id = jobs.create(session, parse_spec({"dataset": "digits", **spec})).id
            for way in ways:
                if way == Status.RUNNING:
                    assert jobs.claim(session, job_id, "w1") is not None
                else:
                    assert jobs.move(session, job_id, way)
        return job_id

    def write(self, *keys: str) -> None:
        for key in keys:
            self.store.write(key, b"some bytes")

    def name(self, job_id: str, key: str) -> None:
        """Put a file on record as an artifact."""
        stored = self.store.write(key, b"some bytes")
        with self.database.write() as session:
            registry.add_artifacts(session, job_id, {key.rpartition("/")[2]: stored})

    def tidy(self) -> list[str]:
        """What is there after two rounds, between which a leftover has become old."""
        for _ in range(2):
            self.keeping.tidy(self.moment)
            self.moment += LATER
        return self.store.keys("jobs", unfinished=True)


@pytest.fixture
def yard(sqlite_url: str, tmp_path: Path) -> Iterator[Yard]:
    with closing(Database(sqlite_url)) as database:
        yield Yard(database, ArtifactStore(f"file://{tmp_path / 'store'}"))


def test_what_a_running_attempt_writes_stays_and_what_earlier_ones_left_goes(yard: Yard) -> None:
    job = yard.job(Status.RUNNING, Status.QUEUED, Status.RUNNING)
    old, new = f"jobs/{job}/1", f"jobs/{job}/2"
    with yard.database.write() as session:
        session.get_one(Job, job).checkpoint = f"{old}/checkpoints/3.npz"
    yard.name(job, f"jobs/{job}/epochs/1/weights-2.npz")
    kept = [
        *(f"{old}/checkpoints/3.npz", f"jobs/{job}/epochs/1/weights-2.npz", f"jobs/{job}/epochs/2/weights-4.npz"),
        *(f"{new}/checkpoints/4.npz", f"{new}/model.onnx", f"{new}/model.keras.0a1b2c3d.part"),
    ]
    yard.write(*kept, f"{old}/checkpoints/2.npz", f"{old}/model.onnx", f"{old}/x.0a1b2c3d.part")
    yard.write(f"jobs/{job}/epochs/1/weights-3.npz")
    assert yard.tidy() == sorted(kept)


def test_the_checkpoint_of_a_job_that_waits_stays(yard: Yard) -> None:
    for ways in ((Status.RUNNING, Status.QUEUED), (Status.RUNNING, Status.PAUSED)):
        job = yard.job(*ways)
        with yard.database.write() as session:
            session.get_one(Job, job).checkpoint = f"jobs/{job}/1/checkpoints/9.npz"
        yard.write(f"jobs/{job}/1/checkpoints/8.npz", f"jobs/{job}/1/checkpoints/9.npz")
    assert [key[-5:] for key in yard.tidy()] == ["9.npz", "9.npz"]


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED])
def test_of_a_job_that_ended_what_is_on_record_stays(yard: Yard, status: Status) -> None:
    job = yard.job(Status.RUNNING, status)
    with yard.database.write() as session:
        session.get_one(Job, job).checkpoint = f"jobs/{job}/1/checkpoints/9.npz"
    yard.name(job, f"jobs/{job}/1/model.onnx")
    yard.write(f"jobs/{job}/1/checkpoints/9.npz", f"jobs/{job}/1/history.csv", f"jobs/{job}/1/m.0a1b2c3d.part")
    assert yard.tidy() == [f"jobs/{job}/1/model.onnx"]


def test_an_export_in_progress_keeps_its_file_in_the_folder_of_its_source(yard: Yard) -> None:
    source, over = yard.job(Status.RUNNING, Status.SUCCEEDED), yard.job(Status.RUNNING, Status.FAILED)
    running = yard.job(Status.RUNNING)
    yard.name(source, f"jobs/{source}/1/model.keras")
    kept = [f"jobs/{source}/1/model.keras", f"jobs/{source}/exports/{running}/1/model.tflite"]
    yard.write(kept[1], f"jobs/{source}/exports/{over}/1/model.tflite")
    assert yard.tidy() == sorted(kept)


def test_files_of_deleted_jobs_and_probes_go_and_only_when_they_are_left_over_for_a_while(yard: Yard) -> None:
    job = yard.job(Status.RUNNING)
    yard.write(f"jobs/{job}/1/model.onnx", "jobs/job_gone/1/model.onnx", "jobs/job_gone/1/deep/x", "jobs/probe-0a1b2c")
    yard.keeping.tidy(0.0)
    yard.keeping.tidy(GRACE_SECONDS - 1)
    assert len(yard.store.keys("jobs")) == 4
    yard.keeping.tidy(GRACE_SECONDS)
    assert yard.store.keys("jobs") == [f"jobs/{job}/1/model.onnx"]


def test_the_same_in_a_bucket(sqlite_url: str, bucket_url: str) -> None:
    with closing(Database(sqlite_url)) as database:
        yard = Yard(database, ArtifactStore(bucket_url))
        job = yard.job(Status.RUNNING, Status.QUEUED, Status.RUNNING)
        yard.write("jobs/job_gone/1/x", "jobs/probe-0a1b2c", f"jobs/{job}/1/model.onnx", f"jobs/{job}/2/model.onnx")
        assert yard.tidy() == [f"jobs/{job}/2/model.onnx"]


def test_the_store_of_another_database_is_left_alone(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    yard.job()
    yard.write("jobs/job_theirs/1/model.onnx", "jobs/job_theirs_too/1/model.onnx")
    assert len(yard.tidy()) == 2
    assert "none of which is in this database" in caplog.text


def test_a_store_that_is_away_is_looked_at_later(tmp_path: Path, sqlite_url: str) -> None:
    with closing(Database(sqlite_url)) as database:
        yard = Yard(database, ArtifactStore(f"file://{tmp_path / 'store'}"))
        yard.job()
        yard.write("jobs/probe-0a1b2c")
        (tmp_path / "store").rename(tmp_path / "away")
        yard.keeping.tidy(0.0)
        (tmp_path / "away").rename(tmp_path / "store")
        assert yard.tidy() == []


def test_a_job_that_ends_while_the_store_is_listed_keeps_its_model(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    job = yard.job(Status.RUNNING)
    key = f"jobs/{job}/1/model.onnx"
    yard.write(key)
    listed = yard.store.keys

    def list_and_end(prefix: str, *, unfinished: bool = False) -> list[str]:
        found = listed(prefix, unfinished=unfinished)
        with yard.database.write() as session:
            registry.add_artifacts(session, job, {"model.onnx": yard.store.write(key, b"some bytes")})
            jobs.move(session, job, Status.SUCCEEDED)
        later = yard.job(Status.RUNNING)
        yard.write(f"jobs/{later}/1/model.onnx")
        return found

    monkeypatch.setattr(yard.store, "keys", list_and_end)
    yard.keeping.tidy(0.0)
    yard.keeping.tidy(LATER)
    monkeypatch.undo()
    assert key in yard.store.keys("jobs")
    assert len(yard.store.keys("jobs")) == 3


def test_answers_are_forgotten_when_their_time_is_over(database: Database, tmp_path: Path) -> None:
    yard = Yard(database, ArtifactStore(f"file://{tmp_path}"), idempotency_hours=1.0)
    for key, age in (("old", 61), ("young", 59)):
        with database.write() as session:
            assert take_key(session, "ada", key, "0" * 64) is None
            keep_answer(session, "ada", key, "/v1/jobs/x", {"id": "x"})
            row = take_key(session, "ada", key, "0" * 64)
            assert row is not None
            row.created_at = now() - timedelta(minutes=age)
    yard.keeping.tidy(0.0)
    with database.write() as session:
        assert take_key(session, "ada", "old", "0" * 64) is None
        assert take_key(session, "ada", "young", "0" * 64) is not None


def test_jobs_long_over_are_deleted_but_for_those_that_are_needed(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    yard = Yard(database, ArtifactStore(f"file://{tmp_path}"), retention_days=7.0)
    failed, cancelled = yard.job(Status.RUNNING, Status.FAILED), yard.job(Status.CANCELLED)
    young, needed = yard.job(Status.CANCELLED), yard.job(Status.RUNNING, Status.CANCELLED)
    succeeded, waiting = yard.job(Status.RUNNING, Status.SUCCEEDED), yard.job()
    kept_model = yard.job(Status.RUNNING)
    with database.write() as session:
        jobs.record_epochs(
            session, kept_model, 1, [EpochResult(1, 1.0, 0.1, {"loss": 1.0})], EpochResult(1, 1.0, 0.1, {})
        )
        jobs.move(session, kept_model, Status.CANCELLED)
        facts = {"dataset": "digits", "test_loss": 1.0, "parameters": 1, "class_count": 10, "serving": {}}
        registry.add_version(session, ModelVersion(name="digits", job_id=kept_model, **facts))
        for job_id in (failed, cancelled, needed, succeeded, kept_model):
            session.get_one(Job, job_id).finished_at = now() - timedelta(days=8)
        row = session.get_one(Job, waiting)
        row.spec = row.spec | {"initial_weights": {"job": needed, "epoch": 1}}
    yard.write(f"jobs/{failed}/1/x", f"jobs/{needed}/epochs/1/x")
    yard.keeping.tidy(0.0)
    with database.read() as session:
        there = {
            job_id
            for job_id in (failed, cancelled, young, needed, succeeded, waiting, kept_model)
            if session.get(Job, job_id) is not None
        }
    assert there == {young, needed, succeeded, waiting, kept_model}
    assert yard.store.keys(f"jobs/{failed}") == []
    assert failed in caplog.text


def test_nothing_is_deleted_where_no_time_is_set(database: Database, tmp_path: Path) -> None:
    yard = Yard(database, ArtifactStore(f"file://{tmp_path}"))
    job = yard.job(Status.CANCELLED)
    with database.write() as session:
        session.get_one(Job, job).finished_at = now() - timedelta(days=4000)
    yard.keeping.tidy(0.0)
    with database.read() as session:
        assert session.get(Job, job) is not None


def test_a_run_of_a_study_that_goes_on_cannot_be_deleted(client: TestClient, room: Room) -> None:
    body = {"base": {"dataset": "digits"}, "vary": {"/seed": [1, 2]}, "parallel": 1}
    study = client.post("/v1/studies", json=body).json()

    def runs() -> list[dict[str, Any]]:
        return list(client.get("/v1/jobs", params={"study": study["id"]}).json()["data"])

    wait_until(lambda: bool(runs()), "the first run")
    run = runs()[0]["id"]
    claim(room, run)
    with room.database.write() as session:
        jobs.move(session, run, Status.FAILED, failure_kind="internal", failure_message="it broke")
    refused = client.delete(f"/v1/jobs/{run}")
    assert refused.status_code == 409
    assert study["id"] in refused.json()["detail"]
    client.post(f"/v1/studies/{study['id']}/cancel")
    assert client.delete(f"/v1/jobs/{run}").status_code == 204


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/studies"])
def test_a_disk_nearly_full_takes_no_new_jobs(
    client: TestClient, room: Room, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(room, says=3)
    body = {"dataset": "digits"} if path == "/v1/jobs" else {"base": {"dataset": "digits"}, "vary": {"/seed": [1]}}
    first = client.post(path, json=body, headers={"Idempotency-Key": "1"})
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 123_456_789)
    refused = client.post(path, json=body)
    assert refused.status_code == 507
    assert "123 MB are free" in refused.json()["detail"]
    assert "500 MB" in refused.json()["detail"]
    assert client.post(path, json=body, headers={"Idempotency-Key": "1"}).json() == first.json()
    assert "nearly full" in client.get("/readyz").json()["disk"]
    assert client.post("/predict", json={"pixels": [[255] * 28] * 28}).status_code == 200
    monkeypatch.setattr(disk, "free_bytes", lambda _: 500_000_000)
    assert client.post(path, json=body).status_code == 201
    assert client.get("/readyz").json()["disk"] == "ok"


def test_the_disk_is_asked_at_most_once_a_second(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LOOK_SECONDS", 3600.0)
    submit(client)
    monkeypatch.setattr(disk, "free_bytes", lambda _: pytest.fail("asked again"))
    submit(client)

"""SavedModel and LiteRT by HTTP: one job makes them when they are first asked for; here the test plays the worker."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.deps import Room
from api.errors import Conflict
from api.exports import _patience, made_by
from models import jobs, registry
from models.artifacts import Stored
from models.database import Database
from models.jobs import Job, Status
from models.spec import parse_spec
from tests.api.conftest import claim, submit
from tests.servers import wait_until

NOW = {"Prefer": "wait=0"}
CONTENT = b"a file in another format"


def with_model(database: Database, **spec: Any) -> str:
    """A job on record that has a model."""
    with database.write() as session:
        job = jobs.create(session, parse_spec({"dataset": "digits"} | spec))
        assert jobs.claim(session, job.id, "w1")
        registry.add_artifacts(session, job.id, {"model.keras": Stored("key", 1, "00")})
        assert jobs.move(session, job.id, Status.SUCCEEDED)
        return job.id


def finish(room: Room, source: str, name: str, export: str) -> None:
    """End an export as a worker would."""
    claim(room, export)
    stored = room.store.write(f"jobs/{source}/exports/{export}/1/{name}", CONTENT)
    with room.database.write() as session:
        registry.add_artifacts(session, source, {name: stored})
        assert jobs.move(session, export, Status.SUCCEEDED)


def end(room: Room, export: str, status: Status, **values: Any) -> None:
    claim(room, export)
    with room.database.write() as session:
        assert jobs.move(session, export, status, **values)


def exports(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Job.id).where(Job.kind == "export").order_by(Job.id)))


@pytest.fixture
def source(room: Room) -> str:
    """A job with a model."""
    return with_model(room.database)


@pytest.mark.parametrize(("name", "wanted"), [("saved_model.zip", "tf_saved_model"), ("model.tflite", "litert")])
def test_the_first_request_submits_one_job(client: TestClient, room: Room, source: str, name: str, wanted: str) -> None:
    url = f"/v1/jobs/{source}/artifacts/{name}"
    first, second = (client.get(url, headers=NOW) for _ in range(2))
    assert first.status_code == second.status_code == 202
    body = first.json()
    assert first.headers["Location"] == second.headers["Location"] == f"/v1/jobs/{body['id']}"
    assert int(first.headers["Retry-After"]) > 0
    assert (body["kind"], body["status"], body["spec"]["priority"]) == ("export", "queued", 9)
    assert body["queue"] == {"position": 1, "waiting_for": "no worker is online"}
    assert body["spec"]["export"] == {"job": source, "format": wanted}
    assert not {"network", "model", "loss", "epochs"} & body["spec"].keys()
    assert exports(room.database) == [body["id"]]
    finish(room, source, name, body["id"])
    served = client.get(url)
    assert (served.status_code, served.content) == (200, CONTENT)
    assert client.get(url, headers={"If-None-Match": served.headers["ETag"]}).status_code == 304
    assert client.get(url, headers={"Range": "bytes=2-5"}).content == CONTENT[2:6]
    assert name in [row["name"] for row in client.get(f"/v1/jobs/{source}/artifacts").json()["data"]]
    assert len(exports(room.database)) == 1
    assert client.get(first.headers["Location"]).json()["links"]["file"] == url


def test_who_waits_is_served_when_it_is_made(client: TestClient, room: Room, source: str) -> None:
    def work() -> None:
        wait_until(lambda: exports(room.database) != [], "the export")
        finish(room, source, "model.tflite", *exports(room.database))

    worker = threading.Thread(target=work)
    worker.start()
    answer = client.get(f"/v1/jobs/{source}/artifacts/model.tflite")
    worker.join()
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_who_waits_is_told_when_it_fails_and_a_post_tries_again(client: TestClient, room: Room, source: str) -> None:
    url = f"/v1/jobs/{source}/artifacts/model.tflite"
    export = client.get(url, headers=NOW).json()
    end(room, export["id"], Status.FAILED, failure_kind="user", failure_message="LiteRT has no form for it.")
    refused = client.get(url)
    assert refused.status_code == 409
    assert export["id"] in refused.json()["detail"]
    assert "LiteRT has no form for it." in refused.json()["detail"]
    assert exports(room.database) == [export["id"]]
    assert client.get(f"/v1/jobs/{source}/artifacts/saved_model.zip", headers=NOW).status_code == 202
    again = client.post("/v1/jobs", json=export["spec"])
    assert again.status_code == 201
    assert client.get(url, headers=NOW).json()["id"] == again.json()["id"]


def test_after_a_cancel_another_request_starts_anew(client: TestClient, room: Room, source: str) -> None:
    url = f"/v1/jobs/{source}/artifacts/model.tflite"
    first = client.get(url, headers=NOW).json()["id"]
    assert client.post(f"/v1/jobs/{first}/cancel").status_code == 202
    assert client.get(url, headers=NOW).json()["id"] != first


def test_head_starts_nothing(client: TestClient, room: Room, source: str) -> None:
    url = f"/v1/jobs/{source}/artifacts/model.tflite"
    assert client.head(url).status_code == 404
    assert exports(room.database) == []
    finish(room, source, "model.tflite", client.get(url, headers=NOW).json()["id"])
    there = client.head(url)
    assert (there.status_code, there.headers["Content-Length"]) == (200, str(len(CONTENT)))


def test_a_job_without_a_model_has_nothing_to_export(client: TestClient, room: Room) -> None:
    waiting = submit(client)["id"]
    answer = client.get(f"/v1/jobs/{waiting}/artifacts/saved_model.zip")
    assert (answer.status_code, exports(room.database)) == (409, [])
    assert "queued and has no model yet" in answer.json()["detail"]
    end(room, waiting, Status.FAILED)
    assert "failed without a model" in client.get(f"/v1/jobs/{waiting}/artifacts/model.tflite").json()["detail"]
    assert client.get("/v1/jobs/job_x/artifacts/model.tflite").status_code == 404


def test_a_source_stays_while_it_is_exported(client: TestClient, room: Room, source: str) -> None:
    export = client.get(f"/v1/jobs/{source}/artifacts/model.tflite", headers=NOW).json()["id"]
    refused = client.delete(f"/v1/jobs/{source}")
    assert refused.status_code == 409
    assert export in refused.json()["detail"]
    finish(room, source, "model.tflite", export)
    assert client.delete(f"/v1/jobs/{source}").status_code == 204
    assert room.store.keys(f"jobs/{source}") == []
    assert client.get(f"/v1/jobs/{export}").json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"export": {"job": "job_x", "format": "litert"}}, "/export/job"),
        ({"export": {"format": "litert"}}, "/export/job"),
        ({"export": {"job": "source", "format": "onnx"}}, "/export/format"),
        ({"dataset": "mnist"}, "/dataset"),
        ({"network": "cnn"}, "/network"),
        ({"epochs": 3}, "/epochs"),
        ({"export": None}, "/export"),
    ],
)
def test_what_an_export_must_say(client: TestClient, source: str, changes: dict[str, Any], pointer: str) -> None:
    body: dict[str, Any] = {"kind": "export", "dataset": "digits", "export": {"job": "source", "format": "litert"}}
    body |= changes
    if body["export"] and body["export"].get("job") == "source":
        body["export"] = body["export"] | {"job": source}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_only_a_job_with_a_model_can_be_exported(client: TestClient) -> None:
    waiting = submit(client)["id"]
    body = {"kind": "export", "dataset": "digits", "export": {"job": waiting, "format": "litert"}}
    answer = client.post("/v1/jobs", json=body)
    assert answer.json()["errors"][0]["detail"].startswith("must be a job with a model; this one is queued")


def test_an_export_has_no_network(client: TestClient, source: str) -> None:
    body = {"kind": "export", "dataset": "digits", "export": {"job": source, "format": "litert"}}
    assert client.post("/v1/jobs/validate", json=body).json()["summary"] is None
    export = client.post("/v1/jobs", json=body).json()
    assert client.get(f"/v1/jobs/{export['id']}/summary").status_code == 409
    assert (export["spec"]["priority"], export["progress"]["epochs"]) == (5, 2)


@pytest.fixture
def alone(database: Database) -> Room:
    """A room with a database, on each engine in turn, and a bell that nobody hears."""
    return cast(Room, SimpleNamespace(database=database, doorbell=SimpleNamespace(ring=lambda job: True)))


def test_of_many_requests_at_once_one_submits_the_job(alone: Room) -> None:
    source = with_model(alone.database, network="cnn")
    other = with_model(alone.database)
    with alone.database.read() as session:
        rows = [session.get_one(Job, source), session.get_one(Job, other)]
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda n: made_by(alone, rows[n % 2], "litert"), range(16)))
    ids = {job.id for job in asked if job is not None}
    assert len(ids) == 2
    assert {job.spec["export"]["job"] for job in asked if job is not None} == {source, other}
    with alone.database.read() as session:
        assert session.scalars(select(func.count()).where(Job.kind == "export")).one() == 2
        assert {jobs.waits_for_weights_of(session, row.id) for row in rows} == ids


def test_a_failed_one_is_told_on_each_engine(alone: Room) -> None:
    source = with_model(alone.database)
    with alone.database.read() as session:
        row = session.get_one(Job, source)
    export = made_by(alone, row, "litert")
    assert export is not None
    with alone.database.write() as session:
        assert jobs.claim(session, export.id, "w1")
        assert jobs.move(session, export.id, Status.FAILED, failure_kind="timeout", failure_message="Too slow.")
    with pytest.raises(Conflict, match=rf"{export.id}.* has failed. Too slow."):
        made_by(alone, row, "litert")
    other = made_by(alone, row, "tf_saved_model")
    assert other is not None
    assert other.id != export.id


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("", 30), ("wait=0", 0), ("respond-async, wait=7", 7), ("WAIT = 9;x=1", 9), ("wait=600", 30), ("await=3", 30)],
)
def test_how_long_a_request_waits(prefer: str, seconds: float) -> None:
    assert _patience(prefer) == seconds

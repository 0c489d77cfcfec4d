"""Which version is served, in every API process: after aliases move, versions come and go, and files are damaged."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from api.main import create_app
from models import jobs, registry
from models.jobs import Job, Status
from models.settings import Settings
from models.spec import parse_spec
from tests.api.conftest import LOCAL, add_version
from tests.factories.networks import linear_onnx

BLANK = [[255] * 28] * 28
PATIENCE = 10.0


@pytest.fixture
def other(client: TestClient, settings: Settings) -> Iterator[TestClient]:
    """A second API process's stand-in: an app of its own on the same database and artifacts."""
    with TestClient(create_app(settings), base_url=LOCAL, raise_server_exceptions=False) as made:
        yield made


def ask(client: TestClient, ref: str = "digits") -> int | None:
    """What the model says, or None where there is none."""
    answer = client.post(f"/v1/models/{ref}/predict" if ref else "/predict", json={"pixels": BLANK})
    if answer.status_code == 404:
        return None
    assert answer.status_code == 200, answer.text
    label: int = answer.json()["predictions"][0]["label"]
    return label


def until(client: TestClient, expected: int | None, ref: str = "digits") -> None:
    """Wait until the model says so."""
    deadline = time.monotonic() + PATIENCE
    while (said := ask(client, ref)) != expected:
        assert time.monotonic() < deadline, f"{ref} still says {said}, not {expected}"
        time.sleep(0.02)


def pin(client: TestClient, alias: str, version: int) -> dict[str, Any]:
    answer = client.put(f"/v1/models/digits/aliases/{alias}", json={"version": version})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def files_of(settings: Settings, room: Room, version: int) -> Path:
    """The folder with a version's ONNX file."""
    with room.database.read() as session:
        found = registry.resolve(session, f"digits:{version}")
    assert found is not None
    return settings.home / "artifacts" / "jobs" / found.job_id / "1"


def test_every_process_serves_a_moved_alias(client: TestClient, other: TestClient, room: Room) -> None:
    first, second = add_version(room, says=1), add_version(room, says=2, accuracy=0.8)
    for each in (client, other):
        until(each, 1)
        until(each, 1, "")
    pin(client, "champion", second)
    assert [ask(client, ref) for ref in ("digits", "digits@champion", "")] == [2, 2, 2]
    for ref in ("digits", "digits@champion", ""):
        until(other, 2, ref)
    assert ask(other, f"digits:{first}") == 1
    assert client.delete("/v1/models/digits/aliases/champion").status_code == 204
    assert ask(client) == 1
    until(other, 1)


def test_a_better_version_becomes_champion_and_is_ready_before_anybody_asks(client: TestClient, room: Room) -> None:
    add_version(room, says=1)
    until(client, 1)
    number = add_version(room, says=5, accuracy=0.99)
    until(client, 5)
    deadline = time.monotonic() + PATIENCE
    while room.serving.remembered(f"digits:{number}") is None:
        assert time.monotonic() < deadline, "the newest version was not loaded"
        time.sleep(0.02)


def test_the_default_model_is_the_better_known_name_once_there_is_one(client: TestClient, room: Room) -> None:
    add_version(room, says=1, name="digits")
    until(client, 1, "")
    add_version(room, says=2, name="mnist")
    until(client, 2, "")


def test_a_deleted_version_is_gone_everywhere_and_its_job_free(
    client: TestClient, other: TestClient, room: Room
) -> None:
    number = add_version(room, says=1)
    (job_id,) = (version["job_id"] for version in client.get("/v1/models/digits/versions").json()["data"])
    for each in (client, other):
        until(each, 1, f"digits:{number}")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 409
    assert client.delete(f"/v1/models/digits/versions/{number}").status_code == 204
    assert (ask(client, f"digits:{number}"), ask(client)) == (None, None)
    until(other, None, f"digits:{number}")
    until(other, None)
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["model"]) == ("succeeded", None)
    assert f"digits:{number} was deleted" in client.get(f"/v1/jobs/{job_id}/log").text
    assert client.post(f"/v1/jobs/{job_id}/predict", json={"pixels": BLANK}).status_code == 409
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert add_version(room, says=3) == number + 1
    until(client, 3)


def test_a_version_that_is_needed_cannot_be_deleted(client: TestClient, room: Room) -> None:
    pinned, member, origin = (add_version(room, says=says) for says in (1, 2, 3))
    pin(client, "lab", pinned)
    with room.database.write() as session:
        weights = {"initial_weights": {"model": f"digits:{origin}"}, "network": "mlp"}
        jobs.create(session, parse_spec({"dataset": "digits", **weights}))
        members = {"members": [f"digits:{member}", f"digits:{pinned}"]}
        jobs.create(session, parse_spec({"kind": "ensemble", "dataset": "digits", "ensemble": members}))
    for number, why in ((pinned, "has not ended"), (member, "has not ended"), (origin, "has not ended")):
        answer = client.delete(f"/v1/models/digits/versions/{number}")
        assert (answer.status_code, why in answer.json()["detail"]) == (409, True), answer.text
    with room.database.write() as session:
        for job in session.query(Job).filter(Job.status == Status.QUEUED):
            jobs.move(session, job.id, Status.CANCELLED)
    answer = client.delete(f"/v1/models/digits/versions/{pinned}")
    assert (answer.status_code, "called lab" in answer.json()["detail"]) == (409, True), answer.text
    for number in (member, origin):
        assert client.delete(f"/v1/models/digits/versions/{number}").status_code == 204


def test_a_corrupted_or_missing_file_is_told_and_found_mended(
    client: TestClient, room: Room, settings: Settings
) -> None:
    number = add_version(room, says=4)
    onnx = files_of(settings, room, number) / "model.onnx"
    whole = onnx.read_bytes()
    ref = f"digits:{number}"
    for damage, why in (
        (lambda: onnx.write_bytes(whole[:-1]), "checksum"),
        (onnx.unlink, "gone from"),
    ):
        damage()
        with TestClient(create_app(settings), base_url=LOCAL) as fresh:
            answer = fresh.post(f"/v1/models/{ref}/predict", json={"pixels": BLANK})
            assert (answer.status_code, why in answer.json()["detail"]) == (502, True), answer.text
            assert str(settings.home) not in answer.text
            onnx.write_bytes(whole)
            assert ask(fresh, ref) == 4


def test_models_stay_within_their_memory(client: TestClient, room: Room, settings: Settings) -> None:
    one = len(linear_onnx(np.zeros((784, 10), np.float32)))
    small = settings.model_copy(update={"model_cache_mb": 2.5 * one / 1e6})
    with TestClient(create_app(small), base_url=LOCAL) as fresh:
        numbers = [add_version(room, says=says) for says in range(5)]
        for _ in range(2):
            assert [ask(fresh, f"digits:{number}") for number in numbers] == list(range(5))
        sessions = fresh.app.state.room.serving._sessions  # type: ignore[attr-defined]
        assert len(sessions) == 2


def test_a_version_tells_everything_about_itself(client: TestClient, room: Room) -> None:
    number = add_version(room, says=1)
    add_version(room, says=2, accuracy=0.5)
    assert pin(client, "lab", number)["history"][0]["version"] == number
    detail = client.get(f"/v1/models/digits/versions/{number}").json()
    assert detail["aliases"] == ["champion", "lab"]
    assert detail["spec"]["dataset"]["name"] == "digits"
    listed = client.get(f"/v1/jobs/{detail['job_id']}/artifacts").json()["data"]
    assert ([file["name"] for file in listed], detail["artifacts"]) == (["model.onnx"], listed)
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["champion"]["version"], model["latest"]["version"], model["aliases"]) == (1, 2, {"lab": 1})


def test_the_history_of_an_alias_is_told(client: TestClient, room: Room) -> None:
    add_version(room, says=1), add_version(room, says=2)
    for number in (1, 2, 2):
        pin(client, "lab", number)
    assert client.delete("/v1/models/digits/aliases/lab").status_code == 204
    assert client.get("/v1/models/digits/aliases").json()["data"] == []
    told = client.get("/v1/models/digits/aliases/lab").json()
    assert (told["version"], [move["version"] for move in told["history"]]) == (None, [1, 2, None])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "digits/aliases/lab", {"version": 7}, 404),
        ("PUT", "nobody/aliases/lab", {"version": 1}, 404),
        ("PUT", "digits/aliases/Lab!", {"version": 1}, 422),
        ("PUT", "digits/aliases/lab", {"version": "1"}, 422),
        ("PUT", "digits/aliases/lab", {"version": True}, 422),
        ("PUT", "digits/aliases/lab", {}, 422),
        ("PUT", "digits/aliases/lab", {"version": 1, "stage": "Production"}, 422),
        ("DELETE", "digits/aliases/lab", None, 404),
        ("DELETE", "digits/aliases/champion", None, 404),
        ("GET", "digits/aliases/lab", None, 404),
        ("GET", "nobody/aliases", None, 404),
        ("GET", "digits/versions/2", None, 404),
        ("GET", "digits/versions/0", None, 404),
        ("GET", "digits/versions/99999999999999999999", None, 404),
        ("DELETE", "digits/versions/2", None, 404),
    ],
)
def test_what_is_not_there_or_makes_no_sense(
    client: TestClient, room: Room, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    add_version(room, says=1)
    content = None if body is None else json.dumps(body)
    answer = client.request(method, f"/v1/models/{path}", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"

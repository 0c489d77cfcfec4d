"""Cancel, pause and resume over HTTP; and jobs that are refused, or wait, because of their size."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from api.reaper import Reaper
from models import jobs
from models.history import EpochResult
from models.jobs import Status
from models.spec import parse_spec
from models.spec.summary import memory_mb
from models.workers import Worker
from tests.api.conftest import claim, submit

LARGE = {"layers": ["flatten", {"type": "dense", "units": 2000}, {"type": "dense", "units": 10}]}


def ask(client: TestClient, job: dict[str, Any], what: str, **body: Any) -> tuple[int, str | None, str | None]:
    """Status of the answer; status of the job and what is requested of it, or, of a refusal, why and nothing."""
    answer = client.post(f"/v1/jobs/{job['id']}/{what}", json=body or None)
    found = answer.json()
    return answer.status_code, found.get("detail") or found["status"], found.get("requested")


def learn(room: Room, job_id: str) -> str:
    """Have a worker take the job and learn an epoch; the checkpoint's key."""
    job = claim(room, job_id)
    key = room.store.write(f"jobs/{job_id}/{job.attempt}/checkpoints/1.npz", b"weights").key
    with room.database.write() as session:
        epoch = EpochResult(1, 0.1, 0.001, {"loss": 1.0})
        assert jobs.record_epochs(session, job_id, job.attempt, [epoch], epoch, checkpoint=key)
    return key


@pytest.fixture
def rung(room: Room, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that were rung for."""
    heard: list[str] = []
    monkeypatch.setattr(room.doorbell, "ring", lambda job: heard.append(job.id))
    return heard


def test_a_queued_job_is_paused_and_resumed(client: TestClient, rung: list[str]) -> None:
    job = submit(client)
    rung.clear()
    assert ask(client, job, "resume") == (200, "queued", None)
    assert ask(client, job, "pause") == (202, "paused", None)
    assert ask(client, job, "pause") == (200, "paused", None)
    assert client.get(f"/v1/jobs/{job['id']}").json()["queue"] == {"position": None, "waiting_for": None}
    assert [found["id"] for found in client.get("/v1/jobs?status=paused").json()["data"]] == [job["id"]]
    assert rung == []
    assert ask(client, job, "resume") == (202, "queued", None)
    assert rung == [job["id"]]
    ask(client, job, "pause")
    assert ask(client, job, "cancel") == (202, "cancelled", None)
    assert ask(client, job, "pause") == (409, "The job is cancelled: there is nothing to pause.", None)
    assert ask(client, job, "resume") == (409, "The job is cancelled: there is nothing to resume.", None)


def test_of_a_running_job_a_pause_is_asked_and_taken_back(client: TestClient, room: Room, rung: list[str]) -> None:
    job = submit(client)
    rung.clear()
    claim(room, job["id"])
    assert ask(client, job, "resume") == (200, "running", None)
    assert ask(client, job, "pause") == (202, "running", "pause")
    assert ask(client, job, "pause") == (202, "running", "pause")
    assert ask(client, job, "resume") == (202, "running", None)
    assert ask(client, job, "pause") == (202, "running", "pause")
    assert ask(client, job, "cancel") == (202, "running", "cancel")
    assert ask(client, job, "pause") == (409, "The job is being cancelled: there is nothing to pause.", None)
    assert ask(client, job, "resume") == (409, "The job is being cancelled: there is nothing to resume.", None)
    with room.database.write() as session:
        assert jobs.move(session, job["id"], Status.FAILED)
    assert ask(client, job, "pause") == (409, "The job has failed: there is nothing to pause.", None)
    assert rung == []


@pytest.mark.parametrize("keep", [False, True])
def test_a_paused_job_is_cancelled_with_its_model_or_without(
    client: TestClient, room: Room, rung: list[str], keep: bool
) -> None:
    job = submit(client)
    key = learn(room, job["id"])
    with room.database.write() as session:
        assert jobs.move(session, job["id"], Status.PAUSED)
    rung.clear()
    after = (202, "queued", "cancel") if keep else (202, "cancelled", None)
    assert ask(client, job, "cancel", keep_model=keep) == after
    assert rung == ([job["id"]] if keep else [])
    assert room.store.keys(f"jobs/{job['id']}") == ([key] if keep else [])


def test_requests_to_no_job_are_404(client: TestClient) -> None:
    for what in ("pause", "resume", "cancel"):
        assert ask(client, {"id": "job_none"}, what)[0] == 404


def test_a_network_of_too_many_parameters_is_refused(client: TestClient, room: Room) -> None:
    room.settings.__dict__["max_parameters"] = 1_000_000
    body = {"dataset": "digits", "network": LARGE}
    for url, sent, pointer in (
        ("/v1/jobs", body, "/network"),
        ("/v1/jobs/validate", body, "/network"),
        ("/v1/studies", {"base": body, "vary": {"/seed": [1, 2]}}, "/base/network"),
    ):
        answer = client.post(url, json=sent)
        assert answer.status_code == 422, answer.text
        (problem,) = answer.json()["errors"]
        assert problem["pointer"] == pointer
        assert "at most 1,000,000 parameters" in problem["detail"]
        assert problem["detail"].endswith("Received: parameters=1590010")


def test_the_runs_of_a_study_keep_to_the_limit_too(client: TestClient, room: Room) -> None:
    room.coordinator._most_parameters = 1_000_000
    study = {
        "base": {"dataset": "digits", "network": {"layers": ["flatten", {"type": "dense", "units": 10}]}},
        "vary": {"/network": [LARGE]},
    }
    made = client.post("/v1/studies", json=study)
    assert made.status_code == 201, made.text
    room.coordinator.look()
    (trial,) = client.get(made.headers["Location"]).json()["trials"]
    assert (trial["status"], trial["runs"]) == ("failed", [])
    assert "at most 1,000,000 parameters" in trial["problem"]


def test_what_no_worker_online_has_the_memory_for_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"dataset": "digits", "network": LARGE}
    needed = memory_mb(parse_spec(body))
    assert needed is not None
    assert refusal(client, body, monkeypatch) is None  # nobody is online: it may wait
    assert refusal(client, body, monkeypatch, None, needed - 1) is None  # of one it is not known
    assert refusal(client, body, monkeypatch, needed, needed - 1) is None
    (problem,) = refusal(client, body, monkeypatch, needed - 1, 10)
    assert problem["pointer"] == "/network"
    assert f"needs about {needed:,} MB of memory" in problem["detail"]
    assert f"the largest has {needed - 1:,} MB" in problem["detail"]
    assert refusal(client, body | {"device": "gpu"}, monkeypatch, 10) is None  # of a GPU's memory nothing is known
    wide = {"type": "conv2d", "filters": 64, "kernel_size": 3, "padding": "same"}
    layers = [wide, "global_average_pooling2d", {"type": "dense", "units": 10}]
    many = {"dataset": "digits", "network": {"layers": layers}, "batch_size": 1000}
    (problem,) = refusal(client, many, monkeypatch, 10)
    assert problem["pointer"] == "/batch_size"


def refusal(client: TestClient, body: Any, monkeypatch: pytest.MonkeyPatch, *memory: int | None) -> Any:
    """The mistakes in `body` while workers with so many MB are online; None when it is accepted."""
    online = tuple(Worker(id=f"w{mb}", name="w", pid=1, queues=["train", "train.cpu"], memory_mb=mb) for mb in memory)
    monkeypatch.setattr(Reaper, "online", online)
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code in (201, 422)
    return answer.json().get("errors")

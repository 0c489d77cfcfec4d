"""What a waiting job is told, how many may wait, and whom the reaper rings for jobs that may not run yet."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import queue_view
from api.deps import Room
from api.main import create_app
from api.queue_view import QueueWatch
from api.views import QueueView
from models import jobs, turns, workers
from models.jobs import Job, Status
from models.settings import Settings
from models.spec import parse_spec
from models.standing import Standing, standing
from models.workers import Worker
from tests.api.conftest import LOCAL, submit

DIGITS = parse_spec({"dataset": "digits"})
GPU = parse_spec({"dataset": "digits", "device": "gpu"})


def add(room: Room, owner: str | None = None, memory_mb: int | None = None, gpu: bool = False) -> Job:
    with room.database.write() as session:
        job = jobs.create(session, GPU if gpu else DIGITS, owner)
        job.memory_mb = memory_mb
    return job


def take(room: Room, most_running: int = 0) -> Job:
    with room.database.write() as session:
        job = turns.take(session, "w1", turns.Able(("auto",)), most_running)
    assert job is not None
    return job


def online(room: Room, name: str, status: str, memory_mb: int | None = None, waits_for: str | None = None) -> None:
    row = Worker(id=name, name=name, pid=1, status=status, queues=["train"], memory_mb=memory_mb, waits_for=waits_for)
    with room.database.write() as session:
        workers.announce(session, row)


def view(room: Room, job: Job, max_running: int = 0) -> QueueView:
    """What is told of `job` while every worker on record lives."""
    watch = QueueWatch(room.settings.model_copy(update={"max_running": max_running}))
    with room.database.read() as session:
        return watch.view(session, job, frozenset(worker.id for worker in workers.all_workers(session)))


def test_places_go_by_turns(room: Room) -> None:
    first, second, third = (add(room, "ann") for _ in range(3))
    other = add(room, "bob")
    assert [view(room, job).position for job in sorted((first, second, third), key=lambda job: job.id)] == [1, 3, 4]
    assert view(room, other).position == 2
    assert take(room).owner == "ann"
    assert view(room, other).position == 1


@pytest.mark.parametrize(
    ("status", "waits_for", "sentence"),
    [
        ("idle", None, None),
        ("busy", None, "a free worker"),
        ("starting", None, "a worker that is starting"),
        ("starting", "the artifact store", "the artifact store"),
    ],
)
def test_what_a_job_waits_for_by_its_workers(
    room: Room, status: str, waits_for: str | None, sentence: str | None
) -> None:
    job, on_gpu = add(room), add(room, gpu=True)
    assert view(room, job).waiting_for == "no worker is online"
    online(room, "w1", status, waits_for=waits_for)
    assert view(room, job).waiting_for == sentence
    assert view(room, on_gpu).waiting_for == "no GPU worker is online"


def test_what_a_job_waits_for_that_needs_much_memory(room: Room) -> None:
    job = add(room, memory_mb=12_000)
    online(room, "w1", "busy", memory_mb=4_000)
    online(room, "w2", "idle", memory_mb=8_000)
    assert view(room, job).waiting_for == "a worker with 12,000 MB of memory (the largest has 8,000)"
    online(room, "w3", "busy", memory_mb=16_000)
    assert view(room, job).waiting_for == "a free worker"


def test_what_a_job_waits_for_whose_owner_has_enough_running(room: Room) -> None:
    online(room, "w1", "idle")
    for owner in ("ann", "ann", "ann", "bob"):
        add(room, owner)
    take(room)
    take(room)
    take(room)
    with room.database.read() as session:
        left = session.scalars(select(Job).where(Job.status == Status.QUEUED)).one()
    assert left.owner == "ann"
    assert view(room, left, max_running=2).waiting_for == "your own 2 running jobs (at most 2 at once)"
    assert view(room, left, max_running=3).waiting_for is None


def test_lists_tell_nothing_of_the_queue(client: TestClient) -> None:
    submit(client)
    assert client.get("/v1/jobs").json()["data"][0]["queue"] == {"position": None, "waiting_for": None}


def test_a_long_queue_is_looked_at_once_a_second(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_view, "FEW", 2)
    monkeypatch.setattr(queue_view, "KEPT_SECONDS", 1000.0)
    looks: list[Standing] = []

    def counted(session: Session) -> Standing:
        looks.append(standing(session))
        return looks[-1]

    monkeypatch.setattr(queue_view, "standing", counted)
    watch = QueueWatch(room.settings)
    waiting: list[Job] = []
    for _ in range(5):
        waiting.append(add(room))
        with room.database.read() as session:
            assert watch.view(session, waiting[-1], frozenset()).position in (len(waiting), len(waiting) - 1)
    assert len(looks) == 2


@pytest.fixture
def narrow(settings: Settings) -> Iterator[TestClient]:
    """A client of an API where three jobs of an owner may wait."""
    app = create_app(settings.model_copy(update={"max_queued": 3}))
    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as made:
        yield made


def test_more_jobs_than_may_wait_are_refused(narrow: TestClient) -> None:
    first = submit(narrow)["id"]
    submit(narrow)
    submit(narrow)
    refused = narrow.post("/v1/jobs", json={"dataset": "digits"})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "3 jobs waiting" in refused.json()["detail"]
    narrow.post(f"/v1/jobs/{first}/pause")
    assert narrow.post("/v1/jobs", json={"dataset": "digits"}).status_code == 429
    assert "TRAINYARD_MAX_QUEUED" in refused.json()["detail"]
    narrow.post(f"/v1/jobs/{first}/cancel")
    submit(narrow)


def test_a_study_is_refused_whole_or_not_at_all(narrow: TestClient) -> None:
    def send(parallel: int) -> Any:
        spec = {"base": {"dataset": "digits"}, "vary": {"/batch_size": [16, 32, 64, 128]}, "parallel": parallel}
        return narrow.post("/v1/studies", json=spec)

    submit(narrow)
    assert send(parallel=3).status_code == 429
    assert narrow.get("/v1/studies").json()["data"] == []
    study = send(parallel=2).json()["id"]
    while narrow.post("/v1/jobs", json={"dataset": "digits"}).status_code == 201:
        pass
    narrow.app.state.room.coordinator.look()  # type: ignore[attr-defined]
    assert len(narrow.get(f"/v1/jobs?study={study}").json()["data"]) == 2

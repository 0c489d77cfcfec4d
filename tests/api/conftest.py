"""The API in this process, on a real database and a real Redis; without workers."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from api.main import create_app
from models import jobs
from models.jobs import Job
from models.settings import Settings

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of the API as a person on this machine has it."""
    with TestClient(create_app(settings), base_url=LOCAL, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def room(client: TestClient) -> Room:
    """What the API of `client` works with."""
    made: Room = client.app.state.room  # type: ignore[attr-defined]
    return made


def submit(client: TestClient, **spec: Any) -> dict[str, Any]:
    """Submit a job and give the answer."""
    answer = client.post("/v1/jobs", json={"dataset": "digits", **spec})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def claim(room: Room, job_id: str) -> Job:
    """Take the job as a worker would."""
    with room.database.write() as session:
        job = jobs.claim(session, job_id, "w1")
    assert job is not None
    return job

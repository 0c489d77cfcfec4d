"""The API in this process, on a real database and a real Redis; without workers."""

from collections.abc import Iterator
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
from tests.factories.networks import linear_onnx

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


@pytest.fixture
def locked(settings: Settings) -> Iterator[TestClient]:
    """A client of an API that has the key `root` in its environment; it sends none by itself."""
    with TestClient(
        create_app(Settings(**(settings.model_dump() | {"api_keys": "root"}))),
        base_url=LOCAL,
        raise_server_exceptions=False,
    ) as made:
        yield made


@pytest.fixture
def locked_room(locked: TestClient) -> Room:
    """What the API of `locked` works with."""
    made: Room = locked.app.state.room  # type: ignore[attr-defined]
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


def add_version(room: Room, says: int, accuracy: float = 0.9, name: str = "digits") -> int:
    """A version that answers `says` to everything; its number."""
    weights = np.zeros((784, 10), np.float32)
    weights[:, says] = 1
    with room.database.write() as session:
        spec = parse_spec({"dataset": "digits"})
        job = jobs.create(session, spec)
        stored = room.store.write(f"jobs/{job.id}/1/model.onnx", linear_onnx(weights))
        registry.add_artifacts(session, job.id, {"model.onnx": stored})
        facts = {
            "dataset": "digits",
            "test_accuracy": accuracy,
            "test_loss": 1.0,
            "parameters": 7840,
            "class_count": 10,
        }
        made = registry.ModelVersion(name=name, job_id=job.id, serving=registry.serving_of(spec), **facts)
        number = registry.add_version(session, made).version
        jobs.move(session, job.id, Status.RUNNING)
        jobs.move(session, job.id, Status.SUCCEEDED, model_name=name, model_version=number)
    return number

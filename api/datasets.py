"""Data sets and the workers that have them."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.deps import InRoom
from api.views import Moment, Page
from models.datasets import DATASETS
from models.workers import Worker, all_workers

router = APIRouter(prefix="/v1", tags=["data sets and workers"])
# From the best to the worst: one worker that has it is enough to run the job somewhere.
Availability = Literal["here", "fetchable", "missing", "unknown"]
ORDER: tuple[Availability, ...] = ("here", "fetchable", "missing", "unknown")


class DatasetAtWorker(BaseModel):
    """What one worker says of a data set."""

    worker: str
    status: Availability
    detail: str = Field(description="where it was found, or what to do about it")


class DatasetView(BaseModel):
    """A data set."""

    name: str
    title: str
    description: str
    licence: str
    shape: tuple[int, ...]
    train_size: int
    test_size: int
    classes: tuple[str, ...]
    status: Availability = Field(description="at the worker that is best off; unknown without a worker")
    workers: list[DatasetAtWorker]


class WorkerView(BaseModel):
    """A worker that is alive."""

    id: str
    name: str
    status: str
    job_id: str | None
    queues: list[str]
    devices: list[str]
    libraries: dict[str, str]
    started_at: Moment


@router.get("/datasets")
def list_datasets(room: InRoom) -> Page[DatasetView]:
    """Every data set, and by worker whether it is there."""
    living = _living(room)
    views = []
    for facts in DATASETS.values():
        told = [
            DatasetAtWorker(worker=worker.name, **worker.datasets[facts.name])
            for worker in living
            if facts.name in worker.datasets
        ]
        status = min((entry.status for entry in told), key=ORDER.index, default="unknown")
        views.append(DatasetView.model_validate({**_plain(facts), "status": status, "workers": told}))
    return Page(data=views)


@router.get("/workers")
def list_workers(room: InRoom) -> Page[WorkerView]:
    """Every worker that is alive: what it does, and what it has."""
    fields = WorkerView.model_fields
    return Page(data=[WorkerView.model_validate({name: getattr(w, name) for name in fields}) for w in _living(room)])


def _living(room: InRoom) -> list[Worker]:
    with room.database.read() as session:
        return [worker for worker in all_workers(session) if worker.id in room.reaper.alive]


def _plain(facts: object) -> dict[str, object]:
    return {name: getattr(facts, name) for name in DatasetView.model_fields if hasattr(facts, name)}

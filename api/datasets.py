"""Data sets, what they look like, and the workers that have them."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.caller import InCaller
from api.deps import InRoom
from api.views import Moment, Page
from models.datasets import DATASETS, SYNTHETIC, DatasetFacts, SyntheticFacts
from models.jobs import Job
from models.spec.data import class_names_of, dataset_named, is_regression, test_count, train_count
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

    name: str = Field(examples=["spiral"])
    title: str
    description: str
    licence: str
    kind: Literal["classification", "regression"]
    shape: tuple[int, ...] = Field(description="of one example", examples=[(2,)])
    train_size: int = Field(description="all training examples; of a computed data set with the defaults")
    test_size: int
    classes: tuple[str, ...] = Field(description="their names; none for a regression")
    defaults: dict[str, Any] = Field(description="what a spec that only names it gets")
    status: Availability = Field(
        description="at the worker that is best off; unknown without a worker, here if it is computed"
    )
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
    memory_mb: int | None = Field(description="how much memory it may take, in 1,000,000 bytes; null if unknown")
    used_memory_mb: int | None = Field(description="how much of it the training process takes now")
    started_at: Moment


@router.get("/datasets")
def list_datasets(room: InRoom) -> Page[DatasetView]:
    """Every data set, and by worker whether it is there."""
    living = _living(room)
    return Page(data=[*(_loaded(facts, living) for facts in DATASETS.values()), *map(_computed, SYNTHETIC.values())])


@router.get("/workers")
def list_workers(room: InRoom, caller: InCaller) -> Page[WorkerView]:
    """Every worker that is alive: what it does, and what it has. Only of one's own jobs it says which it is."""
    living = _living(room)
    with room.database.read() as session:
        busy = select(Job.id, Job.owner).where(Job.id.in_([worker.job_id for worker in living if worker.job_id]))
        own = {row.id for row in session.execute(busy) if caller.owns(row.owner)}
    views = [WorkerView.model_validate(worker, from_attributes=True) for worker in living]
    return Page(data=[view if view.job_id in own else view.model_copy(update={"job_id": None}) for view in views])


def _living(room: InRoom) -> list[Worker]:
    with room.database.read() as session:
        return [worker for worker in all_workers(session) if worker.id in room.reaper.alive]


def _loaded(facts: DatasetFacts, living: list[Worker]) -> DatasetView:
    told = [
        DatasetAtWorker(worker=worker.name, **worker.datasets[facts.name])
        for worker in living
        if facts.name in worker.datasets
    ]
    status = min((entry.status for entry in told), key=ORDER.index, default="unknown")
    sizes = {"train_size": facts.train_size, "test_size": facts.test_size}
    return _view(facts, status=status, workers=told, classes=facts.classes, **sizes)


def _computed(facts: SyntheticFacts) -> DatasetView:
    wanted = dataset_named(facts.name)
    sizes = {"train_size": train_count(wanted), "test_size": test_count(wanted)}
    return _view(facts, status="here", workers=[], classes=class_names_of(wanted), **sizes)


def _view(facts: DatasetFacts | SyntheticFacts, **found: Any) -> DatasetView:
    wanted = dataset_named(facts.name)
    return DatasetView(
        name=facts.name,
        title=facts.title,
        description=facts.description,
        licence=facts.licence,
        shape=facts.shape,
        kind="regression" if is_regression(wanted) else "classification",
        defaults=wanted.model_dump(mode="json"),
        **found,
    )

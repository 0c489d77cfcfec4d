"""What the routes work with, made once a process and handed to them by type."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from api.coordinator import Coordinator
from api.errors import NotFound
from api.queue import Doorbell
from api.reaper import Reaper
from api.serving import Serving
from api.tailer import Tailer
from models.artifacts import ArtifactStore
from models.database import Database
from models.jobs import Job
from models.settings import Settings
from models.studies import Study


@dataclass(frozen=True)
class Room:
    """Everything that lives as long as the API process."""

    settings: Settings
    database: Database
    store: ArtifactStore
    doorbell: Doorbell
    reaper: Reaper
    coordinator: Coordinator
    tailer: Tailer
    serving: Serving
    heavy: CapacityLimiter
    loading: CapacityLimiter


async def _room(request: Request) -> Room:
    # Not a plain function, which FastAPI would hand to a thread: that takes longer than most answers.
    room: Room = request.app.state.room
    return room


InRoom = Annotated[Room, Depends(_room)]


def job_by_id(job_id: str, room: InRoom) -> Job:
    """The job of this id. Raises NotFound."""
    with room.database.read() as session:
        job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no such job. Received: {job_id[:64]}")
    return job


JobById = Annotated[Job, Depends(job_by_id)]


def _study(study_id: str, room: InRoom) -> Study:
    with room.database.read() as session:
        study = session.get(Study, study_id)
    if study is None:
        raise NotFound(f"There is no such study. Received: {study_id[:64]}")
    return study


StudyById = Annotated[Study, Depends(_study)]

"""What the routes work with, made once a process and handed to them by type."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request
from sqlalchemy.orm import Session

from api.caller import Caller, InCaller
from api.coordinator import Coordinator
from api.disk import Disk
from api.errors import Forbidden, NotFound
from api.housekeeping import Housekeeping
from api.keyring import Keyring
from api.queue import Doorbell
from api.queue_view import QueueWatch
from api.reaper import Reaper
from api.serving import Serving
from api.tailer import Tailer
from models.artifacts import ArtifactStore
from models.database import Database
from models.jobs import Job
from models.keys import ME
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
    queue_watch: QueueWatch
    coordinator: Coordinator
    tailer: Tailer
    serving: Serving
    keyring: Keyring
    disk: Disk
    housekeeping: Housekeeping
    heavy: CapacityLimiter
    loading: CapacityLimiter


async def _room(request: Request) -> Room:
    # Not a plain function, which FastAPI would hand to a thread: that takes longer than most answers.
    room: Room = request.app.state.room
    return room


InRoom = Annotated[Room, Depends(_room)]


def find_job(job_id: str, room: Room, caller: Caller) -> Job:
    """The job of this id, if it is the caller's; else it is as if there were none. Raises NotFound."""
    with room.database.read() as session:
        job = session.get(Job, job_id)
    if job is None or not caller.owns(job.owner):
        raise NotFound(f"There is no such job. Received: {job_id[:64]}")
    return job


def _job(job_id: str, room: InRoom, caller: InCaller) -> Job:
    return find_job(job_id, room, caller)


JobById = Annotated[Job, Depends(_job)]


def _study(study_id: str, room: InRoom, caller: InCaller) -> Study:
    with room.database.read() as session:
        study = session.get(Study, study_id)
    if study is None or not caller.owns(study.owner):
        raise NotFound(f"There is no such study. Received: {study_id[:64]}")
    return study


StudyById = Annotated[Study, Depends(_study)]


def called(session: Session, job_id: str, caller: Caller) -> str:
    """How a sentence for `caller` names a job: of somebody else's the id is not told."""
    job = session.get(Job, job_id)
    return f"The job {job_id}" if job is not None and caller.owns(job.owner) else "A job of somebody else"


OwnerWanted = Annotated[str | None, Query(description="`me`: one's own; with the scope admin also anybody's")]


def owner_wanted(owner: str | None, caller: Caller) -> tuple[bool, str | None]:
    """Whether a list is of one owner's only, and of whose, when `?owner=` says `owner`.

    Without it everybody sees what they own, and an admin all there is. Raises Forbidden.
    """
    if owner == ME or (owner is None and not caller.is_admin):
        return True, caller.owner
    if not (owner is None or caller.is_admin or owner == caller.owner):
        raise Forbidden(f"Others' work takes a key with the scope admin; owner=me is yours. Received: {owner[:64]}")
    return owner is not None, owner

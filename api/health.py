"""Whether this process answers, and whether the whole service is ready."""

import logging

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from api.deps import InRoom, Room
from models import schema
from models.database import Database
from models.workers import WorkerStatus, all_workers

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "alive"


class Ready(BaseModel):
    """What a job needs; each either `ok` or what is wrong."""

    ready: bool
    database: str
    broker: str
    workers: str
    disk: str


@router.get("/livez")
async def livez() -> Alive:
    """200 while this process answers."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Ready, "description": "not yet, or not any more"}})
def readyz(room: InRoom, response: Response) -> Ready:
    """200 when database and broker answer, a worker is warm and the disk has room, so that a job starts at once."""
    database, workers = _database(room)
    broker = "ok" if room.doorbell.answers() else "does not answer"
    disk = room.disk.problem() or "ok"
    ready = database == broker == workers == disk == "ok"
    response.status_code = 200 if ready else 503
    return Ready(ready=ready, database=database, broker=broker, workers=workers, disk=disk)


def _database(room: Room) -> tuple[str, str]:
    try:
        with room.database.read() as session:
            if (wrong := schema.what_is_wrong(session)) is not None:
                return wrong, "unknown"
            living = [worker for worker in all_workers(session) if worker.id in room.reaper.alive]
    except DBAPIError:
        return "does not answer", "unknown"
    if any(worker.status != WorkerStatus.STARTING for worker in living):
        return "ok", "ok"
    return "ok", "starting" if living else "none is online"


def tell_of_old_tables(database: Database) -> None:
    """At the start: have the log say what to do about tables of another version. A database that is away may come."""
    try:
        with database.read() as session:
            wrong = schema.what_is_wrong(session)
    except DBAPIError:
        return
    if wrong is not None:
        log.error(wrong)

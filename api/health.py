"""Whether this process answers, and whether the whole service is ready."""

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from api.deps import InRoom, Room
from models.workers import WorkerStatus, all_workers

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


@router.get("/livez")
async def livez() -> Alive:
    """200 while this process answers."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Ready, "description": "not yet, or not any more"}})
def readyz(room: InRoom, response: Response) -> Ready:
    """200 when the database and the broker answer and a worker is warm, so that a job starts at once."""
    database, workers = _database(room)
    broker = "ok" if room.doorbell.answers() else "does not answer"
    ready = database == broker == workers == "ok"
    response.status_code = 200 if ready else 503
    return Ready(ready=ready, database=database, broker=broker, workers=workers)


def _database(room: Room) -> tuple[str, str]:
    try:
        with room.database.read() as session:
            session.execute(select(1))
            living = [worker for worker in all_workers(session) if worker.id in room.reaper.alive]
    except DBAPIError:
        return "does not answer", "unknown"
    if any(worker.status != WorkerStatus.STARTING for worker in living):
        return "ok", "ok"
    return "ok", "starting" if living else "none is online"

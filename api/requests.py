"""What an owner asks of a job that is under way: cancel, pause, resume."""

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import InRoom, JobById, Room
from api.errors import Conflict, NotFound, documented
from api.jobs import read
from api.strict import StrictRoute
from api.views import JobView
from models import requests
from models.artifacts import drop_checkpoints
from models.jobs import Job, Status
from models.requests import Outcome

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)


class CancelBody(BaseModel):
    """How to cancel."""

    model_config = ConfigDict(extra="forbid", strict=True)

    keep_model: bool = Field(False, description="keep what was learned up to the last recorded epoch")


@router.post("/{job_id}/cancel", status_code=202, responses=documented(NotFound, Conflict))
def cancel(job: JobById, room: InRoom, response: Response, how: CancelBody | None = None) -> JobView:
    """Cancel a job: at once when it waits, within a moment when it runs. 200 when it is cancelled already.

    With `keep_model` what it learned becomes a model, which a worker makes, also of a job that waits or is paused.
    """
    with room.database.write() as session:
        outcome = requests.request_cancel(session, job.id, keep_model=how is not None and how.keep_model)
    return _answer(job, room, response, outcome, "cancel")


@router.post("/{job_id}/pause", status_code=202, responses=documented(NotFound, Conflict))
def pause(job: JobById, room: InRoom, response: Response) -> JobView:
    """Put a job aside: at once when it waits, within a moment when it runs, whose worker is then free for others."""
    with room.database.write() as session:
        outcome = requests.request_pause(session, job.id)
    return _answer(job, room, response, outcome, "pause")


@router.post("/{job_id}/resume", status_code=202, responses=documented(NotFound, Conflict))
def resume(job: JobById, room: InRoom, response: Response) -> JobView:
    """Let a paused job go on after its last recorded epoch, or take back the request to pause one that runs."""
    with room.database.write() as session:
        outcome = requests.request_resume(session, job.id)
    return _answer(job, room, response, outcome, "resume")


def _answer(job: Job, room: Room, response: Response, outcome: Outcome | None, asked: str) -> JobView:
    """The job as it is after the request was committed; see to what follows from it. Raises Conflict, NotFound."""
    with room.database.read() as session:
        now = session.get(Job, job.id)
    if now is None:
        raise NotFound(f"There is no such job. Received: {job.id}")
    if outcome is None:
        why = f"has {now.status}" if now.finished_at else "is being cancelled"
        if now.status == Status.CANCELLED:
            why = "is cancelled"
        raise Conflict(f"The job {why}: there is nothing to {asked}.")
    if outcome == "already":
        response.status_code = 200
    elif now.status == Status.QUEUED:
        room.doorbell.ring(now)
    elif now.status == Status.CANCELLED:
        drop_checkpoints(room.store, job.id, now.attempt)
    return read(now, room)

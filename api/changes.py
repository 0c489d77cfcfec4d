"""Changes of a training while it runs, and whether the training can be repeated with them, to the last bit."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.caller import InCaller
from api.deps import InRoom, JobById
from api.errors import Conflict, Invalid, NotFound, OutOfStorage, TooMany, documented
from api.idempotency import InOnce
from api.jobs import admit, view_now
from api.strict import SentBody, StrictRoute
from api.views import JobView, Moment, Page
from models import verification
from models.changes import Unchangeable, changes_of, request_change
from models.history import Change
from models.jobs import Job
from models.spec.change import ChangeSpec

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)
EXAMPLES = {
    "rate": {"summary": "Another learning rate", "value": {"learning_rate": 0.0001}},
    "longer": {
        "summary": "A schedule from here on, and longer",
        "value": {
            "learning_rate": {"type": "cosine_decay", "initial_learning_rate": 0.001, "decay_steps": 4000},
            "epochs": 30,
        },
    },
    "patience": {"summary": "More patience", "value": {"early_stopping": {"patience": 10}}},
}
ChangeBody = Annotated[ChangeSpec, Body(openapi_examples=EXAMPLES)]


class ChangeView(BaseModel):
    """A change of a job."""

    number: int = Field(examples=[1])
    requested_at: Moment
    new: dict[str, Any] = Field(description="what was asked", examples=[{"learning_rate": 0.0001}])
    old: dict[str, Any] | None = Field(
        description="what the same fields were before; null, as is all that follows, until a worker made the change",
        examples=[{"learning_rate": 0.001}],
    )
    applied_at_step: int | None = Field(description="the first batch with it, from 0 over the whole run")
    epoch: int | None = Field(description="the first epoch with it, or with some of it, from 1")
    applied_at: Moment | None


@router.post(
    "/changes",
    status_code=201,
    response_model=ChangeView,
    responses=documented(NotFound, Conflict, Invalid),
)
def change(
    job: JobById, wanted: ChangeBody, sent: SentBody, once: InOnce, room: InRoom, response: Response
) -> ChangeView | Response:
    """Change learning rate, epochs or the patience of early stopping; a worker that has the job does so at once.

    A job that is queued or paused takes changes too, and is trained with them when it goes on.
    """
    if (first := once.answered(room.database)) is not None:
        return first
    with room.database.write() as session:
        if (first := once.take(session)) is not None:
            return first
        try:
            view = change_view(request_change(session, job.id, wanted, sent))
        except Unchangeable as error:
            raise Conflict(str(error)) from None
        location = f"/v1/jobs/{job.id}/changes"
        once.keep(session, location, view)
    response.headers["Location"] = location
    return view


@router.get("/changes", responses=documented(NotFound))
def list_changes(job: JobById, room: InRoom) -> Page[ChangeView]:
    """Every change of the job, in the order in which they were asked and are made."""
    with room.database.read() as session:
        return Page(data=[change_view(row) for row in changes_of(session, job.id)])


@router.post(
    "/verify",
    status_code=201,
    response_model=JobView,
    responses=documented(NotFound, Conflict, Invalid, TooMany, OutOfStorage),
)
def verify(job: JobById, once: InOnce, room: InRoom, caller: InCaller, response: Response) -> JobView | Response:
    """Submit a job that trains this one again, its changes at their steps, and says whether the weights are the same.

    It is its source's owner's; its `/result` is the answer.
    """
    if (first := once.answered(room.database)) is not None:
        return first
    room.disk.require_room()
    with room.database.write() as session:
        if (first := once.take(session)) is not None:
            return first
        source = _verifiable(session, job)
        # Of whom the training is, also where an admin asks.
        made = admit(session, verification.spec_for(source), room, caller, source.owner)
        location, view = f"/v1/jobs/{made.id}", view_now(session, made, room)
        once.keep(session, location, view)
    room.doorbell.ring(made)
    response.headers["Location"] = location
    return view


def change_view(row: Change) -> ChangeView:
    """`row` as JSON."""
    return ChangeView.model_validate(row, from_attributes=True)


def _verifiable(session: Session, job: Job) -> Job:
    """The job, which nobody can delete before the caller commits. Raises NotFound, Conflict."""
    source = session.get(Job, job.id, with_for_update=True, populate_existing=True)
    if source is None:
        raise NotFound(f"There is no such job. Received: {job.id}")
    if (reason := verification.why_not(session, source)) is not None:
        raise Conflict(f"Only a training with a model can be verified; {reason}.")
    return source

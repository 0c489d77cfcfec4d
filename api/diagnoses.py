"""What was noticed about a job that does not learn well, and its remedy, applied by one call."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from api.caller import Caller, InCaller
from api.changes import ChangeView, change_view
from api.deps import InRoom, JobById, Room
from api.errors import Conflict, Invalid, NotFound, OutOfStorage, TooMany, documented
from api.idempotency import InOnce
from api.jobs import admit, check_fits, view_now
from api.strict import StrictRoute
from api.views import JobView, Moment
from models.changes import Unchangeable, request_change
from models.diagnoses import Diagnosis, Verdict, diagnoses_of, last_look, mended, statistics_of
from models.history import Change
from models.jobs import TERMINAL, Job
from models.spec import SpecError
from models.spec.change import ChangeSpec
from models.spec.job import MAX_EPOCHS
from models.spec.patching import Nowhere

router = APIRouter(prefix="/v1/jobs/{job_id}/diagnosis", tags=["results"], route_class=StrictRoute)
MOST_DIAGNOSES = 1_000_000
Number = Annotated[int, Path(ge=1, le=MOST_DIAGNOSES, description="the `number` of a diagnosis")]


class AppliedAs(BaseModel):
    """What a patch was applied as: at least one of the two."""

    change: int | None = Field(description="the number of the job's change")
    job: str | None = Field(description="the id of the new job; null also when that was deleted")


class DiagnosisView(BaseModel):
    """One diagnosis."""

    number: int = Field(examples=[1])
    epoch: int = Field(description="after which it was made, from 1", examples=[3])
    at: Moment
    verdict: Verdict
    evidence: dict[str, Any] = Field(description="the names and numbers that it rests on")
    sentence: str = Field(description="what is wrong, in words")
    advice: str = Field(description="what the patch does, and why")
    patch: dict[str, Any] = Field(
        description="what to try: values by JSON pointer into the job's spec",
        examples=[{"/optimizer/learning_rate": 0.001}],
    )
    live: dict[str, Any] | None = Field(
        description="the change of the running job that does the same; null where only a new job can",
        examples=[{"learning_rate": 0.001}],
    )
    applied: AppliedAs | None


class LayerView(BaseModel):
    """A layer that learns, on a sampled batch; a number that is not finite is null."""

    layer: str = Field(examples=["dense"])
    gradient_norm: float | None
    weight_norm: float | None
    update_ratio: float | None = Field(description="the norm of the next step over that of the weights")
    dead_share: float | None = Field(description="of its units; null where they cannot die")
    saturated_share: float | None = Field(description="of its outputs; null where they cannot saturate")


class SeenEpoch(BaseModel):
    """The layers after one epoch."""

    epoch: int = Field(examples=[3])
    layers: list[LayerView]


class DiagnosesView(BaseModel):
    """What was noticed, and what was seen; not every epoch is looked at."""

    verdict: Verdict | None = Field(description="the first one; null while nothing was noticed")
    text: str = Field(examples=["Nothing that would keep it from learning was noticed up to epoch 5."])
    data: list[DiagnosisView]
    epochs: list[SeenEpoch]
    next: str | None = Field(description="`after_epoch` for the epochs that follow; null when these are all")


class AppliedView(BaseModel):
    """What came of a patch: the change of the running job, or a new job."""

    change: ChangeView | None
    job: JobView | None


@router.get("", responses=documented(NotFound, Invalid))
def diagnosis(
    job: JobById,
    room: InRoom,
    after_epoch: Annotated[int, Query(ge=0, le=MAX_EPOCHS, description="only the epochs beyond it")] = 0,
    limit: Annotated[int, Query(ge=1, le=5_000, description="so many epochs at most")] = 500,
) -> DiagnosesView:
    """What keeps the job from learning, in words, with what to try, and the layers by epoch; also while it runs.

    Of a kind that does not train there is nothing.
    """
    with room.database.read() as session:
        found = diagnoses_of(session, job.id)
        seen = statistics_of(session, job.id, after=after_epoch, most=limit + 1)
        last = last_look(session, job.id)
        data = [_diagnosis_view(session, each) for each in found]
    page = seen[:limit]
    return DiagnosesView(
        verdict=data[0].verdict if data else None,
        text=found[0].sentence if found else _nothing_noticed(job, last),
        data=data,
        epochs=[SeenEpoch.model_validate(row, from_attributes=True) for row in page],
        next=str(page[-1].epoch) if len(seen) > limit else None,
    )


@router.post(
    "/{number}/apply",
    status_code=201,
    response_model=AppliedView,
    responses=documented(NotFound, Conflict, Invalid, TooMany, OutOfStorage)
    | {200: {"model": AppliedView, "description": "It was applied before: what came of that"}},
)
def apply(
    job: JobById,
    number: Number,
    room: InRoom,
    caller: InCaller,
    once: InOnce,
    response: Response,
    wanted: Annotated[Literal["job"] | None, Query(alias="as", description="`job`: always a new job")] = None,
) -> AppliedView | Response:
    """Try what a diagnosis advises: as a change of the job while it can have one, else as a new job of its owner.

    Applied once more, it is answered with what came of the first time, unless that job was deleted.
    """
    if (first := once.answered(room.database)) is not None:
        return first
    with room.database.write() as session:
        row, found = _held(session, job, number)
        if (before := _what_came_of(session, row, found, room, wanted)) is not None:
            response.status_code = 200
            return before
        if (first := once.take(session)) is not None:
            return first
        change = None if wanted == "job" else _change(session, found)
        made = None if change is not None else _new_job(session, row, found, room, caller)
        view = _applied_view(session, room, change, made)
        location = f"/v1/jobs/{job.id}/changes" if made is None else f"/v1/jobs/{made.id}"
        once.keep(session, location, view)
    if made is not None:
        room.doorbell.ring(made)
    response.headers["Location"] = location
    return view


def _held(session: Session, job: Job, number: int) -> tuple[Job, Diagnosis]:
    """Job and diagnosis as they are now, and as they stay until the caller commits. Raises NotFound."""
    # The job's row holds both: whoever deletes or changes the job, or applies the same, waits here.
    row = session.get(Job, job.id, with_for_update=True, populate_existing=True)
    found = session.get(Diagnosis, (job.id, number))
    if row is None or found is None:
        raise NotFound(f"The job has no such diagnosis. Received: {number}")
    return row, found


def _what_came_of(
    session: Session, row: Job, found: Diagnosis, room: Room, wanted: Literal["job"] | None
) -> AppliedView | None:
    """The change or the job that the diagnosis was applied as; None where there is none, or not the one wanted."""
    if found.applied_change is not None and wanted is None:
        change = session.get_one(Change, (row.id, found.applied_change))
        # A change that the job ended before changed nothing.
        if change.applied_at_step is not None or row.status not in TERMINAL:
            return _applied_view(session, room, change, None)
    made = session.get(Job, found.applied_job) if found.applied_job is not None else None
    return None if made is None else _applied_view(session, room, None, made)


def _change(session: Session, found: Diagnosis) -> Change | None:
    """The change that the diagnosis advises, asked of its job; None where there is none, or the job cannot have it."""
    if found.live is None:
        return None
    try:
        change = request_change(session, found.job_id, ChangeSpec.model_validate(found.live))
    except (Unchangeable, SpecError, ValidationError):
        return None
    found.applied_change = change.number
    return change


def _new_job(session: Session, row: Job, found: Diagnosis, room: Room, caller: Caller) -> Job:
    """A job with the patch, of whom the first one is, also where an admin asks. Raises Conflict."""
    try:
        spec = mended(row, found)
        check_fits(spec, room)
        made = admit(session, spec, room, caller, row.owner)
    except (SpecError, Nowhere) as error:
        raise Conflict(f"With the patch there is no job that can be run: {error}") from None
    found.applied_job = made.id
    return made


def _applied_view(session: Session, room: Room, change: Change | None, made: Job | None) -> AppliedView:
    return AppliedView(
        change=None if change is None else change_view(change),
        job=None if made is None else view_now(session, made, room),
    )


def _diagnosis_view(session: Session, row: Diagnosis) -> DiagnosisView:
    job = row.applied_job
    if job is not None and session.get(Job, job) is None:
        job = None
    applied = None if job is None and row.applied_change is None else AppliedAs(change=row.applied_change, job=job)
    fields = ("number", "epoch", "at", "verdict", "evidence", "sentence", "advice", "patch", "live")
    return DiagnosisView.model_validate({name: getattr(row, name) for name in fields} | {"applied": applied})


def _nothing_noticed(job: Job, last: int | None) -> str:
    if job.kind != "train":
        return f"A job of the kind {job.kind} does not learn: there is nothing to look at."
    if last is not None:
        looked = f"; its layers were looked into last after epoch {last}" if last < job.epoch else ""
        return f"Nothing that would keep it from learning was noticed up to epoch {max(job.epoch, last)}{looked}."
    return "It ended before it was looked at." if job.status in TERMINAL else "It has not been looked at yet."

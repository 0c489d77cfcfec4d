"""Jobs: submit, validate, list, read, rename, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.caller import Caller, InCaller
from api.deps import InRoom, JobById, OwnerWanted, Room, called, owner_wanted
from api.errors import Conflict, Forbidden, Invalid, NotFound, OutOfStorage, TooMany, documented
from api.idempotency import InOnce
from api.sizes import check_size
from api.strict import SentBody, StrictRoute
from api.views import JobView, Page, job_view
from models import jobs
from models.deletion import why_kept
from models.jobs import Job, JobTag, Status
from models.references import with_references
from models.spec import JobSpec, Summary, check_spec, summarize
from models.spec.job import JobTag as Tag
from models.spec.job import Line, Notes
from models.spec.kinds import KINDS_WITHOUT_NETWORK
from models.spec.summary_text import summary_text

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)
SPEC_EXAMPLES = {
    "short": {"summary": "Everything else has a default", "value": {"dataset": "mnist"}},
    "long": {
        "summary": "A network of one's own",
        "value": {
            "dataset": {"name": "fashion_mnist", "validation": {"split": 0.1}},
            "network": {
                "layers": [
                    {"type": "flatten"},
                    {"type": "dense", "units": 128, "activation": "relu", "kernel_initializer": "he_normal"},
                    {"type": "dropout", "rate": 0.2},
                    {"type": "dense", "units": 10, "activation": "softmax"},
                ]
            },
            "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
            "epochs": 10,
        },
    },
}
SUMMARY_ANSWERS = documented(NotFound, Conflict) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
SpecBody = Annotated[JobSpec, Body(openapi_examples=SPEC_EXAMPLES)]


class Validated(BaseModel):
    """What a spec means, worked out without training."""

    spec: dict[str, Any] = Field(description="the whole normalised spec")
    network: dict[str, Any] | None = Field(
        description="the network with a preset written out; null, as is summary, for a kind without one"
    )
    summary: Summary | None
    text: str = Field(description="the summary as a table in plain text")


class JobPatch(BaseModel):
    """What may change about a job after it was submitted; a field that is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Line = ""
    tags: Annotated[list[Tag], Field(max_length=20)] = []
    notes: Notes = ""


@router.post("", status_code=201, response_model=JobView, responses=documented(Invalid, TooMany, OutOfStorage))
def submit(
    spec: SpecBody, sent: SentBody, once: InOnce, room: InRoom, caller: InCaller, response: Response
) -> JobView | Response:
    """Submit a job. An answered 201 is on record before any worker hears of it, and is never lost."""
    check_spec(spec, sent)
    if (first := once.answered(room.database)) is not None:
        return first
    check_fits(spec, room)
    with room.database.write() as session:
        if (first := once.take(session)) is not None:
            return first
        job = admit(session, spec, room, caller, caller.owner)
        location, view = f"/v1/jobs/{job.id}", view_now(session, job, room)
        once.keep(session, location, view)
    room.doorbell.ring(job)
    response.headers["Location"] = location
    return view


@router.post("/validate", responses=documented(Invalid))
def validate(spec: SpecBody, sent: SentBody, room: InRoom, caller: InCaller) -> Validated:
    """Check a spec and say what it means: every default, layers with shapes and parameters. Trains nothing."""
    check_spec(spec, sent)
    check_size(spec, room)
    with room.database.read() as session:
        spec = with_references(session, spec, caller.owns)
    if spec.kind in KINDS_WITHOUT_NETWORK:
        return Validated(spec=spec.model_dump(mode="json"), network=None, summary=None, text="")
    summary = summarize(spec)
    return Validated(
        spec=spec.model_dump(mode="json"),
        network=spec.written_network.model_dump(mode="json"),
        summary=summary,
        text=summary_text(summary),
    )


@router.get("/schema")
def schema() -> dict[str, Any]:
    """The JSON Schema of a spec."""
    return JobSpec.model_json_schema()


@router.get("", responses=documented(Forbidden, Invalid))
def list_jobs(
    room: InRoom,
    caller: InCaller,
    status: Status | None = None,
    dataset: str | None = None,
    tag: str | None = None,
    owner: OwnerWanted = None,
    study: Annotated[str | None, Query(description="the id of a study: its runs")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Page[JobView]:
    """Jobs, newest first."""
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
    of_one, whose = owner_wanted(owner, caller)
    if of_one:
        query = query.where(Job.owner == whose)
    if status is not None:
        query = query.where(Job.status == status)
    if dataset is not None:
        query = query.where(Job.dataset == dataset)
    if tag is not None:
        query = query.join(JobTag, JobTag.job_id == Job.id).where(JobTag.tag == tag)
    if study is not None:
        query = query.where(Job.study_id == study)
    if after is not None:
        query = query.where(Job.id < after)
    with room.database.read() as session:
        found = list(session.scalars(query))
    page = found[:limit]
    return Page(data=[job_view(job) for job in page], next=page[-1].id if len(found) > limit else None)


@router.get("/{job_id}", responses=documented(NotFound))
def read(job: JobById, room: InRoom) -> JobView:
    """One job."""
    return _read(job, room)


@router.get("/{job_id}/summary", response_model=Summary, responses=SUMMARY_ANSWERS)
def summary(job: JobById, accept: Annotated[str, Header()] = "") -> Any:
    """The job's network in numbers, layer by layer; as a table in plain text by Accept."""
    spec = JobSpec.model_validate(job.spec)
    if spec.kind in KINDS_WITHOUT_NETWORK:
        whose = "members' jobs" if spec.kind == "ensemble" else "source"
        raise Conflict(f"A job of the kind {spec.kind} has no network of its own: ask for the summary of its {whose}.")
    summary = summarize(spec)
    return PlainTextResponse(summary_text(summary)) if accept.startswith("text/plain") else summary


@router.patch("/{job_id}", responses=documented(NotFound, Invalid))
def patch(job: JobById, changes: JobPatch, room: InRoom) -> JobView:
    """Change name, tags or notes."""
    with room.database.write() as session:
        row = session.get_one(Job, job.id)
        for name in changes.model_fields_set - {"tags"}:
            setattr(row, name, getattr(changes, name))
        if "tags" in changes.model_fields_set:
            row.tags = list(changes.tags)
            jobs.set_tags(session, row.id, row.tags)
    return _read(row, room)


@router.delete("/{job_id}", status_code=204, responses=documented(NotFound, Conflict))
def delete(job: JobById, room: InRoom, caller: InCaller) -> None:
    """Delete a job that ended and that no model version, waiting job or running study needs."""
    with room.database.write() as session:
        row = session.get(Job, job.id, with_for_update=True)
        if row is None:
            return
        if (reason := why_kept(session, row, lambda child: called(session, child, caller))) is not None:
            raise Conflict(reason)
        session.delete(row)
    room.store.discard(f"jobs/{job.id}")
    room.housekeeping.notice()


def _read(job: Job, room: Room) -> JobView:
    if job.status != Status.QUEUED:
        return job_view(job)
    with room.database.read() as session:
        return view_now(session, job, room)


def check_fits(spec: JobSpec, room: Room) -> None:
    """Raise SpecError where `spec` could not be trained here, OutOfStorage where nothing could be written."""
    check_size(spec, room)
    room.disk.require_room()


def admit(session: Session, spec: JobSpec, room: Room, caller: Caller, owner: str | None) -> Job:
    """A new queued job of `owner`, which refers to what `caller` may see; rung for after the commit.

    Raises TooMany where the owner's queue is full, SpecError for what `spec` refers to and is not there.
    """
    room.queue_watch.check_room(session, owner)
    return jobs.create(session, with_references(session, spec, caller.owns), owner)


def view_now(session: Session, job: Job, room: Room) -> JobView:
    """The job, of a queued one with its place in the queue."""
    queued = job.status == Status.QUEUED
    return job_view(job, room.queue_watch.view(session, job, room.reaper.alive) if queued else None)

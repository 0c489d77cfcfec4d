"""Jobs: submit, validate, list, read, rename, delete, cancel."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from api.deps import InRoom, JobById, Room
from api.errors import Conflict, Invalid, NotFound, documented
from api.strict import SentBody, StrictRoute
from api.views import JobView, Page, QueueView, job_view
from models import jobs, registry
from models.artifacts import drop_checkpoints
from models.jobs import TERMINAL, Job, JobTag, Status
from models.messages import QUEUES
from models.references import with_references
from models.spec import JobSpec, Summary, check_spec, summarize
from models.spec.job import JobTag as Tag
from models.spec.job import Line, Notes
from models.spec.kinds import KINDS_WITHOUT_NETWORK
from models.spec.summary_text import summary_text
from models.workers import WorkerStatus, all_workers

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


class CancelBody(BaseModel):
    """How to cancel."""

    model_config = ConfigDict(extra="forbid", strict=True)

    keep_model: bool = Field(False, description="keep what was learned up to the last finished epoch")


@router.post("", status_code=201, responses=documented(Invalid))
def submit(spec: SpecBody, sent: SentBody, room: InRoom, response: Response) -> JobView:
    """Submit a job. An answered 201 is on record before any worker hears of it, and is never lost."""
    check_spec(spec, sent)
    with room.database.write() as session:
        job = jobs.create(session, with_references(session, spec))
    room.doorbell.ring(job)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _read(job, room)


@router.post("/validate", responses=documented(Invalid))
def validate(spec: SpecBody, sent: SentBody, room: InRoom) -> Validated:
    """Check a spec and say what it means: every default, layers with shapes and parameters. Trains nothing."""
    check_spec(spec, sent)
    with room.database.read() as session:
        spec = with_references(session, spec)
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


@router.get("", responses=documented(Invalid))
def list_jobs(
    room: InRoom,
    status: Status | None = None,
    dataset: str | None = None,
    tag: str | None = None,
    study: Annotated[str | None, Query(description="the id of a study: its runs")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Page[JobView]:
    """Jobs, newest first."""
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
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
def delete(job: JobById, room: InRoom) -> None:
    """Delete a job that ended and that no model version needs."""
    with room.database.write() as session:
        row = session.get(Job, job.id, with_for_update=True)
        if row is None:
            return
        if row.status not in TERMINAL:
            raise Conflict(f"The job is {row.status}: cancel it first.")
        version = session.scalars(select(registry.ModelVersion).filter_by(job_id=row.id)).one_or_none()
        if version is not None:
            raise Conflict(f"The model version {version.name}:{version.version} needs it.")
        if (child := jobs.waits_for_weights_of(session, row.id)) is not None:
            raise Conflict(f"The job {child} has yet to use its weights.")
        session.delete(row)
    room.store.discard(f"jobs/{job.id}")


@router.post("/{job_id}/cancel", status_code=202, responses=documented(NotFound, Conflict))
def cancel(job: JobById, room: InRoom, response: Response, how: CancelBody | None = None) -> JobView:
    """Cancel a job: at once when it waits, within a moment when it runs. 200 when it is cancelled already."""
    with room.database.write() as session:
        done = jobs.request_cancel(session, job.id, keep_model=how is not None and how.keep_model)
    with room.database.read() as session:
        now = session.get(Job, job.id)
    if now is None:
        raise NotFound(f"There is no such job. Received: {job.id}")
    if done is None and now.status != Status.CANCELLED:
        raise Conflict(f"The job has {now.status}: there is nothing to cancel.")
    if done == "cancelled":
        drop_checkpoints(room.store, job.id, now.attempt)
    if done is None:
        response.status_code = 200
    return _read(now, room)


def _read(job: Job, room: Room) -> JobView:
    if job.status != Status.QUEUED:
        return job_view(job)
    with room.database.read() as session:
        return job_view(job, _queue_view(session, job, room.reaper.alive))


def _queue_view(session: Session, job: Job, alive: frozenset[str]) -> QueueView:
    first = or_(Job.priority > job.priority, (Job.priority == job.priority) & (Job.id < job.id))
    ahead = select(func.count()).where(Job.status == Status.QUEUED, first)
    able = [w for w in all_workers(session) if w.id in alive and QUEUES[job.device] in w.queues]  # type: ignore[index]
    states: set[str] = {worker.status for worker in able}
    waiting_for: Literal["a free worker"] | str | None = None
    if not able:
        waiting_for = f"no {'' if job.device == 'auto' else job.device.upper() + ' '}worker is online"
    elif WorkerStatus.IDLE not in states:
        waiting_for = "a free worker" if WorkerStatus.BUSY in states else "a worker that is starting"
    return QueueView(position=session.scalars(ahead).one() + 1, waiting_for=waiting_for)

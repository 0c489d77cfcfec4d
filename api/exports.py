"""SavedModel and LiteRT: made when they are first asked for, by a job like any other, and artifacts from then on."""

import re
import time
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Request, Response

from api.artifacts import artifact
from api.caller import ANYBODY, Caller, caller_of
from api.deps import InRoom, JobById, Room, find_job
from api.errors import (
    ApiError,
    BadGateway,
    Conflict,
    Forbidden,
    NotFound,
    RangeNotSatisfiable,
    Unavailable,
    documented,
)
from api.head import only_head
from api.jobs import read as read_job
from api.views import JobView
from models import exports, jobs
from models.jobs import TERMINAL, Job, Status
from models.registry import Artifact
from models.spec.kinds import ExportFormat

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["results"])
LONGEST_WAIT = 30.0
RETRY_SECONDS = 2
WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,6})(?![\w.])", re.ASCII | re.I)
ANSWERS = documented(NotFound, Conflict, RangeNotSatisfiable, BadGateway, Unavailable) | {
    200: {"description": "the file", "content": {"application/octet-stream": {}}},
    202: {"model": JobView, "description": "the job that makes the file; `Location` names it, ask again when it ended"},
    206: {"description": "the part that `Range` asked for"},
    304: {"description": "`If-None-Match` names it"},
}
Prefer = Annotated[str, Header(description="`wait=0`: answer 202 at once when it has yet to be made (RFC 7240)")]


@router.get("/saved_model.zip", response_class=Response, responses=ANSWERS)
async def saved_model(job: JobById, room: InRoom, request: Request, prefer: Prefer = "") -> Response:
    """The model as TensorFlow's SavedModel, in a zip.

    The first request has a job of the kind `export` make it, and waits up to 30 seconds for that.
    """
    return await _answer(job, "saved_model.zip", room, request, prefer)


@router.get("/model.tflite", response_class=Response, responses=ANSWERS)
async def litert(job: JobById, room: InRoom, request: Request, prefer: Prefer = "") -> Response:
    """The model for LiteRT, of built-in operators alone.

    The first request has a job of the kind `export` make it, and waits up to 30 seconds for that.
    """
    return await _answer(job, "model.tflite", room, request, prefer)


def made_by(room: Room, source: Job, wanted: ExportFormat, caller: Caller = ANYBODY) -> Job | None:
    """The job that makes the model of `source` in a format, submitted if there is none; None when the file is there.

    Raises:
        Conflict: the source has no model, or the last such job failed.
        Forbidden: there has to be such a job, and the caller may not submit any.
    """
    name = exports.file_of(wanted)
    with room.database.read() as session:
        if session.get(Artifact, (source.id, name)) is not None:
            return None
        if not exports.has_model(session, source.id):
            ended = "without a model" if source.status in TERMINAL else "and has no model yet"
            raise Conflict(f"{name} is made of a job's model. This job is {source.status} {ended}.")
        last = exports.latest(session, source, wanted)
    if last is not None and last.status == Status.FAILED:
        raise _failed(last, name)
    if last is not None and last.status not in TERMINAL:
        return last
    if "submit" not in caller.scopes:
        raise Forbidden(f"{name} has yet to be made by a job, and this key lacks the scope submit.")
    return _active_or_new(room, source, wanted)


def _active_or_new(room: Room, source: Job, wanted: ExportFormat) -> Job | None:
    """Of requests that come at once one submits the job, and the others find it."""
    with room.database.write() as session:
        row = session.get(Job, source.id, with_for_update=True)
        if row is None:
            raise NotFound(f"There is no such job. Received: {source.id}")
        if session.get(Artifact, (row.id, exports.file_of(wanted))) is not None:
            return None
        found = exports.active(session, row.id, wanted)
        # Of whom the model is, also where an admin asks.
        job = found or jobs.create(session, exports.spec_for(row, wanted), row.owner)
    if found is None:
        room.doorbell.ring(job)
    return job


async def _answer(source: Job, name: str, room: Room, request: Request, prefer: str) -> Response:
    # HEAD asks whether the file is there, and starts nothing.
    if not only_head(request.scope):
        job = await to_thread.run_sync(made_by, room, source, exports.FORMATS[name], caller_of(request))
        if job is not None:
            job = await _after(room, job.id, _patience(prefer))
            if job.status not in TERMINAL:
                return await to_thread.run_sync(_not_yet, room, job)
            if job.status != Status.SUCCEEDED:
                raise _failed(job, name)
    return await to_thread.run_sync(artifact, source, name, room, request)


async def _after(room: Room, job_id: str, patience: float) -> Job:
    """The job as it is when it ended, or `patience` seconds from now, or when this server is told to stop."""
    deadline = time.monotonic() + patience
    stream = room.tailer.join(job_id, 0)
    try:
        while not stream.ended and (left := deadline - time.monotonic()) > 0:
            await stream.next(left)
    finally:
        room.tailer.leave(job_id, stream)
    return await to_thread.run_sync(find_job, job_id, room, ANYBODY)


def _patience(prefer: str) -> float:
    match = WAIT.search(prefer)
    return LONGEST_WAIT if match is None else min(LONGEST_WAIT, float(match[1]))


def _not_yet(room: Room, job: Job) -> Response:
    headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(RETRY_SECONDS)}
    return Response(read_job(job, room).model_dump_json(), 202, headers, "application/json")


def _failed(job: Job, name: str) -> ApiError:
    why = job.failure_message or "It was cancelled."
    again = " Its spec, posted to /v1/jobs, tries again." if job.status == Status.FAILED else " Ask again to try again."
    return Conflict(f"The job {job.id}, which was to make {name}, has {job.status}. {why}{again}")

"""What jobs found out that do not train: as numbers, and as a picture."""

from typing import Any

from fastapi import APIRouter, Response

from api import result_pictures
from api.deps import InRoom, JobById, Room
from api.errors import Conflict, NotFound, documented
from models.history import Result
from models.jobs import TERMINAL, Job
from models.spec.kinds import KINDS_WITH_RESULT

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])


@router.get("/result", responses=documented(NotFound, Conflict))
def result(job: JobById, room: InRoom) -> dict[str, Any]:
    """What a job of the kind `initialization`, `gradient_check` or `verify` found out.

    All have `kind` and `summary`, sentences in plain words. `initialization` has for each of the `initializers` its
    `label`, the `loss`, and for every layer the spread of its outputs and of the gradients that reach it.
    `gradient_check` has `passed`, `largest_relative_error`, and the errors of all `variables` and `entries`. `verify`
    has `same`, and by layer whether its weights are the same, and the `largest_difference` between two of them.
    """
    return _found(job, room)


@router.get("/result.svg", response_class=Response, responses=documented(NotFound, Conflict))
def picture(job: JobById, room: InRoom) -> Response:
    """The result as a picture; of `verify` there is none."""
    if job.kind == "verify":
        raise Conflict("A job of the kind verify has no picture: ask for its result.")
    return Response(result_pictures.draw(job.name or job.id, _found(job, room)), media_type="image/svg+xml")


def _found(job: Job, room: Room) -> dict[str, Any]:
    if job.kind not in KINDS_WITH_RESULT:
        raise Conflict(f"A job of the kind {job.kind} has no result: ask for its evaluation.")
    with room.database.read() as session:
        found = session.get(Result, job.id)
    if found is None:
        ended = f"The job has {job.status} without a result." if job.status in TERMINAL else f"The job is {job.status}."
        raise Conflict(f"{ended} A result exists once a job has succeeded.")
    return found.data

"""Studies: submit, list, read with table and verdict, draw, cancel."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from sqlalchemy import select

from api import study_curves
from api.caller import InCaller
from api.deps import InRoom, OwnerWanted, Room, StudyById, owner_wanted
from api.errors import Conflict, Forbidden, Invalid, NotFound, OutOfStorage, TooMany, documented
from api.idempotency import InOnce
from api.sizes import check_size
from api.strict import StrictRoute
from api.study_views import StudyHead, StudyView, study_heads, study_view
from api.views import Page
from models import runs, studies
from models.artifacts import drop_checkpoints
from models.spec.study import EXAMPLES, StudySpec
from models.spec.study_checks import check_study
from models.studies import Study, StudyStatus
from models.study_references import with_fixed_weights

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=StrictRoute)
StudyBody = Annotated[StudySpec, Body(openapi_examples=EXAMPLES)]


@router.post("", status_code=201, response_model=StudyView, responses=documented(Invalid, TooMany, OutOfStorage))
def submit(spec: StudyBody, once: InOnce, room: InRoom, caller: InCaller, response: Response) -> StudyView | Response:
    """Submit a study. Every run that it will need is checked first; its runs are ordinary jobs.

    Unless the base names a model, all runs become versions of a model of the study's own.
    """
    if (first := once.answered(room.database)) is not None:
        return first
    checked = check_study(spec)
    check_size(checked.base.spec, room, at="/base")
    room.disk.require_room()
    with room.database.write() as session:
        if (first := once.take(session)) is not None:
            return first
        # Its runs are jobs, so many at once; once it is accepted none of them is refused.
        room.queue_watch.check_room(session, caller.owner, more=min(spec.parallel, spec.settings * spec.runs))
        study = studies.create(session, with_fixed_weights(session, checked, caller.owns), caller.owner)
        location, view = f"/v1/studies/{study.id}", study_view(session, study.id)
        once.keep(session, location, view)
    room.coordinator.rounds.hurry()
    response.headers["Location"] = location
    return view


@router.get("", responses=documented(Forbidden, Invalid))
def list_studies(
    room: InRoom,
    caller: InCaller,
    status: StudyStatus | None = None,
    owner: OwnerWanted = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Page[StudyHead]:
    """Studies, newest first, without their tables."""
    query = select(Study).order_by(Study.id.desc()).limit(limit + 1)
    of_one, whose = owner_wanted(owner, caller)
    if of_one:
        query = query.where(Study.owner == whose)
    if status is not None:
        query = query.where(Study.status == status)
    if after is not None:
        query = query.where(Study.id < after)
    with room.database.read() as session:
        found = list(session.scalars(query))
        page = study_heads(session, found[:limit])
    return Page(data=page, next=page[-1].id if len(found) > limit else None)


@router.get("/{study_id}", responses=documented(NotFound))
def read(study: StudyById, room: InRoom) -> StudyView:
    """One study: a row a setting with mean and interval, the best one, and in words which differences are real."""
    return _read(study, room)


@router.get("/{study_id}/curves.png", response_class=Response, responses=documented(NotFound))
def curves_png(study: StudyById, room: InRoom) -> Response:
    """All settings on one plot: the objective and the loss by epoch, for random and tpe the best so far by trial."""
    with room.database.read() as session:
        picture = study_curves.gather(session, study)
    return Response(study_curves.draw(picture), media_type="image/png")


@router.post("/{study_id}/cancel", status_code=202, responses=documented(NotFound, Conflict))
def cancel(study: StudyById, room: InRoom, response: Response) -> StudyView:
    """Cancel a study and its jobs: at once what waits, within a moment what runs. 200 when it is cancelled already."""
    with room.database.write() as session:
        ended = runs.cancel(session, study.id)
    with room.database.read() as session:
        now = session.get_one(Study, study.id)
    if ended is None and now.status != StudyStatus.CANCELLED:
        raise Conflict(f"The study has {now.status}: there is nothing to cancel.")
    for job_id, attempts in ended or ():
        drop_checkpoints(room.store, job_id, attempts)
    if ended is None:
        response.status_code = 200
    return _read(now, room)


def _read(study: Study, room: Room) -> StudyView:
    with room.database.read() as session:
        return study_view(session, study.id)

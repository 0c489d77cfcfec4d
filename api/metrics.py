"""What a job measured: epochs as rows or CSV, its log, its curves and its evaluation."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

from api import curves, evaluation_pictures
from api.caller import Caller, InCaller
from api.curve_story import story_of
from api.deps import InRoom, JobById, Room
from api.errors import Conflict, Invalid, NotFound, documented
from api.evaluations import EvaluationView
from api.tailer import epoch_fields
from api.views import Metrics, Moment, Page
from models.history import (
    MOST_SEQ,
    Epoch,
    Evaluation,
    Event,
    csv_lines,
    epochs_after,
    every_epoch,
    whole_history,
)
from models.jobs import TERMINAL, Job

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])


class EpochView(BaseModel):
    """One epoch."""

    seq: int = Field(examples=[12])
    epoch: int = Field(examples=[3])
    attempt: int = Field(examples=[1])
    at: Moment
    seconds: float = Field(description="wall time, training and validation", examples=[0.31])
    learning_rate: float | None = Field(examples=[0.001])
    metrics: Metrics = Field(examples=[{"loss": 0.31, "accuracy": 0.89, "val_loss": 0.35, "val_accuracy": 0.87}])
    nonfinite: dict[str, str] = Field(description="what is null because it is not finite", examples=[{}])


@router.get(
    "/metrics",
    response_model=Page[EpochView],
    responses=documented(NotFound, Invalid) | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def metrics(
    job: JobById,
    room: InRoom,
    after: Annotated[int, Query(ge=0, le=MOST_SEQ, description="a `seq`: rows beyond it")] = 0,
    names: Annotated[str | None, Query(description="metrics to give, separated by commas")] = None,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 10_000,
    accept: Annotated[str, Header()] = "",
) -> Any:
    """Rows by epoch, in order; as CSV always all of them."""
    if accept.startswith("text/csv"):
        return StreamingResponse(csv_lines(every_epoch(room.database, job.id)), media_type="text/csv")
    with room.database.read() as session:
        rows = epochs_after(session, job.id, after, limit + 1)
    wanted = None if names is None else {name.strip() for name in names.split(",")}
    page = [_epoch_view(row, wanted) for row in rows[:limit]]
    return Page(data=page, next=str(page[-1].seq) if len(rows) > limit else None)


@router.get("/log", response_class=PlainTextResponse, responses=documented(NotFound))
def log(job: JobById, room: InRoom) -> StreamingResponse:
    """The job's story as text, a line an event or epoch."""
    lines = (f"{row.at:%Y-%m-%d %H:%M:%S} {_line(row)}\n" for row in whole_history(room.database, job.id))
    return StreamingResponse(lines, media_type="text/plain")


@router.get("/curves.png", response_class=Response, responses=documented(NotFound))
def curves_png(job: JobById, room: InRoom, caller: InCaller) -> Response:
    """Loss, accuracy and learning rate over the epochs, with changes and diagnoses; also while it runs.

    A job that goes on from an epoch of another one is drawn over that one, which is grey.
    """
    return Response(_curves(job, room, caller, "png"), media_type="image/png")


@router.get("/curves.svg", response_class=Response, responses=documented(NotFound))
def curves_svg(job: JobById, room: InRoom, caller: InCaller) -> Response:
    """Loss, accuracy and learning rate over the epochs, with changes and diagnoses; also while it runs.

    A job that goes on from an epoch of another one is drawn over that one, which is grey.
    """
    return Response(_curves(job, room, caller, "svg"), media_type="image/svg+xml")


@router.get(
    "/evaluation",
    response_model=None,
    responses=documented(NotFound, Conflict) | {200: {"model": EvaluationView}},
)
def evaluation(job: JobById, room: InRoom) -> dict[str, Any]:
    """Loss and metrics on the test set, and more.

    For classes the confusion matrix (rows: true class), classes one by one and the worst mistakes; for a regression
    the residuals, the share of variance explained, and examples to draw a curve by.
    """
    return _evaluation(job, room)


@router.get("/evaluation.svg", response_class=Response, responses=documented(NotFound, Conflict))
def evaluation_svg(job: JobById, room: InRoom) -> Response:
    """The evaluation as a picture: confusion matrix and recall of classes; values against the truth, and residuals."""
    drawn = evaluation_pictures.draw(job.name or job.id, _evaluation(job, room))
    return Response(drawn, media_type="image/svg+xml")


def _epoch_view(row: Epoch, wanted: set[str] | None) -> EpochView:
    fields = epoch_fields(row)
    if wanted is not None:
        fields["metrics"] = {name: value for name, value in fields["metrics"].items() if name in wanted}
    return EpochView(seq=row.seq, attempt=row.attempt, at=row.at, **fields)


def _line(row: Epoch | Event) -> str:
    if isinstance(row, Epoch):
        values = row.metrics | row.nonfinite
        told = "  ".join(
            f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
        )
        return f"epoch {row.epoch}: {told}  ({row.seconds:.2f} s)"
    if row.type == "log":
        return str(row.data["message"])
    if row.type == "diagnosis":
        return "diagnosis {number} after epoch {epoch}: {sentence}".format_map(row.data)
    if row.type == "change":
        what = row.data
        new, old = (json.dumps(what[name], ensure_ascii=False) for name in ("new", "old"))
        place = f"from epoch {what['epoch']}, step {what['applied_at_step']}"
        return f"change {what['number']} {place}: {new}, before {old}"
    return f"{row.type}: " + ", ".join(str(value) for value in row.data.values())


def _evaluation(job: Job, room: Room) -> dict[str, Any]:
    with room.database.read() as session:
        found = session.get(Evaluation, job.id)
    if found is None:
        ended = f"The job has {job.status} without a model." if job.status in TERMINAL else f"The job is {job.status}."
        raise Conflict(f"{ended} An evaluation exists once a model is trained.")
    return found.data


def _curves(job: Job, room: Room, caller: Caller, kind: curves.Kind) -> bytes:
    with room.database.read() as session:
        story = story_of(session, job, caller.owns)
    title = job.name or job.id
    if job.kind != "train":
        title += f": a job of the kind {job.kind} trains no epochs"
    return curves.draw(title, story, kind)

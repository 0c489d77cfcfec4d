"""A job's model in another format: the files it can become, and the jobs that make them."""

from collections.abc import Callable
from typing import get_args

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from models.jobs import TERMINAL, Job, Status
from models.registry import Artifact
from models.spec import JobSpec, Problem, SpecError
from models.spec.data import shape_of
from models.spec.kinds import ExportFormat
from models.spec.problems import problem_at

MODEL_FILE = "model.keras"
FIRST_OF_ALL = 9
_ACTIVE = tuple(status for status in Status if status not in TERMINAL)


def file_of(wanted: ExportFormat) -> str:
    """The artifact that a model becomes in this format."""
    match wanted:
        case "tf_saved_model":
            return "saved_model.zip"
        case "litert":
            return "model.tflite"


FORMATS: dict[str, ExportFormat] = {file_of(each): each for each in get_args(ExportFormat)}
"""The format of each file that is made when somebody asks for it."""


def with_source(session: Session, spec: JobSpec, sees: Callable[[str | None], bool]) -> JobSpec:
    """The spec, whose `export` names a job that has a model of the spec's data set, of an owner that `sees` allows.

    Raises SpecError.
    """
    if spec.export is None:
        return spec
    path, wanted = ("export", "job"), spec.export.job
    source = session.get(Job, wanted)
    problem: Problem | None = None
    if source is None or not sees(source.owner):
        problem = problem_at(path, "not_found", "there is no such job", wanted)
    elif not has_model(session, source.id):
        problem = problem_at(path, "invalid", f"must be a job with a model; this one is {source.status}", wanted)
    elif _takes(JobSpec.model_validate(source.spec)) != _takes(spec):
        detail = f"must be the data set of the job's model, {source.dataset}"
        problem = problem_at(("dataset",), "invalid", detail, spec.dataset.name)
    if problem:
        raise SpecError([problem])
    return spec


def spec_for(source: Job, wanted: ExportFormat) -> JobSpec:
    """What the job should do that writes the model of `source`; it goes before everything else that waits."""
    return JobSpec.model_validate(
        {
            "kind": "export",
            "name": f"{file_of(wanted)} of {source.id}",
            "dataset": source.spec["dataset"],
            "priority": FIRST_OF_ALL,
            "export": {"job": source.id, "format": wanted},
        }
    )


def has_model(session: Session, job_id: str) -> bool:
    """Whether the job left a model that can be exported."""
    return session.get(Artifact, (job_id, MODEL_FILE)) is not None


def active(session: Session, source_id: str, wanted: ExportFormat) -> Job | None:
    """The job that is to write, or is writing, the model of `source_id` in this format; the oldest of several."""
    query = select(Job).where(Job.status.in_(_ACTIVE), _is_export_of(source_id, wanted))
    return session.scalars(query.order_by(Job.id).limit(1)).one_or_none()


def latest(session: Session, source: Job, wanted: ExportFormat) -> Job | None:
    """The newest job that was to write the model of `source` in this format, whatever came of it."""
    # An export is of the data set of its source and younger: there is an index for that.
    query = select(Job).where(Job.dataset == source.dataset, Job.id > source.id, _is_export_of(source.id, wanted))
    return session.scalars(query.order_by(Job.id.desc()).limit(1)).one_or_none()


def _is_export_of(source_id: str, wanted: ExportFormat) -> ColumnElement[bool]:
    export = Job.spec["export"]
    return and_(Job.kind == "export", export["job"].as_string() == source_id, export["format"].as_string() == wanted)


def _takes(spec: JobSpec) -> tuple[str, tuple[int, ...]]:
    return spec.dataset.name, shape_of(spec.dataset)

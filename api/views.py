"""Rows as the JSON that api.md promises."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, PlainSerializer

from models.exports import file_of
from models.jobs import TERMINAL, FailureKind, Job, Phase, Status
from models.registry import ModelVersion
from models.spec.kinds import KINDS_WITH_RESULT

Moment = Annotated[datetime, PlainSerializer(lambda value: value.isoformat().replace("+00:00", "Z"), when_used="json")]
Metrics = dict[str, int | float | None]
Entry = TypeVar("Entry")


class Page(BaseModel, Generic[Entry]):
    """A list, and what to send as `after` for the next page."""

    data: list[Entry]
    next: str | None = None


class QueueView(BaseModel):
    """Where a queued job stands."""

    position: int | None = Field(
        None, description="1 is next, by turns; null when not queued, and in lists", examples=[1]
    )
    waiting_for: str | None = Field(None, examples=["no GPU worker is online"])


class ProgressView(BaseModel):
    """How far the running attempt is."""

    phase: Phase | None
    epoch: int = Field(examples=[3])
    epochs: int = Field(examples=[10])
    fraction: float = Field(examples=[0.3])
    eta_seconds: float | None = Field(examples=[4.1])


class JobMetrics(BaseModel):
    """The latest epoch's metrics, and those of the best epoch by the monitored one."""

    latest: Metrics | None = Field(examples=[{"epoch": 3, "loss": 0.31, "accuracy": 0.89}])
    best: Metrics | None = Field(examples=[{"epoch": 3, "loss": 0.31, "accuracy": 0.89}])


class FailureView(BaseModel):
    """Why a job failed."""

    kind: FailureKind
    message: str


class ModelRef(BaseModel):
    """A model version."""

    name: str = Field(examples=["mnist"])
    version: int = Field(examples=[3])


class ExecutionView(BaseModel):
    """How the worker that has the job trains it, and why."""

    device: Literal["cpu", "gpu"]
    precision: str = Field(description="the dtype policy of the network", examples=["float32"])
    threads: int = Field(description="of matrix products", examples=[2])
    xla: Literal["chunk", "update", "none"] = Field(
        description="what XLA compiles: whole chunks of batches, the optimizer's update, or nothing"
    )
    batches_per_chunk: int = Field(
        description="batches between two looks at what the owner wants; chosen by the clock, changes no result"
    )
    reasons: list[str]


class JobView(BaseModel):
    """A job."""

    id: str = Field(examples=["job_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])
    kind: str
    name: str
    tags: list[str]
    notes: str
    owner: str | None
    study_id: str | None
    trial: int | None = Field(description="which setting of the study, from 1; null outside of studies")
    repeat: int | None = Field(description="which run or fold of that setting, from 0")
    status: Status
    requested: str | None = Field(description="what its owner asked and a worker has yet to do: cancel, pause, or null")
    is_terminal: bool
    attempt: int
    spec: dict[str, Any]
    queue: QueueView
    progress: ProgressView
    execution: ExecutionView | None = Field(description="null until a training has begun")
    metrics: JobMetrics
    evaluation: dict[str, float | None] | None
    failure: FailureView | None
    model: ModelRef | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    links: dict[str, str]


def job_view(job: Job, queue: QueueView | None = None) -> JobView:
    """`job` as JSON; `queue` where it was worked out."""
    model = None
    if job.model_name is not None and job.model_version is not None:
        model = ModelRef(name=job.model_name, version=job.model_version)
    latest = {"epoch": job.epoch, **job.latest_metrics} if job.latest_metrics else None
    failure = None
    if job.failure_kind is not None:
        failure = FailureView.model_validate({"kind": job.failure_kind, "message": job.failure_message or ""})
    return JobView(
        id=job.id,
        kind=job.kind,
        name=job.name,
        tags=job.tags,
        notes=job.notes,
        owner=job.owner,
        study_id=job.study_id,
        trial=job.trial,
        repeat=job.repeat,
        status=Status(job.status),
        requested=job.requested,
        is_terminal=job.status in TERMINAL,
        attempt=job.attempt,
        spec=job.spec,
        queue=queue or QueueView(),
        progress=_progress(job),
        execution=None if job.execution is None else ExecutionView.model_validate(job.execution),
        metrics=JobMetrics(latest=latest, best=job.best_metrics or None),
        evaluation=job.evaluation,
        failure=failure,
        model=model,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        links=_links(job, model),
    )


def _progress(job: Job) -> ProgressView:
    eta = None
    if job.status == Status.RUNNING and job.seconds_per_epoch is not None:
        eta = round((job.epochs - job.epoch) * job.seconds_per_epoch, 1)
    return ProgressView.model_validate(
        {
            "phase": job.phase,
            "epoch": job.epoch,
            "epochs": job.epochs,
            "fraction": round(job.epoch / job.epochs, 6),
            "eta_seconds": eta,
        }
    )


def _links(job: Job, model: ModelRef | None) -> dict[str, str]:
    own = f"/v1/jobs/{job.id}"
    links = {"self": own} | {name: f"{own}/{name}" for name in ("metrics", "events", "log", "artifacts")}
    links["curves"] = f"{own}/curves.png"
    if job.study_id is not None:
        links["study"] = f"/v1/studies/{job.study_id}"
    if job.kind == "train":
        links |= {"changes": f"{own}/changes", "diagnosis": f"{own}/diagnosis"}
    if job.kind in KINDS_WITH_RESULT and job.status == Status.SUCCEEDED:
        links["result"] = f"{own}/result"
    if job.kind == "export" and job.status == Status.SUCCEEDED:
        export = job.spec["export"]
        links["file"] = f"/v1/jobs/{export['job']}/artifacts/{file_of(export['format'])}"
    if model is not None:
        links |= {"evaluation": f"{own}/evaluation", "predict": f"{own}/predict"}
        links["model"] = f"/v1/models/{model.name}/versions"
    return links


class VersionView(BaseModel):
    """One version of a model."""

    name: str
    version: int
    job_id: str
    dataset: str
    test_accuracy: float | None
    test_loss: float | None
    parameters: int
    class_names: list[str]
    data_sha256: str | None = Field(description="checksum of the examples and labels it learned and was measured on")
    libraries: dict[str, str] | None = Field(
        description="what it was made with", examples=[{"keras": "3.15.1", "tensorflow": "2.21.0"}]
    )
    created_at: Moment


def version_view(version: ModelVersion) -> VersionView:
    """`version` as JSON."""
    return VersionView(
        name=version.name,
        version=version.version,
        job_id=version.job_id,
        dataset=version.dataset,
        test_accuracy=version.test_accuracy,
        test_loss=version.test_loss,
        parameters=version.parameters,
        class_names=version.serving["class_names"],
        data_sha256=version.data_sha256,
        libraries=version.libraries,
        created_at=version.created_at,
    )

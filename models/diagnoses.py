"""What was seen inside a network while it learned, layer by layer, and what was concluded from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Literal, get_args

from sqlalchemy import JSON, ForeignKey, Integer, String, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models import jobs
from models.database import Base, now
from models.jobs import Job
from models.spec import JobSpec
from models.spec.job import MAX_NAME, MAX_NOTES
from models.spec.patching import patched

Verdict = Literal[
    "vanishing_gradients",
    "exploding_or_diverged",
    "dead_units",
    "learning_rate_too_low",
    "overfitting",
    "too_little_capacity",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MENDED = ", mended"


@dataclass(frozen=True)
class LayerSigns:
    """How one layer that learns did on a sampled batch; a number may be infinite or NaN.

    Attributes:
        layer: its name, as in the job's summary.
        gradient_norm: L2 norm of the gradient of the loss by all its trainable weights.
        weight_norm: L2 norm of those weights.
        update_ratio: L2 norm of the step that the optimizer would take now, over `weight_norm`.
        dead_share: share of its units, 0 to 1, that are 0 for every sampled example; None where units cannot die.
        saturated_share: share of its outputs, 0 to 1, where the slope of the activation is below a tenth of its
            largest; None where it cannot saturate.
    """

    layer: str
    gradient_norm: float
    weight_norm: float
    update_ratio: float
    dead_share: float | None = None
    saturated_share: float | None = None


@dataclass(frozen=True)
class Finding:
    """One conclusion.

    Attributes:
        epoch: after which it was drawn, from 1.
        evidence: names and numbers that it rests on.
        sentence: what is wrong, for a student.
        advice: what the patch does and why, in a sentence.
        patch: settings by JSON pointer into the job's normalised spec, as in a study.
        live: the change of the running job that does the same, as a body for `/changes`; None where there is none.
    """

    epoch: int
    verdict: Verdict
    evidence: dict[str, Any]
    sentence: str
    advice: str
    patch: dict[str, Any]
    live: dict[str, Any] | None = None


class LayerStatistics(Base):
    """The signs of every layer after one epoch of one job; not every epoch is looked at."""

    __tablename__ = "layer_statistics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    # One object a layer; a number that is not finite is null here.
    layers: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class Diagnosis(Base):
    """One finding about one job, counted from 1, and what came of its patch."""

    __tablename__ = "diagnoses"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int]
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(default=now)
    verdict: Mapped[str] = mapped_column(String(32))
    evidence: Mapped[dict[str, Any]]
    sentence: Mapped[str]
    advice: Mapped[str]
    patch: Mapped[dict[str, Any]]
    live: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # By its number the change, or by its id the job, that the patch was applied as.
    applied_change: Mapped[int | None] = mapped_column(Integer)
    applied_job: Mapped[str | None] = mapped_column(String(32))


def record_signs(
    session: Session,
    job_id: str,
    attempt: int,
    signs: Mapping[int, Sequence[LayerSigns]],
    findings: Sequence[Finding],
) -> bool:
    """Write what was seen after epochs, and each finding with its `diagnosis` event; False when fenced out.

    Epochs that are on record already stay as they are: an attempt may come past them again.
    """
    for epoch, layers in signs.items():
        if session.get(LayerStatistics, (job_id, epoch)) is None:
            rows = [_finite(asdict(each)) for each in layers]
            session.add(LayerStatistics(job_id=job_id, epoch=epoch, attempt=attempt, layers=rows))
    if not findings:
        return True
    known = {row.verdict for row in diagnoses_of(session, job_id)}
    number = session.scalar(select(func.max(Diagnosis.number)).where(Diagnosis.job_id == job_id)) or 0
    for finding in findings:
        if finding.verdict in known:
            continue
        number += 1
        told = {"number": number, **asdict(finding), "evidence": _spelled(finding.evidence)}
        if not jobs.record_event(session, job_id, attempt, "diagnosis", told):
            return False
        session.add(Diagnosis(job_id=job_id, attempt=attempt, **told))
    return True


def statistics_of(
    session: Session, job_id: str, upto: int | None = None, *, after: int = 0, most: int | None = None
) -> list[LayerStatistics]:
    """What was seen of a job's layers, in the order of the epochs: beyond the epoch `after`, not beyond `upto`."""
    query = select(LayerStatistics).where(LayerStatistics.job_id == job_id, LayerStatistics.epoch > after)
    if upto is not None:
        query = query.where(LayerStatistics.epoch <= upto)
    return list(session.scalars(query.order_by(LayerStatistics.epoch).limit(most)))


def last_look(session: Session, job_id: str) -> int | None:
    """The last epoch after which a job's layers were looked at; None where none was."""
    return session.scalar(select(func.max(LayerStatistics.epoch)).where(LayerStatistics.job_id == job_id))


def diagnoses_of(session: Session, job_id: str) -> list[Diagnosis]:
    """The findings about a job, in the order in which they were made."""
    return list(session.scalars(select(Diagnosis).where(Diagnosis.job_id == job_id).order_by(Diagnosis.number)))


def mended(job: Job, diagnosis: Diagnosis) -> JobSpec:
    """The spec of a job like `job` with the patch of its diagnosis, which says so in its name and notes.

    Raises:
        SpecError: there is no such spec.
        Nowhere: a pointer of the patch leads nowhere.
    """
    spec = patched(JobSpec.model_validate(job.spec), diagnosis.patch)
    name = job.name
    if name and not name.endswith(MENDED) and len(name) + len(MENDED) <= MAX_NAME:
        name += MENDED
    verdict = diagnosis.verdict.replace("_", " ")
    told = f"Diagnosis {diagnosis.number} ({verdict}, after epoch {diagnosis.epoch}) of {job.id}: {diagnosis.advice}"
    notes = f"{told}\n\n{job.notes}".strip()[:MAX_NOTES]
    return spec.model_copy(update={"name": name, "notes": notes, "tags": tuple(job.tags)})


def _finite(signs: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in signs.items()}


def _spelled(value: Any) -> Any:
    """Evidence as JSON can carry it: a number that is not finite is spelled, as in a metrics row."""
    if isinstance(value, Mapping):
        return {str(name): _spelled(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(inner) for inner in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value

"""What happened to a job: its epochs and events, read in the one order of the job's own counter."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now

MAIN_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


class Epoch(Base):
    """One epoch of one job, counted from 1; a number that is not finite is null here and named in `nonfinite`."""

    __tablename__ = "epochs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(default=now)
    seconds: Mapped[float]
    learning_rate: Mapped[float | None]
    loss: Mapped[float | None]
    accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    other_metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    nonfinite: Mapped[dict[str, Any]] = mapped_column(default=dict)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Every metric this epoch has, by Keras's name."""
        main = {name: getattr(self, name) for name in MAIN_METRICS}
        known = {name: value for name, value in main.items() if value is not None or name in self.nonfinite}
        return known | self.other_metrics


class Event(Base):
    """Anything else that happened: `type` is state, log, diagnosis or change."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(default=now)
    type: Mapped[str]
    data: Mapped[dict[str, Any]]


class Evaluation(Base):
    """What the trained model does on the test set, in full."""

    __tablename__ = "evaluations"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    data: Mapped[dict[str, Any]]


@dataclass(frozen=True)
class EpochResult:
    """What the worker learned from one epoch; `seconds` is its wall time, validation included."""

    epoch: int
    seconds: float
    learning_rate: float
    metrics: dict[str, float]

    def row(self, job_id: str, attempt: int, seq: int) -> Epoch:
        """The row that records it."""
        values, nonfinite = split_nonfinite(self.metrics)
        main = {name: values.pop(name, None) for name in MAIN_METRICS}
        return Epoch(
            job_id=job_id,
            epoch=self.epoch,
            seq=seq,
            attempt=attempt,
            seconds=self.seconds,
            learning_rate=self.learning_rate if isfinite(self.learning_rate) else None,
            other_metrics=values,
            nonfinite=nonfinite,
            **main,
        )


def split_nonfinite(metrics: dict[str, float]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Metrics with null for what is not finite, and the names of those with `nan`, `inf` or `-inf`: JSON has no NaN."""
    values = {name: float(value) if isfinite(value) else None for name, value in metrics.items()}
    return values, {name: str(float(value)) for name, value in metrics.items() if not isfinite(value)}


def epochs_after(session: Session, job_id: str, after: int, limit: int) -> list[Epoch]:
    """The job's epochs whose `seq` is beyond `after`, in order."""
    query = select(Epoch).where(Epoch.job_id == job_id, Epoch.seq > after).order_by(Epoch.seq).limit(limit)
    return list(session.scalars(query))


def history_after(session: Session, job_id: str, after: int, limit: int) -> list[Epoch | Event]:
    """The job's epochs and events whose `seq` is beyond `after`, merged in order, at most `limit`."""
    query = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit)
    both: Iterable[Epoch | Event] = (*epochs_after(session, job_id, after, limit), *session.scalars(query))
    return sorted(both, key=lambda row: row.seq)[:limit]


def history_csv(epochs: Sequence[Epoch]) -> str:
    """The epochs as CSV with a header; a number that is not finite is spelled `nan`, `inf` or `-inf`."""
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "seconds", "learning_rate", *names])
    for epoch in epochs:
        values = epoch.metrics | epoch.nonfinite
        writer.writerow([epoch.epoch, epoch.seconds, epoch.learning_rate, *(values.get(name) for name in names)])
    return text.getvalue()

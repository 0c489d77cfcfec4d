"""What happened to a job: its epochs and events, read in the one order of the job's own counter."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, func, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, Database, now
from models.spec.change import ChangeSpec

PAGE = 2_000
MOST_SEQ = 2**31 - 1  # what a number of the database can be
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


class Change(Base):
    """One change of one job, counted from 1; without `applied_at_step` it waits, or the job ended before it."""

    __tablename__ = "changes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    requested_at: Mapped[datetime] = mapped_column(default=now)
    new: Mapped[dict[str, Any]]
    # What the same fields were before.
    old: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # Batches from 0 over the whole run, and epochs from 1: the first ones that are trained with it.
    applied_at_step: Mapped[int | None] = mapped_column(BigInteger)
    epoch: Mapped[int | None] = mapped_column(Integer)
    applied_at: Mapped[datetime | None]

    @property
    def spec(self) -> ChangeSpec:
        """What was asked."""
        return ChangeSpec.model_validate(self.new)


class Evaluation(Base):
    """What the trained model does on the test set, in full."""

    __tablename__ = "evaluations"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    data: Mapped[dict[str, Any]]


class Result(Base):
    """What a job found out that does not train."""

    __tablename__ = "results"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    data: Mapped[dict[str, Any]]


Row = TypeVar("Row", Epoch, Epoch | Event)


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


def history_after(session: Session, job_id: str, after: int, limit: int, upto: int = MOST_SEQ) -> list[Epoch | Event]:
    """The job's epochs and events whose `seq` is beyond `after`, and not beyond `upto`, in order, at most `limit`."""
    epochs = epochs_after(session, job_id, after, limit)
    if not (epochs and epochs[-1].seq >= upto and epochs[-1].seq == after + len(epochs)):
        query = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit)
        both: Iterable[Epoch | Event] = (*epochs, *session.scalars(query))
    else:
        both = epochs  # each number from `after` on is an epoch's: there is no event among them
    return sorted((row for row in both if row.seq <= upto), key=lambda row: row.seq)[:limit]


def every_epoch(database: Database, job_id: str) -> Iterator[Epoch]:
    """All epochs of the job in order, read a page at a time: there may be 100,000."""
    return _pages(database, lambda session, after: epochs_after(session, job_id, after, PAGE))


def whole_history(database: Database, job_id: str) -> Iterator[Epoch | Event]:
    """All epochs and events of the job in order, read a page at a time."""
    return _pages(database, lambda session, after: history_after(session, job_id, after, PAGE))


def sampled_epochs(session: Session, job_id: str, most: int) -> list[Epoch]:
    """About `most` of the job's epochs, evenly spread, in order; the last is among them."""
    last, count = session.execute(select(func.max(Epoch.epoch), func.count()).where(Epoch.job_id == job_id)).one()
    if not count:
        return []
    number = func.row_number().over(order_by=Epoch.epoch)
    numbered = select(Epoch.epoch, number.label("number")).where(Epoch.job_id == job_id).subquery()
    drawn = or_(numbered.c.number % max(1, count // most) == 0, numbered.c.epoch == last, numbered.c.number == 1)
    query = select(Epoch).join(numbered, Epoch.epoch == numbered.c.epoch).where(Epoch.job_id == job_id, drawn)
    return list(session.scalars(query.order_by(Epoch.epoch)))


def csv_lines(epochs: Iterable[Epoch]) -> Iterator[str]:
    """The epochs as CSV, a header first; a number that is not finite is spelled `nan`, `inf` or `-inf`."""
    names: list[str] | None = None
    for epoch in epochs:
        if names is None:
            names = list(epoch.metrics)
            yield _csv_line("epoch", "seconds", "learning_rate", *names)
        values = epoch.metrics | epoch.nonfinite
        yield _csv_line(epoch.epoch, epoch.seconds, epoch.learning_rate, *(values.get(name) for name in names))


def _csv_line(*values: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _pages(database: Database, read: Callable[[Session, int], list[Row]]) -> Iterator[Row]:
    after = 0
    while True:
        with database.read() as session:
            page = read(session, after)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].seq

"""The workers that announced themselves: what each has, what it does now, and that it is alive."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Integer, String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now


class WorkerStatus(StrEnum):
    """What a worker does; it takes jobs warm, that is idle or busy."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"


class Worker(Base):
    """One training process. Whether it lives is judged by `heartbeat` changing, never by a clock."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(default=WorkerStatus.STARTING)
    job_id: Mapped[str | None]
    heartbeat: Mapped[int] = mapped_column(Integer, default=0)
    queues: Mapped[list[str]]
    devices: Mapped[list[str]] = mapped_column(default=list)
    datasets: Mapped[dict[str, Any]] = mapped_column(default=dict)
    libraries: Mapped[dict[str, Any]] = mapped_column(default=dict)
    memory_mb: Mapped[int | None] = mapped_column(Integer)
    used_memory_mb: Mapped[int | None] = mapped_column(Integer)
    waits_for: Mapped[str | None]
    oom_kills: Mapped[int | None] = mapped_column(Integer)
    started_at: Mapped[datetime] = mapped_column(default=now)


def announce(session: Session, worker: Worker) -> None:
    """Write the row of a process that just started."""
    session.add(worker)


def update_worker(session: Session, worker_id: str, **values: Any) -> bool:
    """Beat once, and set further columns; False when somebody took the row for dead and removed it."""
    statement = update(Worker).where(Worker.id == worker_id).values(heartbeat=Worker.heartbeat + 1, **values)
    return session.execute(statement.returning(Worker.id)).one_or_none() is not None


def forget(session: Session, worker_id: str) -> None:
    """Remove the row of a process that ends, or that was given up for dead."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def all_workers(session: Session) -> Sequence[Worker]:
    """Every row, oldest first."""
    return session.scalars(select(Worker).order_by(Worker.started_at, Worker.id)).all()

"""Changes of running jobs: what was asked, and the exact step from which each holds."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now
from models.jobs import Job
from models.spec.change import ChangeSpec

MOST_CHANGES = 200


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


def add_change(session: Session, job: Job, change: ChangeSpec) -> Change:
    """Record what is asked of `job`, whose row the caller has locked, and who commits."""
    number = session.scalar(select(func.max(Change.number)).where(Change.job_id == job.id)) or 0
    row = Change(job_id=job.id, number=number + 1, new=change.model_dump(mode="json", exclude_none=True))
    session.add(row)
    session.flush()
    return row


def changes_of(session: Session, job_id: str) -> list[Change]:
    """All changes of a job, in the order in which they were asked."""
    return list(session.scalars(select(Change).where(Change.job_id == job_id).order_by(Change.number)))

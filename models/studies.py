"""Studies and their trials: the rows, and the guarded statements that begin and end them."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, insert, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now
from models.ids import new_id
from models.spec.patching import Setting
from models.spec.study import StudySpec
from models.spec.study_checks import CheckedStudy
from models.spec.study_settings import Labels


class StudyStatus(StrEnum):
    """Where a study stands; all but running are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TrialStatus(StrEnum):
    """Where one setting stands: all but queued and running are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (TrialStatus.QUEUED, TrialStatus.RUNNING)
# Ended by themselves: nothing follows, and nobody cancelled them.
SETTLED = (TrialStatus.SUCCEEDED, TrialStatus.FAILED)


class Study(Base):
    """What somebody wants to find out: a spec, what varies in it, and how far it came."""

    __tablename__ = "studies"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    notes: Mapped[str]
    tags: Mapped[list[str]]
    owner: Mapped[str | None]
    spec: Mapped[dict[str, Any]]
    base: Mapped[dict[str, Any]]
    objective: Mapped[str]
    settings: Mapped[int]
    runs: Mapped[int]
    parallel: Mapped[int]
    status: Mapped[str] = mapped_column(default=StudyStatus.RUNNING)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "status", "id"),)

    @property
    def asked(self) -> StudySpec:
        """The spec as it was asked for, with every default."""
        return StudySpec.model_validate(self.spec)


class Trial(Base):
    """One setting, numbered from 1. `results` are its runs as they ended, kept here once all have."""

    __tablename__ = "trials"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    setting: Mapped[dict[str, Any]]
    label: Mapped[str]
    status: Mapped[str] = mapped_column(default=TrialStatus.QUEUED)
    value: Mapped[float | None]
    problem: Mapped[str | None] = mapped_column(Text)
    results: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)


def create(session: Session, checked: CheckedStudy, owner: str | None = None) -> Study:
    """Insert a running study, with every setting of a grid. The caller commits, then tells the coordinator."""
    spec = checked.spec
    study = Study(
        id=new_id("study"),
        name=spec.name,
        notes=spec.notes,
        tags=list(spec.tags),
        owner=owner,
        spec=spec.model_dump(mode="json"),
        base=checked.base.normal,
        objective=checked.objective,
        settings=spec.settings,
        runs=spec.runs,
        parallel=spec.parallel,
    )
    session.add(study)
    session.flush()
    add_trials(session, study.id, spec, checked.grid or (), first=1)
    return study


def add_trials(session: Session, study_id: str, spec: StudySpec, settings: Iterable[Setting], first: int) -> None:
    """Insert settings as queued trials, numbered from `first` on; a number that is there already raises."""
    labels = Labels(spec)
    rows = [
        {"study_id": study_id, "number": number, "setting": setting, "label": labels.of(setting)}
        for number, setting in enumerate(settings, start=first)
    ]
    if rows:
        session.execute(insert(Trial), rows)


def running(session: Session) -> list[str]:
    """Ids of the studies that go on, oldest first."""
    return list(session.scalars(select(Study.id).where(Study.status == StudyStatus.RUNNING).order_by(Study.id)))


def hold(session: Session, study_id: str) -> Study | None:
    """The study while it runs, held to the end of this transaction so that nobody else moves it on or cancels it."""
    query = (
        select(Study).where(Study.id == study_id, Study.status == StudyStatus.RUNNING).with_for_update(key_share=True)
    )
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def end(session: Session, study_id: str, status: StudyStatus) -> bool:
    """End a running study; False when it does not run any more."""
    statement = update(Study).where(Study.id == study_id, Study.status == StudyStatus.RUNNING)
    row = session.execute(statement.values(status=status, finished_at=now()).returning(Study.id)).one_or_none()
    return row is not None


def begin_trial(session: Session, study_id: str, number: int) -> None:
    """A queued trial has its first run now."""
    _change(session, study_id, number, TrialStatus.QUEUED, status=TrialStatus.RUNNING)


def end_trial(session: Session, study_id: str, number: int, status: TrialStatus, **values: Any) -> None:
    """End an open trial; one that has ended stays as it is."""
    _change(session, study_id, number, *OPEN, status=status, **values)


def cancel_trials(session: Session, study_id: str) -> None:
    """Cancel every open trial."""
    statement = update(Trial).where(Trial.study_id == study_id, Trial.status.in_(OPEN))
    session.execute(statement.values(status=TrialStatus.CANCELLED))


def _change(session: Session, study_id: str, number: int, *sources: TrialStatus, **values: Any) -> None:
    statement = update(Trial).where(Trial.study_id == study_id, Trial.number == number, Trial.status.in_(sources))
    session.execute(statement.values(**values))

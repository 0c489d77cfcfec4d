"""Models, their versions and aliases, and the artifacts that jobs leave."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.artifacts import Stored
from models.database import Base, BigInt, now
from models.spec import JobSpec
from models.spec.data import class_labels_of, class_names_of, recipe_of, shape_of

CHAMPION = "champion"
NAME = "[a-z0-9][a-z0-9._-]{0,63}"
REF = re.compile(f"(?P<name>{NAME})(?::(?P<version>[1-9][0-9]{{0,8}})|@(?P<alias>{NAME}))?")


class Artifact(Base):
    """A file that a job left, at a place that carries the attempt."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str]
    size: Mapped[int] = mapped_column(BigInt)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class ModelVersion(Base):
    """What a succeeded job became; `serving` says how it is asked and read (see `serving_of`)."""

    __tablename__ = "model_versions"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    dataset: Mapped[str]
    test_accuracy: Mapped[float | None]
    test_loss: Mapped[float | None]
    parameters: Mapped[int] = mapped_column(BigInt)
    class_count: Mapped[int] = mapped_column(Integer)
    serving: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (
        UniqueConstraint("name", "version"),
        Index(None, "name", "class_count", "test_accuracy"),
    )


def serving_of(spec: JobSpec) -> dict[str, Any]:
    """What serving a model of `spec` must know: what it takes, and the classes in the order of the outputs.

    Without a recipe it takes no pictures, without classes it answers with a value.
    """
    dataset = spec.dataset
    return {
        "recipe": recipe_of(dataset),
        "shape": list(shape_of(dataset)),
        "labels": class_labels_of(dataset),
        "class_names": class_names_of(dataset),
    }


def add_artifacts(session: Session, job_id: str, files: dict[str, Stored]) -> None:
    """Record files by name; a name recorded by an earlier attempt now means the new file."""
    for name, stored in files.items():
        session.merge(Artifact(job_id=job_id, name=name, **asdict(stored)))


def add_version(session: Session, version: ModelVersion) -> ModelVersion:
    """Give `version` the next number of its name. Run it in the transaction that makes the job succeed."""
    if session.get_bind().dialect.name == "postgresql":
        # Of two jobs that end at once the second waits for the first one's number; SQLite has one writer anyway.
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(version.name))))
    highest = select(func.coalesce(func.max(ModelVersion.version), 0)).where(ModelVersion.name == version.name)
    version.version = session.scalars(highest).one() + 1
    session.add(version)
    session.flush()
    return version


def resolve(session: Session, ref: str) -> ModelVersion | None:
    """The version that `name`, `name:3` or `name@champion` means; None when there is none.

    `name` alone means `name@champion`: of the versions that know the most classes the one with the best test accuracy,
    and of equals the first. To tell two classes apart is easier than ten, so the two kinds do not compete.
    """
    match = REF.fullmatch(ref)
    if match is None or match["alias"] not in (None, CHAMPION):
        return None
    query = select(ModelVersion).where(ModelVersion.name == match["name"])
    if match["version"]:
        return session.scalars(query.where(ModelVersion.version == int(match["version"]))).one_or_none()
    return session.scalars(query.order_by(*_best_first()).limit(1)).one_or_none()


def names(session: Session) -> list[str]:
    """Every model's name, sorted."""
    return list(session.scalars(select(ModelVersion.name).distinct().order_by(ModelVersion.name)))


def versions(session: Session, name: str) -> Sequence[ModelVersion]:
    """All versions of a model, newest first."""
    query = select(ModelVersion).where(ModelVersion.name == name).order_by(ModelVersion.version.desc())
    return session.scalars(query).all()


def _best_first() -> tuple[Any, ...]:
    return (
        ModelVersion.class_count.desc(),
        ModelVersion.test_accuracy.desc().nulls_last(),
        ModelVersion.test_loss.asc().nulls_last(),
        ModelVersion.version,
    )

"""Models, their versions and aliases, and the artifacts that jobs leave."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
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


class Model(Base):
    """A name; `last_version` is the highest number it ever gave, `revision` grows with everything that changes."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_version: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer)


class AliasMove(Base):
    """One step in the history of an alias, to a version or away (null); the last one says where it stands."""

    __tablename__ = "alias_moves"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    alias: Mapped[str] = mapped_column(String(64))
    version: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (Index(None, "name", "alias", "id"),)


class ModelVersion(Base):
    """What a succeeded job became.

    `serving` says how it is asked and read (see `serving_of`), `data_sha256` what it learned from, `libraries` with
    what; the last two are null for versions of before there were such columns.
    """

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
    data_sha256: Mapped[str | None]
    libraries: Mapped[dict[str, Any] | None]
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
    """Give `version` the next number of its name, one that none ever had.

    Run it in the transaction that makes the job succeed: of two jobs that end at once the second waits for the first.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    first = insert(Model).values(name=version.name, last_version=1, revision=1)
    more = {"last_version": Model.last_version + 1, "revision": Model.revision + 1}
    statement = first.on_conflict_do_update(index_elements=[Model.name], set_=more)
    version.version = session.execute(statement.returning(Model.last_version)).scalar_one()
    session.add(version)
    session.flush()
    return version


def delete_version(session: Session, version: ModelVersion) -> list[str]:
    """Remove a version unless aliases point to it, which are returned; its number is not given again, its job stays."""
    touch(session, version.name)
    holding = [alias for alias, number in aliases(session, version.name).items() if number == version.version]
    if not holding:
        session.execute(delete(ModelVersion).where(ModelVersion.id == version.id))
    return holding


def move_alias(session: Session, name: str, alias: str, version: int | None) -> bool:
    """Let `alias` mean `version` from now on, or nothing; False when there is no such version.

    For `champion`, nothing means: the best version again. A move to where it stands already leaves no trace.
    """
    touch(session, name)
    if version is not None and resolve(session, f"{name}:{version}") is None:
        return False
    if aliases(session, name).get(alias) != version:
        session.add(AliasMove(name=name, alias=alias, version=version))
        session.flush()
    return True


def aliases(session: Session, name: str) -> dict[str, int]:
    """The aliases of a model that a person set, and the version that each means."""
    moves = session.scalars(select(AliasMove).where(AliasMove.name == name).order_by(AliasMove.id))
    last = {move.alias: move.version for move in moves}
    return {alias: version for alias, version in sorted(last.items()) if version is not None}


def alias_history(session: Session, name: str, alias: str) -> Sequence[AliasMove]:
    """Every move of an alias, oldest first."""
    query = select(AliasMove).where(AliasMove.name == name, AliasMove.alias == alias).order_by(AliasMove.id)
    return session.scalars(query).all()


def revisions(session: Session) -> dict[str, int]:
    """The revision of every model: who has seen it before knows which changed since."""
    return {model.name: model.revision for model in session.scalars(select(Model))}


def touch(session: Session, name: str) -> None:
    """Show in `revisions` that the model changes, after whoever is changing it just now."""
    session.execute(update(Model).where(Model.name == name).values(revision=Model.revision + 1))


def resolve(session: Session, ref: str) -> ModelVersion | None:
    """The version that `name`, `name:3` or `name@alias` means; None when there is none.

    `name` alone means `name@champion`: the version that a person gave this alias, else the best one, which is of the
    versions that know the most classes the one with the best test accuracy, and of equals the first. To tell two
    classes apart is easier than ten, so the two kinds do not compete.
    """
    match = REF.fullmatch(ref)
    if match is None:
        return None
    name, alias = match["name"], match["alias"] or CHAMPION
    number = int(match["version"]) if match["version"] else _pinned(session, name, alias)
    query = select(ModelVersion).where(ModelVersion.name == name)
    if number is not None:
        return session.scalars(query.where(ModelVersion.version == number)).one_or_none()
    return session.scalars(query.order_by(*_best_first()).limit(1)).one_or_none() if alias == CHAMPION else None


def _pinned(session: Session, name: str, alias: str) -> int | None:
    """The version to which a person moved the alias last."""
    query = select(AliasMove.version).where(AliasMove.name == name, AliasMove.alias == alias)
    return session.scalars(query.order_by(AliasMove.id.desc()).limit(1)).one_or_none()


def names(session: Session, after: str = "", most: int | None = None) -> list[str]:
    """The models' names beyond `after`, sorted; all of them, or the first `most`."""
    query = select(ModelVersion.name).where(ModelVersion.name > after).distinct().order_by(ModelVersion.name)
    return list(session.scalars(query.limit(most)))


def versions(session: Session, name: str, most: int | None = None, before: int | None = None) -> Sequence[ModelVersion]:
    """All versions of a model, or the `most` newest, newest first; with `before` of those with lower numbers."""
    query = select(ModelVersion).where(ModelVersion.name == name).order_by(ModelVersion.version.desc())
    if before is not None:
        query = query.where(ModelVersion.version < before)
    return session.scalars(query.limit(most)).all()


def _best_first() -> tuple[Any, ...]:
    return (
        ModelVersion.class_count.desc(),
        ModelVersion.test_accuracy.desc().nulls_last(),
        ModelVersion.test_loss.asc().nulls_last(),
        ModelVersion.version,
    )

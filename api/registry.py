"""Models, their versions, and the aliases by which people call them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api import deps
from api.artifacts import ArtifactView, artifact_views
from api.caller import Caller, InCaller
from api.deps import InRoom, Room
from api.errors import Conflict, Forbidden, Invalid, NotFound, documented
from api.views import Moment, Page, VersionView, version_view
from models import jobs, registry
from models.jobs import Job
from models.registry import CHAMPION, NAME, ModelVersion

router = APIRouter(prefix="/v1/models", tags=["models"])
Alias = Annotated[str, Path(pattern=f"^{NAME}$", examples=["lab"])]
MOST_LISTED = 500
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


class ModelView(BaseModel):
    """A model: its champion, its newest version, and who pinned what."""

    name: str
    champion: VersionView = Field(description="what `name` alone means")
    latest: VersionView
    aliases: dict[str, int] = Field(
        description="set by people; `champion` is among them only while it is pinned", examples=[{"lab": 2}]
    )


class VersionDetail(VersionView):
    """One version, with everything that is known of it."""

    aliases: list[str] = Field(description="what else it is called just now, `champion` included", examples=[["lab"]])
    evaluation: dict[str, float | None] | None = Field(description="loss and metrics on the test set")
    spec: dict[str, Any] = Field(description="the whole normalised spec of its job")
    artifacts: list[ArtifactView]


class AliasBody(BaseModel):
    """Where an alias should stand."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int = Field(ge=1, le=999_999_999, examples=[3])


class Move(BaseModel):
    """A step of an alias; `version` is null where it was removed."""

    version: int | None
    at: Moment


class AliasView(BaseModel):
    """An alias, the version that it means, and how it came there."""

    name: str
    alias: str
    version: int | None = Field(description="null when it was removed")
    history: list[Move] = Field(description="oldest first")


@router.get("", responses=documented(Invalid))
def list_models(
    room: InRoom,
    limit: Limit = MOST_LISTED,
    after: Annotated[str, Query(pattern=f"^({NAME})?$", description="`next` of the page before")] = "",
) -> Page[ModelView]:
    """The models, by name."""
    with room.database.read() as session:
        names = registry.names(session, after, limit + 1)
        found = [_view(session, name) for name in names[:limit]]
    data = [view for view in found if view is not None]
    return Page(data=data, next=names[limit - 1] if len(names) > limit else None)


@router.get("/{name}", responses=documented(NotFound))
def read(name: str, room: InRoom) -> ModelView:
    """One model."""
    with room.database.read() as session:
        view = _view(session, name)
    if view is None:
        raise _unknown(name)
    return view


@router.get("/{name}/versions", responses=documented(NotFound, Invalid))
def list_versions(
    name: str,
    room: InRoom,
    limit: Limit = MOST_LISTED,
    after: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="`next` of the page before")] = None,
) -> Page[VersionView]:
    """The versions, newest first."""
    with room.database.read() as session:
        found = registry.versions(session, name, limit + 1, before=after)
        if not found and not registry.versions(session, name, 1):
            raise _unknown(name)
    data = [version_view(version) for version in found[:limit]]
    return Page(data=data, next=str(data[-1].version) if len(found) > limit else None)


@router.get("/{name}/versions/{version}", responses=documented(NotFound))
def read_version(name: str, version: int, room: InRoom) -> VersionDetail:
    """One version: what it learned from, with which spec and libraries, how well, and its files."""
    with room.database.read() as session:
        return _detail(session, found_version(session, name, version))


@router.delete("/{name}/versions/{version}", status_code=204, responses=documented(Forbidden, NotFound, Conflict))
def delete_version(name: str, version: int, room: InRoom, caller: InCaller) -> None:
    """Delete a version that no alias and no waiting job needs. Its job and files stay; its number is not used again."""
    with room.database.write() as session:
        found = found_version(session, name, version)
        ref = f"{name}:{version}"
        _check_owns(session, found, caller)
        if (job := jobs.waits_for_version(session, name, version)) is not None:
            raise Conflict(f"{deps.called(session, job, caller)} has not ended and needs {ref}.")
        if aliases := registry.delete_version(session, found):
            raise Conflict(f"{ref} is called {' and '.join(aliases)}: move or remove the alias first.")
        jobs.forget_version(session, found.job_id, f"the model version {ref} was deleted")
    room.serving.notice()


@router.get("/{name}/aliases", responses=documented(NotFound))
def list_aliases(name: str, room: InRoom) -> Page[AliasView]:
    """The aliases that people set, each with its history."""
    with room.database.read() as session:
        if not registry.versions(session, name, most=1):
            raise _unknown(name)
        return Page(data=[_alias_view(session, name, alias) for alias in registry.aliases(session, name)])


@router.get("/{name}/aliases/{alias}", responses=documented(NotFound))
def read_alias(name: str, alias: Alias, room: InRoom) -> AliasView:
    """One alias, also one that was removed, with its history."""
    with room.database.read() as session:
        view = _alias_view(session, name, alias)
    if not view.history:
        raise NotFound(f"The model {name[:64]} never had this alias. Received: {alias}")
    return view


@router.put("/{name}/aliases/{alias}", responses=documented(Forbidden, NotFound, Invalid))
def put_alias(name: str, alias: Alias, body: AliasBody, room: InRoom, caller: InCaller) -> AliasView:
    """Let an alias mean a version from now on. `champion` is pinned by this: it then no longer follows the best.

    Both the version that it means so far and the new one must be one's own, or the key an admin's.
    """
    with room.database.write() as session:
        # First, so that what it means does not change between the look and the move.
        registry.touch(session, name)
        for ref in (f"{name}@{alias}", f"{name}:{body.version}"):
            _check_owns(session, registry.resolve(session, ref), caller)
        if not registry.move_alias(session, name, alias, body.version):
            raise _unknown(f"{name}:{body.version}")
    room.serving.notice()
    return _now(name, alias, room)


@router.delete("/{name}/aliases/{alias}", status_code=204, responses=documented(Forbidden, NotFound))
def delete_alias(name: str, alias: Alias, room: InRoom, caller: InCaller) -> None:
    """Remove an alias; its history stays. `champion` follows the best version again."""
    with room.database.write() as session:
        registry.touch(session, name)
        if alias not in registry.aliases(session, name):
            pinned = " The champion is not pinned." if alias == CHAMPION else ""
            raise NotFound(f"The model {name[:64]} has no such alias.{pinned} Received: {alias}")
        _check_owns(session, registry.resolve(session, f"{name}@{alias}"), caller)
        registry.move_alias(session, name, alias, None)
    room.serving.notice()


def found_version(session: Session, name: str, version: int) -> ModelVersion:
    """The version of this number. Raises NotFound."""
    found = registry.resolve(session, f"{name}:{version}")
    if found is None:
        raise _unknown(f"{name}:{version}")
    return found


def _check_owns(session: Session, version: ModelVersion | None, caller: Caller) -> None:
    """Raise Forbidden when the version, if there is any, was trained by somebody else."""
    if version is not None and not caller.owns(session.get_one(Job, version.job_id).owner):
        ref = f"{version.name}:{version.version}"
        raise Forbidden(f"{ref} was trained by somebody else: its owner, or a key with the scope admin, may do this.")


def called(session: Session, version: ModelVersion) -> list[str]:
    """The aliases that mean this version just now, sorted; `champion` is among them when it is the best one too."""
    names = {alias for alias, number in registry.aliases(session, version.name).items() if number == version.version}
    champion = registry.resolve(session, version.name)
    return sorted(names | {CHAMPION} if champion is not None and champion.id == version.id else names)


def _view(session: Session, name: str) -> ModelView | None:
    champion, newest = registry.resolve(session, name), registry.versions(session, name, most=1)
    if champion is None or not newest:
        return None
    return ModelView(
        name=name,
        champion=version_view(champion),
        latest=version_view(newest[0]),
        aliases=registry.aliases(session, name),
    )


def _detail(session: Session, version: ModelVersion) -> VersionDetail:
    job = session.get_one(Job, version.job_id)
    return VersionDetail(
        **version_view(version).model_dump(),
        aliases=called(session, version),
        evaluation=job.evaluation,
        spec=job.spec,
        artifacts=artifact_views(session, job.id),
    )


def _now(name: str, alias: str, room: Room) -> AliasView:
    with room.database.read() as session:
        return _alias_view(session, name, alias)


def _alias_view(session: Session, name: str, alias: str) -> AliasView:
    history = [Move(version=move.version, at=move.at) for move in registry.alias_history(session, name, alias)]
    return AliasView(name=name, alias=alias, version=history[-1].version if history else None, history=history)


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no such model or version. Received: {name[:80]}")

"""Models and their versions."""

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.deps import InRoom
from api.errors import NotFound, documented
from api.views import Page, VersionView, version_view
from models import registry

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelView(BaseModel):
    """A model: its champion, the version with the best test accuracy, and its newest version."""

    name: str
    champion: VersionView
    latest: VersionView


@router.get("")
def list_models(room: InRoom) -> Page[ModelView]:
    """Every model."""
    with room.database.read() as session:
        found = [_view(session, name) for name in registry.names(session)]
    return Page(data=[view for view in found if view is not None])


@router.get("/{name}", responses=documented(NotFound))
def read(name: str, room: InRoom) -> ModelView:
    """One model."""
    with room.database.read() as session:
        view = _view(session, name)
    if view is None:
        raise _unknown(name)
    return view


@router.get("/{name}/versions", responses=documented(NotFound))
def list_versions(name: str, room: InRoom) -> Page[VersionView]:
    """All versions, newest first."""
    with room.database.read() as session:
        found = registry.versions(session, name)
    if not found:
        raise _unknown(name)
    return Page(data=[version_view(version) for version in found])


def _view(session: Session, name: str) -> ModelView | None:
    champion, versions = registry.resolve(session, name), registry.versions(session, name)
    if champion is None or not versions:
        return None
    return ModelView(name=name, champion=version_view(champion), latest=version_view(versions[0]))


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no such model. Received: {name[:64]}")

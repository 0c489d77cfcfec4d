"""The model card of a version: as Markdown with links to this service, or as a zip that can be taken away."""

import io
import zipfile
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import select

from api import curves, evaluation_pictures
from api.card_subject import Links, Subject
from api.card_text import card
from api.curve_story import story_of
from api.deps import InRoom, Room
from api.errors import BadGateway, NotFound, Unavailable, documented
from api.registry import called, found_version
from api.stored import read_stored
from models.changes import changes_of
from models.history import Evaluation, Event
from models.jobs import Job
from models.registry import Artifact
from models.spec import JobSpec

router = APIRouter(prefix="/v1/models/{name}/versions/{version}", tags=["models"])


class MarkdownResponse(PlainTextResponse):
    """Markdown, RFC 7763."""

    media_type = "text/markdown"


@router.get("/card.md", response_class=MarkdownResponse, responses=documented(NotFound))
def card_md(name: str, version: int, room: InRoom, request: Request) -> Response:
    """The model card in Markdown: what the version is for, from what and how it was made, how well it does, and what
    it cannot do. Its plots are links to this service."""
    address = quote(str(request.base_url).rstrip("/"), safe=":/[]@")
    return MarkdownResponse(card(_subject(room, name, version), Links(address)))


@router.get(
    "/card.zip",
    response_class=Response,
    responses=documented(NotFound, BadGateway, Unavailable) | {200: {"content": {"application/zip": {}}}},
)
def card_zip(name: str, version: int, room: InRoom) -> Response:
    """The card with its plots beside it, in one file: the same bytes as long as the version has the same aliases."""
    subject = _subject(room, name, version)
    files = {"card.md": card(subject, Links(None)).encode()}
    files |= {picture: _drawn(room, subject, picture) for picture in subject.pictures}
    headers = {"Content-Disposition": f'attachment; filename="{name}-{version}-card.zip"'}
    return Response(_zipped(files, subject), media_type="application/zip", headers=headers)


def _subject(room: Room, name: str, version: int) -> Subject:
    with room.database.read() as session:
        found = found_version(session, name, version)
        job = session.get_one(Job, found.job_id)
        evaluation = session.get(Evaluation, job.id)
        files = session.scalars(select(Artifact).where(Artifact.job_id == job.id).order_by(Artifact.name)).all()
        states = select(Event).where(Event.job_id == job.id, Event.type == "state").order_by(Event.seq.desc())
        last = session.scalars(states.limit(1)).one_or_none()
        return Subject(
            version=found,
            job=job,
            spec=JobSpec.model_validate(job.spec),
            evaluation={} if evaluation is None else evaluation.data,
            files=files,
            called=called(session, found),
            ended=None if last is None else last.data.get("reason"),
            changes=[change for change in changes_of(session, job.id) if change.applied_at_step is not None],
        )


def _drawn(room: Room, subject: Subject, picture: str) -> bytes:
    job = subject.job
    title = job.name or job.id
    if picture == "evaluation.svg":
        return evaluation_pictures.draw(title, subject.evaluation)
    if picture == "curves.svg":
        with room.database.read() as session:
            # Whoever sees the model need not see the jobs before.
            return curves.draw(title, story_of(session, job, lambda _: False), "svg")
    stored = next(file for file in subject.files if file.name == picture)
    return read_stored(room.store, stored)


def _zipped(files: dict[str, bytes], subject: Subject) -> bytes:
    """A zip of `files`, each dated when the version was made."""
    at = subject.version.created_at
    moment: Any = (at.year, at.month, at.day, at.hour, at.minute, at.second)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, moment)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()

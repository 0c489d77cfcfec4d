"""The files that a job left: the list, and each of them whole or in part, as it was stored."""

import base64
import hashlib
import logging
import re
from collections.abc import Iterator
from itertools import chain

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.deps import InRoom, JobById
from api.errors import BadGateway, NotFound, RangeNotSatisfiable, Unavailable, documented
from api.stored import gone, not_as_stored, read_stored
from api.views import Moment, Page
from models.artifacts import ArtifactStore
from models.registry import Artifact

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
log = logging.getLogger(__name__)
MEDIA_TYPES = {
    "onnx": "application/octet-stream",
    "csv": "text/csv",
    "json": "application/json",
    "svg": "image/svg+xml",
}
# What is held of a file at a time. Larger ones cost fewer requests to a bucket, smaller ones less memory.
PIECE = 4 * 2**20
# One range, as RFC 9110 section 14.1.2 has it: `a-b`, `a-`, or `-n` for the last n bytes.
RANGE = re.compile(
    r"bytes=[ \t]*(?:(?P<first>\d{1,99})-(?P<last>\d{0,99})|-(?P<suffix>\d{1,99}))[ \t]*", re.ASCII | re.I
)


class ArtifactView(BaseModel):
    """One file."""

    name: str = Field(examples=["model.onnx"])
    size: int = Field(description="bytes")
    sha256: str
    created_at: Moment
    url: str


@router.get("/artifacts", responses=documented(NotFound))
def artifacts(job: JobById, room: InRoom) -> Page[ArtifactView]:
    """The files the job left."""
    with room.database.read() as session:
        return Page(data=artifact_views(session, job.id))


@router.get(
    "/artifacts/{name}",
    response_class=Response,
    responses=documented(NotFound, RangeNotSatisfiable, BadGateway, Unavailable)
    | {206: {"description": "the part that `Range` asked for"}, 304: {"description": "`If-None-Match` names it"}},
)
def artifact(job: JobById, name: str, room: InRoom, request: Request) -> Response:
    """One file, or with `Range` one part of it; its SHA-256 is the `ETag`, and the `Repr-Digest` of RFC 9530."""
    with room.database.read() as session:
        row = session.get(Artifact, (job.id, name))
    if row is None:
        raise NotFound(f"The job has no such artifact. Received: {name[:64]}")
    headers = _headers(row)
    if _is_known(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    wanted = None
    if request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        wanted = read_range(request.headers.get("range", ""), row.size)
    start, end = wanted or (0, row.size)
    pieces = read_pieces(room.store, row, start, end)
    # Before the headers are sent: what cannot be read at all is answered with an error.
    first = next(pieces, b"")
    headers["Content-Length"] = str(end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{row.size}"
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return StreamingResponse(chain([first], pieces), 200 if wanted is None else 206, headers, media_type)


def artifact_views(session: Session, job_id: str) -> list[ArtifactView]:
    """The files of a job, by name."""
    rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name))
    return [
        ArtifactView(
            name=row.name,
            size=row.size,
            sha256=row.sha256,
            created_at=row.created_at,
            url=f"/v1/jobs/{job_id}/artifacts/{row.name}",
        )
        for row in rows
    ]


def read_range(header: str, size: int) -> tuple[int, int] | None:
    """The part of `size` bytes that a `Range` asks for, as (start, end), end excluded; None for the whole.

    The whole is the answer to several ranges too, to units other than bytes, and to what makes no sense (RFC 9110
    section 14.2). Raises RangeNotSatisfiable when nothing is there.
    """
    match = RANGE.fullmatch(header)
    if match is None:
        return None
    if match["suffix"]:
        start, end = max(0, size - int(match["suffix"])), size
    else:
        start, end = int(match["first"]), size
        if match["last"]:
            if int(match["last"]) < start:
                return None
            end = min(size, int(match["last"]) + 1)
    if start >= end:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes. Received: {header[:80]}", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end


def read_pieces(store: ArtifactStore, row: Artifact, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an artifact from `start` to `end`, a few megabytes at a time.

    What is of one piece is checked against its sum before any of it is given. A larger file that is read whole is
    checked on the way, and its last piece is held back when the sum is wrong: nobody takes it for complete.

    Raises:
        BadGateway: the file is gone, or is not what was stored.
    """
    if row.size <= PIECE:
        yield read_stored(store, row)[start:end]
        return
    digest = hashlib.sha256()
    for at in range(start, end, PIECE):
        piece = _piece(store, row, at, min(at + PIECE, end))
        digest.update(piece)
        if (start, at + len(piece)) == (0, row.size) and digest.hexdigest() != row.sha256:
            raise not_as_stored(row)
        yield piece


def _piece(store: ArtifactStore, row: Artifact, start: int, end: int) -> bytes:
    try:
        piece = store.read(row.key, start, end)
    except FileNotFoundError as error:
        raise gone(row) from error
    if len(piece) != end - start:
        raise not_as_stored(row)
    return piece


def _headers(row: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(row.sha256)).decode()
    return {
        "ETag": f'"{row.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{row.name}"',
    }


def _is_known(if_none_match: str, etag: str) -> bool:
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or known == ["*"]

"""A job's history as it happens: server-sent events, or JSON by Accept."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api.caller import Caller, InCaller
from api.deps import InRoom, Room, find_job
from api.errors import ApiError, BadRequest, Invalid, NotFound, documented
from api.tailer import Entry, Found, read_after
from models.history import MOST_SEQ

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
KEEP_ALIVE_SECONDS = 15
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}, "application/json": {}}},
    204: {"description": "the job ended and there is nothing beyond this place: do not connect again"},
}


@router.get("/events", response_class=StreamingResponse, responses=documented(NotFound, Invalid) | ANSWERS)
async def events(
    request: Request,
    job_id: str,
    room: InRoom,
    caller: InCaller,
    after: Annotated[int, Query(ge=0, le=MOST_SEQ, description="a `seq`: events beyond it")] = 0,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Everything that happened, then what happens, each once: `id` is `seq`, `event` says of what kind it is."""
    place = after if last_event_id is None else _place(last_event_id)
    found = await to_thread.run_sync(_begin, room, job_id, caller, place, limiter=room.tailer.readers)
    if found.drained and not found.entries:
        return Response(status_code=204)
    if "application/json" in accept and "text/event-stream" not in accept:
        data = [{"type": entry.type, **entry.data} for entry in found.entries]
        return JSONResponse(
            {"data": data, "next": None if found.drained else str((data or [{"seq": place}])[-1]["seq"])}
        )
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    authorization = request.headers.get("authorization", "")
    stream = _stream(room, job_id, found, place, authorization)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _begin(room: Room, job_id: str, caller: Caller, place: int) -> Found:
    # The job is looked up here, too, and not by a dependency: a thousand clients would take all threads, and so the
    # interpreter from whoever predicts.
    find_job(job_id, room, caller)
    return read_after(room.database, {job_id: place})[job_id]


async def _stream(room: Room, job_id: str, found: Found, place: int, authorization: str) -> AsyncIterator[bytes]:
    """What was found beyond `place`, and what follows it, for as long as the key is good."""
    if found.entries:
        yield _sent(found.entries)
        place = found.entries[-1].seq
    if found.drained:
        return
    stream = room.tailer.join(job_id, place)
    try:
        while not stream.ended:
            entries = await stream.next(KEEP_ALIVE_SECONDS)
            if not _is_good(room, authorization):
                return
            if entries:
                yield _sent(entries)
            elif not stream.ended:
                yield b": still here\n\n"
    finally:
        room.tailer.leave(job_id, stream)


def _is_good(room: Room, authorization: str) -> bool:
    """Whether who has been let in with this key would be so again: it may have been revoked since."""
    try:
        room.keyring.caller(authorization)
    except ApiError:
        return False
    return True


def _sent(entries: list[Entry]) -> bytes:
    return b"".join(entry.sent for entry in entries)


def _place(last_event_id: str) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit()) or int(last_event_id[:20]) > MOST_SEQ:
        raise BadRequest(f"Last-Event-ID is the `seq` of an event. Received: {last_event_id[:40]!r}")
    return int(last_event_id)

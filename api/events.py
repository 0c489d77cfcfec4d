"""A job's history as it happens: server-sent events, or JSON by Accept."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event

from api.deps import InRoom, JobById, Room
from api.errors import BadRequest, Invalid, NotFound, documented
from api.tailer import MOST_SEQ, read_after

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
KEEP_ALIVE_SECONDS = 15
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}, "application/json": {}}},
    204: {"description": "the job ended and there is nothing beyond this place: do not connect again"},
}


@router.get("/events", response_class=StreamingResponse, responses=documented(NotFound, Invalid) | ANSWERS)
async def events(
    job: JobById,
    room: InRoom,
    after: Annotated[int, Query(ge=0, le=MOST_SEQ, description="a `seq`: events beyond it")] = 0,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Everything that happened, then what happens, each once: `id` is `seq`, `event` says of what kind it is."""
    place = after if last_event_id is None else _place(last_event_id)
    found = (await to_thread.run_sync(read_after, room.database, {job.id: place}))[job.id]
    if found.drained and not found.entries:
        return Response(status_code=204)
    if "application/json" in accept and "text/event-stream" not in accept:
        data = [{"type": entry.type, **entry.data} for entry in found.entries]
        return JSONResponse(
            {"data": data, "next": None if found.drained else str((data or [{"seq": place}])[-1]["seq"])}
        )
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(room, job.id, place), media_type="text/event-stream", headers=headers)


async def _stream(room: Room, job_id: str, place: int) -> AsyncIterator[bytes]:
    stream = room.tailer.join(job_id, place)
    try:
        while not stream.ended:
            entries = await stream.next(KEEP_ALIVE_SECONDS)
            if entries:
                told = (format_sse_event(data_str=entry.text, event=entry.type, id=str(entry.seq)) for entry in entries)
                yield b"".join(told)
            elif not stream.ended:
                yield b": still here\n\n"
    finally:
        room.tailer.leave(job_id, stream)


def _place(last_event_id: str) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit()) or int(last_event_id[:20]) > MOST_SEQ:
        raise BadRequest(f"Last-Event-ID is the `seq` of an event. Received: {last_event_id[:40]!r}")
    return int(last_event_id)

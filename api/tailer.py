"""One loop a process that reads new history from the database for all its event streams."""

import asyncio
import json
import logging
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from models.database import Database
from models.history import Epoch, Event, history_after
from models.jobs import TERMINAL, Job

TAIL_SECONDS = 0.1
BATCH = 500
MOST_SEQ = 2**31 - 1  # what a number of the database can be
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One row of history as it is sent: `seq` is its place, `type` the event's name."""

    seq: int
    type: str
    data: dict[str, Any]
    text: str = field(init=False)

    def __post_init__(self) -> None:
        # Made once, however many streams send it.
        object.__setattr__(self, "text", json.dumps(self.data, separators=(",", ":")))


@dataclass(frozen=True)
class Found:
    """What one job has beyond a place; `drained` when nothing can ever follow."""

    entries: list[Entry]
    drained: bool


def entry_of(row: Epoch | Event) -> Entry:
    """The row in the shape that api.md gives it."""
    common = {"seq": row.seq, "attempt": row.attempt, "at": row.at.isoformat().replace("+00:00", "Z")}
    if isinstance(row, Epoch):
        return Entry(row.seq, "epoch", common | epoch_fields(row))
    return Entry(row.seq, row.type, common | row.data)


def epoch_fields(row: Epoch) -> dict[str, Any]:
    """An epoch's own fields."""
    return {
        "epoch": row.epoch,
        "seconds": row.seconds,
        "learning_rate": row.learning_rate,
        "metrics": row.metrics,
        "nonfinite": row.nonfinite,
    }


def read_after(database: Database, places: dict[str, int]) -> dict[str, Found]:
    """What each job has beyond its place, at most `BATCH` rows each; a job that is gone counts as drained."""
    found: dict[str, Found] = {}
    with database.read() as session:
        rows = session.execute(select(Job.id, Job.last_seq, Job.status).where(Job.id.in_(places))).all()
        for job_id, last_seq, status in rows:
            new = history_after(session, job_id, places[job_id], BATCH) if last_seq > places[job_id] else []
            reached = new[-1].seq if new else places[job_id]
            found[job_id] = Found([entry_of(row) for row in new], status in TERMINAL and reached >= last_seq)
    return {job_id: found.get(job_id, Found([], drained=True)) for job_id in places}


class Stream:
    """One client's place in one job's history."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.ended = False
        self.news: asyncio.Queue[Found] = asyncio.Queue()

    async def next(self, patience: float) -> list[Entry]:
        """What is new, in order and none twice; nothing when `patience` seconds pass or the stream `ended`."""
        try:
            async with asyncio.timeout(patience):
                found = await self.news.get()
        except TimeoutError:
            return []
        entries = [entry for entry in found.entries if entry.seq > self.place]
        if entries:
            self.place = entries[-1].seq
        self.ended = found.drained
        return entries


class Tailer:
    """Asks the database about every 100 ms, once for all streams, and only while there are any."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._streams: dict[str, set[Stream]] = defaultdict(set)
        self._places: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="tailer")

    async def stop(self) -> None:
        """End the loop and every stream."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self.end_streams()

    def end_streams(self) -> None:
        """End every stream; clients connect again after the last event they saw."""
        for streams in self._streams.values():
            for stream in streams:
                stream.news.put_nowait(Found([], drained=True))

    def join(self, job_id: str, place: int) -> Stream:
        """A stream of what follows `place`."""
        stream = Stream(place)
        self._streams[job_id].add(stream)
        self._places[job_id] = min(place, self._places.get(job_id, place))
        self._wanted.set()
        return stream

    def leave(self, job_id: str, stream: Stream) -> None:
        """Forget the stream."""
        self._streams[job_id].discard(stream)
        if not self._streams[job_id]:
            del self._streams[job_id], self._places[job_id]
        if not self._streams:
            self._wanted.clear()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            asked = dict(self._places)
            try:
                found = await to_thread.run_sync(read_after, self._database, asked)
            except DBAPIError as error:
                log.warning("the database does not answer: %s", error.orig)
                found = {}
            for job_id, news in found.items():
                self._hand_out(job_id, asked[job_id], news)
            behind = any(len(news.entries) == BATCH for news in found.values())
            await asyncio.sleep(0 if behind else TAIL_SECONDS)

    def _hand_out(self, job_id: str, asked: int, news: Found) -> None:
        # Somebody may have left, or joined at an earlier place, while the database was asked.
        if job_id not in self._places or not (news.entries or news.drained):
            return
        behind = self._places[job_id] < asked
        if news.entries and not behind:
            self._places[job_id] = news.entries[-1].seq
        for stream in self._streams[job_id]:
            if behind and stream.place < asked:
                continue
            stream.news.put_nowait(news)

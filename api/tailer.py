"""One loop a process that reads new history from the database for all its event streams."""

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi.sse import format_sse_event
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from models.database import Database
from models.history import Epoch, Event, history_after
from models.jobs import TERMINAL, Job

TAIL_SECONDS = 0.1
AGAIN_SECONDS = 1.0
BATCH = 500
# So many of a job's rows are kept for its streams at least; who is further behind reads the database.
KEPT = 32
# Jobs a question, and streams a turn of the event loop: predictions come in between.
ASKED_AT_ONCE = 250
WOKEN_AT_ONCE = 16
# Threads that read for streams at the same time: each takes the interpreter from whoever predicts.
READERS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One row of history as it is sent: `seq` is its place, `type` the event's name."""

    seq: int
    type: str
    data: dict[str, Any]
    sent: bytes = field(init=False)

    def __post_init__(self) -> None:
        # Made once, however many streams send it.
        text = json.dumps(self.data, separators=(",", ":"))
        object.__setattr__(self, "sent", format_sse_event(data_str=text, event=self.type, id=str(self.seq)))


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
            # Rows beyond `last_seq` came while this was read, and of those perhaps not all are seen.
            new = history_after(session, job_id, places[job_id], BATCH, last_seq) if last_seq > places[job_id] else []
            reached = new[-1].seq if new else places[job_id]
            found[job_id] = Found([entry_of(row) for row in new], status in TERMINAL and reached >= last_seq)
    return {job_id: found.get(job_id, Found([], drained=True)) for job_id in places}


class Channel:
    """The newest of one job's history, for all its streams: everything from beyond `floor` to `place`."""

    def __init__(self, place: int) -> None:
        self.floor = self.place = place
        self.drained = False
        self.streams: set[Stream] = set()
        self._recent: list[Entry] = []

    def add(self, found: Found) -> None:
        """Take what was read after `place`."""
        self.drained = found.drained
        if not found.entries:
            return
        both = self._recent + found.entries
        self._recent = both[-max(KEPT, len(found.entries)) :]
        if len(self._recent) < len(both):
            self.floor = both[-len(self._recent) - 1].seq
        self.place = found.entries[-1].seq

    def beyond(self, place: int) -> list[Entry] | None:
        """What is known beyond `place`, in order; None when that is further back than what is kept."""
        if place < self.floor:
            return None
        first = len(self._recent)
        while first and self._recent[first - 1].seq > place:
            first -= 1
        return self._recent[first:]


class Stream:
    """One client's place in one job's history. It keeps nothing, so a client that takes nothing costs nothing."""

    def __init__(self, tailer: "Tailer", job_id: str, channel: Channel, place: int) -> None:
        self.place = place
        self.ended = False
        self._tailer, self._job_id, self._channel = tailer, job_id, channel
        self._news = asyncio.Event()
        self._news.set()  # perhaps there is something already

    def wake(self) -> None:
        """There may be something new."""
        self._news.set()

    def end(self) -> None:
        """Nothing more is to be told."""
        self.ended = True
        self._news.set()

    async def next(self, patience: float) -> list[Entry]:
        """What is new, in order and none twice; nothing when `patience` seconds pass or the stream `ended`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not self.ended:
                    await self._news.wait()
                    self._news.clear()
                    if entries := await self._known():
                        return entries
        return []

    async def _known(self) -> list[Entry]:
        entries, drained = self._channel.beyond(self.place), self._channel.drained
        if entries is None:
            self._news.set()  # there is more after it, be it in the database or in the channel
            entries, drained = await self._read()
        if entries:
            self.place = entries[-1].seq
        if drained and self.place >= self._channel.place:
            self.ended = True
        return entries

    async def _read(self) -> tuple[list[Entry], bool]:
        try:
            found = (await self._tailer.read({self._job_id: self.place}))[self._job_id]
        except DBAPIError as error:
            log.warning("the database does not answer: %s", error.orig)
            await asyncio.sleep(AGAIN_SECONDS)
            return [], False
        return found.entries, found.drained


class Tailer:
    """Asks the database about every 100 ms, once for all streams, and only while there are any.

    Attributes:
        readers: what limits the threads that read for streams.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._channels: dict[str, Channel] = {}
        self.readers = CapacityLimiter(READERS)
        self._wanted = asyncio.Event()
        self._woken = 0
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
        for channel in self._channels.values():
            for stream in channel.streams:
                stream.end()

    async def read(self, places: dict[str, int]) -> dict[str, Found]:
        """`read_after` in one of the few threads that read for streams."""
        return await to_thread.run_sync(read_after, self._database, places, limiter=self.readers)

    def join(self, job_id: str, place: int) -> Stream:
        """A stream of what follows `place`."""
        channel = self._channels.setdefault(job_id, Channel(place))
        stream = Stream(self, job_id, channel, place)
        channel.streams.add(stream)
        self._wanted.set()
        return stream

    def leave(self, job_id: str, stream: Stream) -> None:
        """Forget the stream."""
        channel = self._channels[job_id]
        channel.streams.discard(stream)
        if not channel.streams:
            del self._channels[job_id]
        if not self._channels:
            self._wanted.clear()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            asked = {job_id: channel for job_id, channel in self._channels.items() if not channel.drained}
            behind = False
            for first in range(0, len(asked), ASKED_AT_ONCE):
                behind |= await self._ask(dict(islice(asked.items(), first, first + ASKED_AT_ONCE)))
            await asyncio.sleep(0 if behind else TAIL_SECONDS)

    async def _ask(self, asked: dict[str, Channel]) -> bool:
        """Tell the streams of some jobs what is new; whether there is more at once."""
        try:
            found = await self.read({job_id: channel.place for job_id, channel in asked.items()})
        except DBAPIError as error:
            log.warning("the database does not answer: %s", error.orig)
            return False
        for job_id, news in found.items():
            if news.entries or news.drained:
                await self._tell(asked[job_id], news)
        return any(len(news.entries) == BATCH for news in found.values())

    async def _tell(self, channel: Channel, news: Found) -> None:
        channel.add(news)
        for stream in tuple(channel.streams):
            stream.wake()
            self._woken += 1
            if self._woken % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)

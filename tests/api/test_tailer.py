"""Event streams: each told everything once and in order, whoever else is slow, behind or gone."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from unittest.mock import patch

import pytest

from api import tailer as tailing
from api.tailer import KEPT, Stream, Tailer, read_after
from models import jobs
from models.database import Database
from models.history import EpochResult, Event
from models.jobs import Job, Status
from models.spec import parse_spec


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    with closing(Database(sqlite_url)) as opened:
        yield opened


def running_job(database: Database) -> str:
    """A job that a worker has, with its first two rows."""
    with database.write() as session:
        job_id = jobs.create(session, parse_spec({"dataset": "digits", "epochs": 1000})).id
        assert jobs.claim(session, job_id, "w1") is not None
    return job_id


def write_epochs(database: Database, job_id: str, first: int, last: int) -> None:
    """The epochs from `first` to `last`, in one transaction."""
    results = [EpochResult(epoch, 0.1, 0.001, {"loss": 0.5}) for epoch in range(first, last + 1)]
    with database.write() as session:
        assert jobs.record_epochs(session, job_id, 1, results, results[-1])


def end(database: Database, job_id: str) -> None:
    with database.write() as session:
        assert jobs.move(session, job_id, Status.SUCCEEDED)


def told(database: Database, body: Callable[[Tailer], Awaitable[list[int]]]) -> list[int]:
    """What `body` was told, by a tailer that runs meanwhile."""

    async def run() -> list[int]:
        tailer = Tailer(database)
        tailer.start()
        try:
            async with asyncio.timeout(20):
                return await body(tailer)
        finally:
            await tailer.stop()

    return asyncio.run(run())


async def follow(stream: Stream, upto: int | None = None) -> list[int]:
    """The numbers that a stream tells, to its end or up to one of them."""
    seqs: list[int] = []
    while not stream.ended and (upto is None or not seqs or seqs[-1] < upto):
        seqs += [entry.seq for entry in await stream.next(5)]
    return seqs


def test_a_client_that_takes_nothing_is_kept_for_by_nobody_and_reads_on_where_it_was(database: Database) -> None:
    job_id, batches = running_job(database), 4

    async def body(tailer: Tailer) -> list[int]:
        slow, quick = tailer.join(job_id, 0), tailer.join(job_id, 0)
        seen = await follow(quick, upto=2)
        for batch in range(batches):
            first = batch * KEPT + 1
            await asyncio.to_thread(write_epochs, database, job_id, first, first + KEPT - 1)
            seen += await follow(quick, upto=2 + first + KEPT - 1)
        assert seen == list(range(1, 2 + batches * KEPT + 1))
        channel = tailer._channels[job_id]
        assert channel.beyond(0) is None  # nothing of what `slow` has yet to hear is kept
        assert len(channel.beyond(channel.floor) or []) == KEPT
        await asyncio.to_thread(end, database, job_id)
        assert await follow(quick) == [2 + batches * KEPT + 1]
        return await follow(slow)

    assert told(database, body) == list(range(1, 2 + batches * KEPT + 2))


def test_streams_that_join_at_any_place_and_time_each_hear_the_rest(sqlite: Database) -> None:
    job_id = running_job(sqlite)
    write_epochs(sqlite, job_id, 1, 100)

    async def body(tailer: Tailer) -> list[int]:
        late = tailer.join(job_id, 90)
        early = tailer.join(job_id, 0)
        ahead = tailer.join(job_id, 110)
        assert await follow(late, upto=102) == list(range(91, 103))
        middle = tailer.join(job_id, 50)
        await asyncio.to_thread(write_epochs, sqlite, job_id, 101, 120)
        await asyncio.to_thread(end, sqlite, job_id)
        heard = [await follow(stream) for stream in (early, middle, late, ahead)]
        assert [seqs[0] for seqs in heard] == [1, 51, 103, 111]
        assert all(seqs == list(range(seqs[0], 124)) for seqs in heard)
        for stream in (late, early, ahead, middle):
            tailer.leave(job_id, stream)
        assert not tailer._channels
        return heard[0]

    assert len(told(sqlite, body)) == 123


def test_a_stream_ends_when_its_job_is_deleted_and_when_the_service_stops(sqlite: Database) -> None:
    deleted, kept = running_job(sqlite), running_job(sqlite)

    def delete() -> None:
        with sqlite.write() as session:
            session.delete(session.get_one(Job, deleted))

    async def body(tailer: Tailer) -> list[int]:
        first, second = tailer.join(deleted, 2), tailer.join(kept, 2)
        await asyncio.to_thread(delete)
        assert await follow(first) == []
        assert not second.ended
        tailer.end_streams()
        return await follow(second)

    assert told(sqlite, body) == []


def test_a_stream_that_is_behind_goes_on_after_the_database_was_away(sqlite: Database) -> None:
    job_id = running_job(sqlite)
    write_epochs(sqlite, job_id, 1, 3 * KEPT)
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/nothing")

    async def body(tailer: Tailer) -> list[int]:
        tailer.join(job_id, 3 * KEPT)
        behind = tailer.join(job_id, 0)
        with patch.object(tailing, "AGAIN_SECONDS", 0.01), patch.object(tailer, "_database", away):
            assert await behind.next(0.2) == []
        return await follow(behind, upto=3 * KEPT + 2)

    with closing(away):
        assert told(sqlite, body) == list(range(1, 3 * KEPT + 3))


def test_a_row_that_came_while_the_others_were_read_is_told_the_next_time(database: Database) -> None:
    job_id = running_job(database)
    write_epochs(database, job_id, 1, 2)
    # Of what is written meanwhile PostgreSQL may show the event in one question, and in the one before not the epoch.
    with database.write() as session:
        session.add(Event(job_id=job_id, seq=6, attempt=1, type="log", data={"message": "after an epoch 3"}))
    found = read_after(database, {job_id: 0})[job_id]
    assert [entry.seq for entry in found.entries] == [1, 2, 3, 4]

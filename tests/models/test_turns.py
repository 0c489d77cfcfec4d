"""Whose turn it is, who may have how many, and what place a job has, on every database."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

import models.tables  # noqa: F401 - every table must be known to the metadata
from models import jobs, standing, turns
from models.database import Base, Database
from models.jobs import Job, Status
from models.spec import parse_spec
from models.turns import Able, Turn

ANY = Able(("auto", "cpu", "gpu"))
SPECS = {
    (priority, device): parse_spec({"dataset": "digits", "priority": priority, "device": device})
    for priority in (0, 5, 9)
    for device in ("auto", "cpu", "gpu")
}


def add(
    session: Session, owner: str | None, priority: int = 5, device: str = "auto", memory_mb: int | None = None
) -> Job:
    job = jobs.create(session, SPECS[priority, device], owner)
    job.memory_mb = memory_mb
    session.flush()
    return job


def test_of_thirty_who_submit_at_once_each_is_served_before_any_is_served_twice(database: Database) -> None:
    owners = [f"student{number}" for number in range(30)]
    together = Barrier(6)

    def submit(some: list[str]) -> None:
        together.wait()
        for _ in range(3):
            for owner in some:
                with database.write() as session:
                    add(session, owner)

    served: list[str] = []

    def work(worker: str) -> None:
        while True:
            with database.write() as session:
                job = turns.take(session, worker, ANY, 0)
                if job is None:
                    return
                # Nobody else chooses before this transaction ends.
                served.append(str(job.owner))
            with database.write() as session:
                assert jobs.move(session, job.id, Status.SUCCEEDED)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(submit, [owners[start::6] for start in range(6)]))
        list(pool.map(work, ["w1", "w2"]))
    assert [Counter(served[start : start + 30]) for start in (0, 30, 60)] == [Counter(owners)] * 3


def test_the_bound_holds_when_many_claim_at_once_and_holds_up_nobody_else(database: Database) -> None:
    with database.write() as session:
        for _ in range(6):
            add(session, "many", priority=9)
        add(session, "few", priority=0)
        add(session, None, priority=0)
    together = Barrier(8)

    def claim(worker: int) -> Job | None:
        together.wait()
        with database.write() as session:
            return turns.take(session, f"w{worker}", ANY, 2)

    with ThreadPoolExecutor(8) as pool:
        taken = [job for job in pool.map(claim, range(8)) if job is not None]
    assert Counter(job.owner for job in taken) == {"many": 2, "few": 1, None: 1}
    ended = next(job for job in taken if job.owner == "many")
    with database.write() as session:
        assert jobs.move(session, ended.id, Status.PAUSED)
        following = turns.take(session, "w1", ANY, 2)
        assert following is not None
        assert following.owner == "many"
        assert turns.take(session, "w1", ANY, 2) is None


def test_who_loses_a_job_while_claiming_takes_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.write() as session:
        first, second = add(session, "a"), add(session, "a")
    claim = jobs.claim

    def cancelled_meanwhile(session: Session, job_id: str, worker: str) -> Job | None:
        if job_id == first.id:
            assert jobs.move(session, job_id, Status.CANCELLED)
        return claim(session, job_id, worker)

    monkeypatch.setattr(jobs, "claim", cancelled_meanwhile)
    with database.write() as session:
        taken = turns.take(session, "w1", ANY, 1)
    assert taken is not None
    assert taken.id == second.id


def test_without_owners_the_most_urgent_goes_next_and_of_equals_the_oldest(database: Database) -> None:
    with database.write() as session:
        first, second = add(session, None), add(session, None)
        urgent, gpu = add(session, None, priority=9), add(session, None, priority=9, device="gpu")
    here = Able(("auto", "cpu"))
    with database.write() as session:
        taken = [job.id for _ in range(3) if (job := turns.take(session, "w1", here, 0)) is not None]
        assert taken == [urgent.id, *sorted((first.id, second.id))]
        assert turns.next_job(session, here, 0) is None
        assert turns.next_job(session, Able(("gpu",)), 0) == gpu.id


@pytest.fixture(scope="module")
def scratch() -> Iterator[Database]:
    """A database in memory, for many small examples."""
    with closing(Database("sqlite://")) as made:
        Base.metadata.create_all(made.engine)
        yield made


OWNERS = st.sampled_from(["ann", "bob", "cy", None])
QUEUED = st.tuples(
    OWNERS, st.sampled_from([0, 5, 9]), st.sampled_from(["auto", "gpu"]), st.sampled_from([None, 100, 900])
)


@examples(max_examples=30, derandomize=True)
@given(
    queued=st.lists(QUEUED, max_size=10),
    running=st.lists(OWNERS, max_size=4),
    last=st.permutations(["ann", "bob", "cy", turns.NOBODY]).flatmap(lambda all_: st.sampled_from([all_[:2], all_])),
    able=st.sampled_from([ANY, Able(("auto", "cpu")), Able(("auto",), 500)]),
    most=st.sampled_from([0, 1, 2]),
)
def test_turns_are_as_the_rule_says(
    scratch: Database,
    queued: list[tuple[str | None, int, str, int | None]],
    running: list[str | None],
    last: list[str],
    able: Able,
    most: int,
) -> None:
    with scratch.write() as session:
        fill(session, queued, running, last)
        expected = by_the_rule(session, able, most)
        taken = []
        while (job := turns.take(session, "w", able, most)) is not None:
            taken.append(job.id)
        assert taken == expected


@examples(max_examples=30, derandomize=True)
@given(
    queued=st.lists(QUEUED, max_size=10),
    running=st.lists(OWNERS, max_size=4),
    last=st.permutations(["ann", "bob", "cy", turns.NOBODY]).flatmap(lambda all_: st.sampled_from([all_[:2], all_])),
    stride=st.sampled_from([2, 3, 250]),
)
def test_a_place_is_when_the_job_is_taken(
    scratch: Database,
    queued: list[tuple[str | None, int, str, int | None]],
    running: list[str | None],
    last: list[str],
    stride: int,
) -> None:
    with scratch.write() as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(standing, "STRIDE", stride)
        fill(session, queued, running, last)
        seen = standing.standing(session)
        waiting = session.scalars(select(Job).where(Job.status == Status.QUEUED)).all()
        places = {job.id: standing.place(session, seen, job) for job in waiting}
        taken = []
        while (job := turns.take(session, "w", ANY, 0)) is not None:
            taken.append(job.id)
        assert sorted(places, key=lambda job_id: places[job_id]) == taken
        assert sorted(places.values()) == list(range(1, len(taken) + 1))


def fill(
    session: Session, queued: list[tuple[str | None, int, str, int | None]], running: list[str | None], last: list[str]
) -> None:
    session.execute(delete(Job))
    session.execute(delete(Turn))
    session.expunge_all()
    for owner in running:
        assert jobs.claim(session, add(session, owner).id, "w")
    for each in queued:
        add(session, *each)
    session.add_all(Turn(owner=owner, last=number) for number, owner in enumerate(last, start=1))
    session.flush()


def by_the_rule(session: Session, able: Able, most: int) -> list[str]:
    """The ids in the order in which they should be taken, worked out one by one."""
    everything = session.scalars(select(Job)).all()
    waiting = [job for job in everything if job.status == Status.QUEUED and able.runs(job)]
    running = Counter(job.owner for job in everything if job.status == Status.RUNNING)
    last = dict(session.execute(select(Turn.owner, Turn.last)).all())
    taken: list[str] = []
    while True:
        best: dict[str | None, Job] = {}
        for job in sorted(waiting, key=lambda job: (-job.priority, job.id)):
            if not most or running[job.owner] < most:
                best.setdefault(job.owner, job)
        if not best:
            return taken
        following = min(best.values(), key=lambda job: (running[job.owner], last.get(job.owner or "", 0), job.id))
        waiting.remove(following)
        running[following.owner] += 1
        last[following.owner or ""] = max(last.values(), default=0) + 1
        taken.append(following.id)


def test_a_place_is_right_where_the_queue_was_seen_a_moment_ago(database: Database) -> None:
    """Jobs that came since are behind; jobs that were taken since may still count for the rest of the second."""
    with database.write() as session:
        ids = [add(session, "ann", priority=random.Random(n).choice([0, 5])).id for n in range(5)]
        seen = standing.standing(session)
        late = add(session, "ann", priority=0)
        newcomer = add(session, "bob")
        assert standing.place(session, seen, late) == len(ids) + 1
        assert standing.place(session, seen, newcomer) == 1

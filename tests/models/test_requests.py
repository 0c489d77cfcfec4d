"""Every request in every status, the worker obeying, stopping or gone; on every database, and by a state machine."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from models import jobs, lost_workers, requests
from models.database import Database
from models.history import EpochResult, history_after
from models.jobs import TERMINAL, Job, Status
from models.lost_workers import MOST_LOSSES
from models.spec import parse_spec

CANCEL, KEEP, PAUSE, RESUME = "cancel", "cancel, keep the model", "pause", "resume"


def new_job(database: Database) -> Job:
    with database.write() as session:
        return jobs.create(session, parse_spec({"dataset": "digits"}))


def read(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def ask(database: Database, job_id: str, what: str) -> str | None:
    with database.write() as session:
        match what:
            case "pause":
                return requests.request_pause(session, job_id)
            case "resume":
                return requests.request_resume(session, job_id)
            case _:
                return requests.request_cancel(session, job_id, keep_model=what == KEEP)


def claim(database: Database, job_id: str) -> Job | None:
    with database.write() as session:
        return jobs.claim(session, job_id, "host-1")


def learn(database: Database, job: Job) -> bool:
    """Record the next epoch, with its checkpoint."""
    with database.write() as session:
        epoch = session.get_one(Job, job.id).epoch + 1
        result = EpochResult(epoch, 0.1, 0.001, {"loss": 1.0})
        key = f"jobs/{job.id}/{job.attempt}/checkpoints/{epoch}.npz"
        return jobs.record_epochs(session, job.id, job.attempt, [result], result, checkpoint=key)


def lose(database: Database, job_id: str) -> Status | None:
    """The worker is gone, and the reaper sees to what it had."""
    job = read(database, job_id)
    with database.write() as session:
        return lost_workers.put_back(session, job_id, job.attempt, job.heartbeat)


def let_go(database: Database, job_id: str) -> Status | None:
    """The worker hands the job back, or obeys."""
    with database.write() as session:
        return requests.end_attempt(session, job_id, read(database, job_id).attempt, "the worker stops")


def bring(database: Database, state: str, checkpoint: bool) -> str:
    """A job in `state`: a status, or what is requested of one that runs."""
    job_id = new_job(database).id
    if checkpoint or state not in ("queued", "paused", "cancelled"):
        job = claim(database, job_id)
        assert job is not None
        if checkpoint:
            assert learn(database, job)
    match state:
        case "queued" | "paused" | "cancelled" | "succeeded" | "failed":
            if read(database, job_id).status != state:
                with database.write() as session:
                    assert jobs.move(session, job_id, Status(state))
        case "running":
            pass
        case "waits for its model":
            ask(database, job_id, KEEP)
            assert let_go(database, job_id) == Status.QUEUED
        case _:
            assert ask(database, job_id, state) == "requested"
    return job_id


def facts(database: Database, job_id: str) -> tuple[str, str | None, bool]:
    job = read(database, job_id)
    return job.status, job.requested, job.keep_model


# status, or what is requested; whether there is a checkpoint; what is asked; answer, status, requested, keep_model
ASKED: list[tuple[str, bool, str, str | None, str, str | None, bool]] = [
    ("queued", False, CANCEL, "done", "cancelled", None, False),
    ("queued", True, CANCEL, "done", "cancelled", None, False),
    ("queued", False, KEEP, "done", "cancelled", None, False),
    ("queued", True, KEEP, "requested", "queued", "cancel", True),
    ("queued", True, PAUSE, "done", "paused", None, False),
    ("queued", True, RESUME, "already", "queued", None, False),
    ("paused", True, CANCEL, "done", "cancelled", None, False),
    ("paused", False, KEEP, "done", "cancelled", None, False),
    ("paused", True, KEEP, "requested", "queued", "cancel", True),
    ("paused", False, PAUSE, "already", "paused", None, False),
    ("paused", True, RESUME, "done", "queued", None, False),
    ("running", False, CANCEL, "requested", "running", "cancel", False),
    ("running", False, KEEP, "requested", "running", "cancel", True),
    ("running", False, PAUSE, "requested", "running", "pause", False),
    ("running", False, RESUME, "already", "running", None, False),
    (PAUSE, True, CANCEL, "requested", "running", "cancel", False),
    (PAUSE, True, KEEP, "requested", "running", "cancel", True),
    (PAUSE, True, PAUSE, "requested", "running", "pause", False),
    (PAUSE, True, RESUME, "done", "running", None, False),
    (CANCEL, True, CANCEL, "requested", "running", "cancel", False),
    (CANCEL, True, KEEP, "requested", "running", "cancel", True),
    (CANCEL, True, PAUSE, None, "running", "cancel", False),
    (CANCEL, True, RESUME, None, "running", "cancel", False),
    (KEEP, True, CANCEL, "requested", "running", "cancel", True),
    (KEEP, True, KEEP, "requested", "running", "cancel", True),
    (KEEP, True, PAUSE, None, "running", "cancel", True),
    (KEEP, True, RESUME, None, "running", "cancel", True),
    ("waits for its model", True, CANCEL, "requested", "queued", "cancel", True),
    ("waits for its model", True, KEEP, "requested", "queued", "cancel", True),
    ("waits for its model", True, PAUSE, None, "queued", "cancel", True),
    ("waits for its model", True, RESUME, None, "queued", "cancel", True),
    ("cancelled", False, CANCEL, "already", "cancelled", None, False),
    ("cancelled", True, KEEP, "already", "cancelled", None, False),
    *[(ended, True, what, None, ended, None, False) for ended in ("succeeded", "failed") for what in (CANCEL, KEEP)],
    *[(str(ended), True, what, None, str(ended), None, False) for ended in TERMINAL for what in (PAUSE, RESUME)],
]


def test_a_request_in_every_status(database: Database) -> None:
    for state, checkpoint, what, answer, status, requested, keep in ASKED:
        job_id = bring(database, state, checkpoint)
        before = read(database, job_id).last_seq
        told = ask(database, job_id, what)
        row = (state, checkpoint, what)
        assert (row, told, *facts(database, job_id)) == (row, answer, status, requested, keep)
        grown = read(database, job_id).last_seq - before
        assert (row, grown > 0) == (row, told == "done" or (told == "requested" and not is_repeated(state, what)))


def is_repeated(state: str, what: str) -> bool:
    return state == what or (state, what) == (KEEP, CANCEL) or state == "waits for its model"


# what is requested; whether there is a checkpoint; status, requested, keep_model once the attempt has ended
ENDED: list[tuple[str, bool, str, str | None, bool]] = [
    ("running", False, "queued", None, False),
    ("running", True, "queued", None, False),
    (PAUSE, False, "paused", None, False),
    (PAUSE, True, "paused", None, False),
    (CANCEL, False, "cancelled", None, False),
    (CANCEL, True, "cancelled", None, False),
    (KEEP, False, "cancelled", None, True),
    (KEEP, True, "queued", "cancel", True),
]


@pytest.mark.parametrize("end", [let_go, lose])
def test_an_attempt_that_ends_leaves_what_was_asked(database: Database, end: Any) -> None:
    for state, checkpoint, *after in ENDED:
        job_id = bring(database, state, checkpoint)
        assert end(database, job_id) == after[0]
        assert (state, checkpoint, *facts(database, job_id)) == (state, checkpoint, *after)
        job = read(database, job_id)
        assert job.losses == (end is lose)
        assert job.worker is None or job.status == Status.CANCELLED


@pytest.mark.parametrize(
    ("state", "after"),
    [("running", "failed"), (PAUSE, "paused"), (CANCEL, "cancelled"), (KEEP, "cancelled")],
)
def test_the_third_loss_in_a_row_ends_what_is_not_to_pause(database: Database, state: str, after: str) -> None:
    job_id = bring(database, "queued", checkpoint=True)
    for _ in range(MOST_LOSSES - 1):
        assert claim(database, job_id)
        assert lose(database, job_id) == Status.QUEUED
        assert claim(database, job_id)
        assert let_go(database, job_id) == Status.QUEUED  # handed back by the worker: that counts for nothing
    assert claim(database, job_id)
    if state != "running":
        ask(database, job_id, state)
    assert lose(database, job_id) == after
    job = read(database, job_id)
    assert (job.requested, job.failure_kind) == (None, "worker_lost" if after == "failed" else None)


def test_a_ghost_changes_nothing_about_a_job_that_was_paused_meanwhile(database: Database) -> None:
    """A worker that was frozen for longer than the lease, and woke."""
    job_id = bring(database, PAUSE, checkpoint=True)
    job = read(database, job_id)
    assert lose(database, job_id) == Status.PAUSED
    with database.write() as session:
        assert requests.end_attempt(session, job_id, job.attempt, "a ghost") is None
        assert lost_workers.put_back(session, job_id, job.attempt, job.heartbeat) is None
    assert not learn(database, job)
    assert facts(database, job_id) == ("paused", None, False)


@dataclass
class Known:
    """What the machine knows of the job by itself."""

    epochs: int = 0
    losses: int = 0


class Life(RuleBasedStateMachine):
    """Jobs, one after another, under every order of requests, claims, epochs, losses, hand-backs and ends."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.id = new_job(self.database).id
        assert claim(self.database, self.id)
        self.job = read(self.database, self.id)
        self.known = Known()

    @rule(what=st.sampled_from([CANCEL, KEEP, PAUSE, RESUME]))
    def ask(self, what: str) -> None:
        before = self.job
        answer = ask(self.database, self.id, what)
        after = read(self.database, self.id)
        if answer == "requested":
            assert after.requested == ("pause" if what == PAUSE else "cancel")
        if answer in (None, "already"):
            assert (before.status, before.requested, before.last_seq) == (after.status, after.requested, after.last_seq)
        if answer is None:
            assert before.status in TERMINAL or before.requested == "cancel"
        if what == KEEP and answer is not None and before.status not in TERMINAL and before.checkpoint:
            assert after.keep_model
            assert after.status not in TERMINAL  # a model that was asked for is made, or its making is tried

    @precondition(lambda self: self.job.status == Status.QUEUED)
    @rule()
    def claim(self) -> None:
        assert claim(self.database, self.id)

    @precondition(lambda self: self.job.status == Status.RUNNING)
    @rule()
    def learn(self) -> None:
        assert learn(self.database, self.job)
        self.known = Known(self.known.epochs + 1)

    @precondition(lambda self: self.job.status == Status.RUNNING)
    @rule()
    def lose(self) -> None:
        self.known.losses += 1
        to = lose(self.database, self.id)
        assert to in (Status.QUEUED, Status.PAUSED, Status.FAILED, Status.CANCELLED)
        assert to != Status.FAILED or self.known.losses >= MOST_LOSSES
        assert to != Status.QUEUED or self.known.losses < MOST_LOSSES

    @precondition(lambda self: self.job.status == Status.RUNNING)
    @rule()
    def let_go(self) -> None:
        requested = self.job.requested
        to = let_go(self.database, self.id)
        assert to == Status.PAUSED or requested != "pause"
        assert to == Status.QUEUED or requested is not None

    @precondition(lambda self: self.job.status == Status.RUNNING and self.job.requested != "cancel")
    @rule()
    def succeed(self) -> None:
        with self.database.write() as session:
            assert jobs.move(session, self.id, Status.SUCCEEDED, by_attempt=self.job.attempt)

    @precondition(lambda self: self.job.status in TERMINAL)
    @rule(begun=st.booleans())
    def begin_another(self, begun: bool) -> None:
        self.id, self.known = new_job(self.database).id, Known()
        assert not begun or claim(self.database, self.id)

    @invariant()
    def nothing_is_left_over(self) -> None:
        job = self.job = read(self.database, self.id)
        if job.status != Status.RUNNING and job.requested is not None:
            assert (job.status, job.requested, job.keep_model) == (Status.QUEUED, "cancel", True)
            assert job.checkpoint is not None
        assert job.keep_model is False or job.requested == "cancel" or job.status in TERMINAL
        assert (job.finished_at is not None) == (job.status in TERMINAL)
        assert job.worker is None or job.status not in (Status.QUEUED, Status.PAUSED)
        assert job.epoch == self.known.epochs
        with self.database.read() as session:
            rows = history_after(session, self.id, 0, 10_000)
        assert [row.seq for row in rows] == list(range(1, job.last_seq + 1))

    def teardown(self) -> None:
        """A job can always reach a final status: by a cancel, and at most one attempt and a worker that is gone."""
        ask(self.database, self.id, CANCEL)
        for _ in range(MOST_LOSSES):
            claim(self.database, self.id)
            lose(self.database, self.id)
        assert read(self.database, self.id).status in TERMINAL


@pytest.fixture
def life(tmp_path: Path, sqlite_url: str) -> Iterator[type[Life]]:
    """The machine on a database of its own."""
    with closing(Database(sqlite_url)) as database:
        yield type("LifeHere", (Life,), {"database": database})


def test_any_order_of_events_keeps_to_the_law(life: type[Life]) -> None:
    run_state_machine_as_test(
        life, settings=settings(max_examples=40, stateful_step_count=30, derandomize=True, deadline=None)
    )

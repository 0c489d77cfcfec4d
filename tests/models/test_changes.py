"""What may be asked of a training under way, and that nothing is lost when several ask, or its worker ends it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import select, text

from models import jobs, runs
from models.changes import MOST_CHANGES, Unchangeable, changes_of, request_change
from models.database import Database
from models.history import Change, EpochResult
from models.jobs import Job, Status
from models.spec import JobSpec, SpecError, parse_spec
from models.spec.change import ChangeSpec
from models.spec.checks import problems_of
from models.spec.parsing import check_change
from tests.models.test_studies import new_study
from tests.servers import wait_until

COSINE = {"type": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 100}
WATCHED = {"early_stopping": {"patience": 2}}
LOWERED = {"reduce_on_plateau": {"patience": 1}}


def running(database: Database, done: int = 0, **spec: Any) -> Job:
    """A job that a worker has, with `done` epochs on record."""
    with database.write() as session:
        job = jobs.create(session, parse_spec({"dataset": "digits", "epochs": 9} | spec))
        taken = jobs.claim(session, job.id, "w1")
        assert taken is not None
        epochs = [EpochResult(epoch, 0.1, 0.001, {"loss": 0.5}) for epoch in range(1, done + 1)]
        if epochs:
            assert jobs.record_epochs(session, job.id, 1, epochs, epochs[-1])
    return taken


def ask(database: Database, job: Job, **change: Any) -> int:
    """Ask for a change; its number."""
    with database.write() as session:
        return request_change(session, job.id, ChangeSpec.model_validate(change), change).number


def test_changes_are_numbered_and_the_worker_sees_that_there_are_new_ones(database: Database) -> None:
    job = running(database)
    with database.read() as session:
        assert jobs.control(session, job.id, 1) == jobs.Control(None, False, 0)
    asked: list[dict[str, Any]] = [{"learning_rate": 0.5}, {"epochs": 12}, {"learning_rate": COSINE, "epochs": 4}]
    assert [ask(database, job, **change) for change in asked] == [1, 2, 3]
    with database.write() as session:
        assert jobs.control(session, job.id, 1) == jobs.control(session, job.id, 1, lock=True)
        assert jobs.control(session, job.id, 1) == jobs.Control(None, False, 3)
        rows = changes_of(session, job.id)
    assert [row.spec for row in rows] == [ChangeSpec.model_validate(change) for change in asked]
    assert [(row.old, row.applied_at_step, row.epoch, row.applied_at) for row in rows] == [(None, None, None, None)] * 3


def test_what_came_while_a_worker_waited_for_the_job_is_seen_by_it(database: Database) -> None:
    job = running(database)

    def worker() -> jobs.Control | None:
        with database.write() as session:
            return jobs.control(session, job.id, 1, lock=True)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            request_change(session, job.id, ChangeSpec(epochs=12))
            seen = pool.submit(worker)
            wait_until(lambda: someone_waits(database), "a worker that waits")
        assert seen.result(timeout=30) == jobs.Control(None, False, 1)


def someone_waits(database: Database) -> bool:
    """Whether a transaction waits for another; on SQLite those of a process wait for its one lock before they begin."""
    if database.engine.dialect.name == "sqlite":
        return True
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.read() as session:
        return bool(session.scalar(text(query)))


def test_of_many_at_once_each_has_its_number_and_none_comes_after_the_end(database: Database) -> None:
    job = running(database)
    together = threading.Barrier(7)

    def send(n: int) -> list[int]:
        together.wait(timeout=60)
        numbers: list[int] = []
        with suppress(Unchangeable):
            numbers.extend(ask(database, job, epochs=epochs + n) for epochs in range(10, 16))
        return numbers

    def end() -> int:
        together.wait(timeout=60)
        wait_until(lambda: asked(database, job) > 4, "some changes")
        with database.write() as session:
            wanted = jobs.control(session, job.id, 1, lock=True)
            assert jobs.move(session, job.id, Status.SUCCEEDED, by_attempt=1)
        assert wanted is not None
        return wanted.changes

    with ThreadPoolExecutor(7) as pool:
        last = pool.submit(end)
        numbers = sorted(number for sent in pool.map(send, range(6)) for number in sent)
    assert numbers == list(range(1, last.result() + 1))


def asked(database: Database, job: Job) -> int:
    with database.read() as session:
        return len(changes_of(session, job.id))


@pytest.mark.parametrize(
    ("spec", "done", "change", "pointer"),
    [
        ({}, 3, {"epochs": 3}, "/epochs"),
        ({}, 3, {"epochs": 2, "learning_rate": 0.5}, "/epochs"),
        ({}, 3, {"early_stopping": {"patience": 3}}, "/early_stopping"),
        (LOWERED, 0, {"learning_rate": COSINE}, "/learning_rate"),
        ({}, 0, {"learning_rate": COSINE | {"warmup_steps": 4}}, "/learning_rate/warmup_steps"),
        ({}, 0, {"learning_rate": COSINE | {"initial_learning_rate": 0.0}}, "/learning_rate/initial_learning_rate"),
        (
            {},
            0,
            {"learning_rate": {"type": "piecewise_constant", "boundaries": [5, 5], "values": [1.0, 2.0, 3.0]}},
            "/learning_rate/boundaries/1",
        ),
        (
            {},
            0,
            {
                "learning_rate": {
                    "type": "exponential_decay",
                    "initial_learning_rate": 1.0,
                    "decay_steps": 1,
                    "decay_rate": 1.1,
                }
            },
            "/learning_rate/decay_rate",
        ),
    ],
)
def test_what_makes_no_sense_for_this_job_is_refused(
    spec: dict[str, Any], done: int, change: dict[str, Any], pointer: str
) -> None:
    job = parse_spec({"dataset": "digits", "epochs": 9} | spec)
    with pytest.raises(SpecError) as caught:
        check_change(ChangeSpec.model_validate(change), job, done, change)
    [problem] = caught.value.problems
    assert problem.pointer == pointer
    assert "Received: " in problem.detail


def test_what_was_asked_before_counts(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    grows = {"type": "exponential_decay", "initial_learning_rate": 1.0, "decay_steps": 100, "decay_rate": 10.0}
    job = running(database, 3, batch_size="full", **WATCHED)
    for change in ({"epochs": 4}, {"early_stopping": {"patience": 0}}, {"learning_rate": grows}, {"epochs": 400}):
        ask(database, job, **change)
    with pytest.raises(SpecError, match=r"beyond 10,000 by the last step of its schedule, 499.*epochs=500"):
        ask(database, job, epochs=500)
    ask(database, job, epochs=500, learning_rate=0.5)
    database.close()


def test_only_a_job_that_has_not_ended_is_changed(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    for status in Status:
        job = running(database, 3)
        if status != Status.RUNNING:
            with database.write() as session:
                assert jobs.move(session, job.id, status)
        with pytest.raises(SpecError if status not in jobs.TERMINAL else Unchangeable, match=r"done|nothing to change"):
            ask(database, job, epochs=3)
        if status not in jobs.TERMINAL:
            assert ask(database, job, epochs=4) == 1
    database.close()


def test_a_run_of_a_study_stays_what_the_study_says(sqlite_url: str) -> None:
    with closing(Database(sqlite_url)) as database:
        study_id = new_study(database)
        with database.write() as session:
            runs.advance(session, study_id)
            run = session.scalars(select(Job).where(Job.study_id == study_id)).first()
        assert run is not None
        with pytest.raises(Unchangeable, match=f"a run of the study {study_id}"):
            ask(database, run, learning_rate=0.5)


def test_why_a_job_that_runs_is_not_changed(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    job = running(database)
    whys: dict[str, dict[str, Any]] = {
        "is being cancelled": {"requested": "cancel"},
        "is trained and exporting": {"requested": "pause", "phase": "exporting"},
        "of the kind ensemble": {"kind": "ensemble"},
    }
    for why, values in whys.items():
        with database.write() as session:
            row = session.get_one(Job, job.id)
            before = {name: getattr(row, name) for name in values}
            for name, value in values.items():
                setattr(row, name, value)
        with pytest.raises(Unchangeable, match=why):
            ask(database, job, epochs=20)
        with database.write() as session:
            for name, value in before.items():
                setattr(session.get_one(Job, job.id), name, value)
    with database.write() as session:
        session.add_all(Change(job_id=job.id, number=number, new={"epochs": 20}) for number in range(1, MOST_CHANGES))
    assert ask(database, job, epochs=20) == MOST_CHANGES
    with pytest.raises(Unchangeable, match=f"may be {MOST_CHANGES}"):
        ask(database, job, epochs=20)
    with database.write() as session:
        session.delete(session.get_one(Job, job.id))
    with pytest.raises(Unchangeable, match="no such job"):
        ask(database, job, epochs=20)
    assert asked(database, job) == 0
    database.close()


STEPS = st.integers(-1, 200)
RATES = st.sampled_from([0, 1e-4, 1, 0.5, 1.5, 1e4, 1e5, True, None])
SCHEDULES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["cosine_decay", "exponential_decay", "polynomial_decay"]),
        "initial_learning_rate": RATES,
        "decay_steps": STEPS,
    },
    optional={"decay_rate": RATES, "warmup_steps": STEPS},
)
PIECES = st.fixed_dictionaries(
    {
        "type": st.just("piecewise_constant"),
        "boundaries": st.lists(STEPS, min_size=1, max_size=2),
        "values": st.lists(RATES, min_size=2, max_size=3),
    }
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": RATES | SCHEDULES | PIECES,
        "epochs": STEPS,
        "early_stopping": STEPS | st.fixed_dictionaries({"patience": STEPS}),
    },
)


@given(body=BODIES, part=st.sampled_from([{}, WATCHED, LOWERED]))
def test_a_change_that_is_taken_makes_a_spec_that_could_have_been_submitted(
    body: dict[str, Any], part: dict[str, Any]
) -> None:
    spec = JobSpec.model_validate({"dataset": "digits", "epochs": 3} | part)
    try:
        change = ChangeSpec.model_validate(body)
        check_change(change, spec, 0, body)
    except ValidationError:
        return
    except SpecError as error:
        named = {problem.pointer.split("/")[1] for problem in error.problems}
        if named <= body.keys():
            return
        raise
    after = change.of(spec)
    assert problems_of(after) == []
    assert after.optimizer.learning_rate == (change.learning_rate or spec.optimizer.learning_rate)
    assert after.epochs == (change.epochs or spec.epochs)

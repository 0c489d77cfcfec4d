"""The law of statuses, claiming, fencing and numbering, on every database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from models import jobs
from models.database import Database
from models.history import Epoch, EpochResult, Event, history_after
from models.jobs import TERMINAL, TRANSITIONS, Job, Status
from models.spec import parse_spec


def new_job(database: Database, **spec: object) -> Job:
    with database.write() as session:
        return jobs.create(session, parse_spec({"dataset": "digits", **spec}))


def claimed(database: Database, job: Job) -> Job:
    with database.write() as session:
        taken = jobs.claim(session, job.id, "w1")
    assert taken is not None
    return taken


def read(database: Database, job: Job) -> Job:
    with database.read() as session:
        return session.get_one(Job, job.id)


def result(epoch: int, loss: float = 0.5) -> EpochResult:
    return EpochResult(epoch, 0.1, 0.001, {"loss": loss, "accuracy": 0.9})


def put(database: Database, job: Job, status: Status) -> None:
    """Bring a new job to `status` by lawful ways."""
    ways = {
        Status.QUEUED: [],
        Status.RUNNING: [Status.RUNNING],
        Status.PAUSED: [Status.PAUSED],
        Status.SUCCEEDED: [Status.RUNNING, Status.SUCCEEDED],
        Status.FAILED: [Status.RUNNING, Status.FAILED],
        Status.CANCELLED: [Status.CANCELLED],
    }
    for step in ways[status]:
        with database.write() as session:
            assert jobs.move(session, job.id, step)


@pytest.mark.parametrize("to", Status)
@pytest.mark.parametrize("source", Status)
def test_a_status_changes_only_as_the_table_says(database: Database, source: Status, to: Status) -> None:
    job = new_job(database)
    put(database, job, source)
    before = read(database, job)
    with database.write() as session:
        moved = jobs.move(session, job.id, to)
    after = read(database, job)
    assert moved == (to in TRANSITIONS[source])
    assert after.status == (to if moved else source)
    assert after.last_seq == before.last_seq + moved
    assert (after.finished_at is not None) == (after.status in TERMINAL)


def test_of_many_workers_one_gets_the_job(database: Database) -> None:
    job = new_job(database)

    def claim(worker: int) -> Job | None:
        with database.write() as session:
            return jobs.claim(session, job.id, f"w{worker}")

    with ThreadPoolExecutor(8) as pool:
        got = [taken for taken in pool.map(claim, range(8)) if taken is not None]
    assert len(got) == 1
    assert read(database, job).attempt == 1
    assert read(database, job).worker == got[0].worker


def test_an_attempt_that_was_given_up_writes_nothing_more(database: Database) -> None:
    job = claimed(database, new_job(database))
    with database.write() as session:
        assert jobs.record_epochs(session, job.id, 1, [result(1)], result(1))
        assert jobs.move(session, job.id, Status.QUEUED, by_attempt=1)
    second = claimed(database, job)
    assert second.attempt == 2
    with database.write() as session:
        assert not jobs.record_epochs(session, job.id, 1, [result(2)], result(2))
        assert not jobs.record_event(session, job.id, 1, "log", {"message": "a ghost"})
        assert not jobs.beat(session, job.id, 1)
        assert not jobs.set_phase(session, job.id, 1, "training")
        assert jobs.control(session, job.id, 1) is None
        assert not jobs.move(session, job.id, Status.SUCCEEDED, by_attempt=1)
        assert jobs.record_epochs(session, job.id, 2, [result(2)], result(2))
    with database.read() as session:
        epochs = session.scalars(select(Epoch).order_by(Epoch.epoch)).all()
    assert [(epoch.epoch, epoch.attempt) for epoch in epochs] == [(1, 1), (2, 2)]


def test_numbers_are_gapless_when_many_write_at_once(database: Database) -> None:
    job = claimed(database, new_job(database))

    def write(n: int) -> None:
        with database.write() as session:
            if n % 3:
                assert jobs.record_event(session, job.id, 1, "log", {"message": str(n)})
            else:
                assert jobs.record_epochs(session, job.id, 1, [result(n + 1), result(n + 2)], result(n + 2))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(30)))
    with database.read() as session:
        rows = history_after(session, job.id, 0, 1000)
    assert [row.seq for row in rows] == list(range(1, read(database, job).last_seq + 1))
    assert len(rows) == 2 + 20 + 20  # created and claimed, 20 logs, 20 epochs


def test_a_failed_transaction_leaves_no_gap(database: Database) -> None:
    job = claimed(database, new_job(database))

    def fail() -> None:
        with database.write() as session:
            assert jobs.record_event(session, job.id, 1, "log", {"message": "lost"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.write() as session:
        assert jobs.record_event(session, job.id, 1, "log", {"message": "kept"})
    with database.read() as session:
        rows = history_after(session, job.id, 2, 10)
    assert [(row.seq, row.data["message"]) for row in rows if isinstance(row, Event)] == [(3, "kept")]


def test_a_number_that_is_not_finite_is_null_and_named(database: Database) -> None:
    job = claimed(database, new_job(database))
    with database.write() as session:
        assert jobs.record_epochs(
            session, job.id, 1, [result(1, float("nan")), result(2, float("-inf"))], result(2, float("-inf"))
        )
    with database.read() as session:
        first, second = session.scalars(select(Epoch).order_by(Epoch.epoch)).all()
    assert (first.metrics, first.nonfinite) == ({"loss": None, "accuracy": 0.9}, {"loss": "nan"})
    assert (second.metrics["loss"], second.nonfinite) == (None, {"loss": "-inf"})
    assert read(database, job).latest_metrics == {"loss": None, "accuracy": 0.9}


def test_moments_come_back_in_utc(database: Database) -> None:
    job = read(database, new_job(database))
    assert job.created_at.utcoffset() is not None
    assert job.created_at.utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_who_waits_for_the_weights_of_a_job_is_known(database: Database) -> None:
    parent, other = new_job(database), new_job(database)
    child = new_job(database, initial_weights={"job": parent.id, "epoch": 1})
    with database.read() as session:
        assert jobs.waits_for_weights_of(session, parent.id) == child.id
        assert jobs.waits_for_weights_of(session, other.id) is None


def test_who_waits_for_a_version_is_known(database: Database) -> None:
    def waiting(name: str, version: int) -> str | None:
        with database.read() as session:
            return jobs.waits_for_version(session, name, version)

    child = new_job(database, initial_weights={"model": "digits:3"})
    members = {"members": ["digits:4", "digits:51"]}
    group = new_job(database, kind="ensemble", ensemble=members)
    assert (waiting("digits", 3), waiting("digits", 4), waiting("digits", 51)) == (child.id, group.id, group.id)
    assert [waiting(*each) for each in (("digits", 5), ("digits", 1), ("its", 3), ("mnist", 3))] == [None] * 4
    put(database, child, Status.CANCELLED)
    assert waiting("digits", 3) is None


def test_a_job_forgets_its_version(database: Database) -> None:
    job = new_job(database)
    put(database, job, Status.SUCCEEDED)
    with database.write() as session:
        session.get_one(Job, job.id).model_name = "digits"
    with database.write() as session:
        jobs.forget_version(session, job.id, "gone")
    assert (read(database, job).model_name, read(database, job).status) == (None, Status.SUCCEEDED)
    with database.read() as session:
        *_, last = history_after(session, job.id, 0, 100)
    assert isinstance(last, Event)
    assert (last.type, last.data, last.seq) == ("log", {"message": "gone"}, read(database, job).last_seq)


def test_jobs_are_in_the_order_in_which_they_came_although_the_clock_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for seconds in (1_000_000, 1_002_000, 1_000_001, 1_000_001, 500_000, 1_003_000):
        monkeypatch.setattr("models.ids.time.time_ns", lambda seconds=seconds: seconds * 10**9)
        with database.write() as session:
            made.append(jobs.create(session, parse_spec({"dataset": "digits"})).id)
    assert made == sorted(made)
    assert len(set(made)) == len(made)

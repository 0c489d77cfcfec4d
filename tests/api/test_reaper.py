"""The reaper puts back what lost its worker, once, and rings for what waits in vain; on every database."""

from collections.abc import Iterator

import pytest

from api.queue import Doorbell
from api.reaper import Reaper
from models import jobs, requests, workers
from models.database import Database
from models.history import EpochResult, Event, history_after
from models.jobs import Job, Status
from models.lost_workers import LOST
from models.settings import Settings
from models.spec import parse_spec
from models.workers import Worker


class Bell(Doorbell):
    """A real doorbell, rung at once, that also writes down what it rang."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rung: list[str] = []

    def ring(self, job: Job) -> None:
        super().ring(job)
        self.look()

    def _send(self, job_id: str, queue: str, priority: int) -> bool:
        self.rung.append(job_id)
        return super()._send(job_id, queue, priority)


@pytest.fixture
def bell(settings: Settings) -> Iterator[Bell]:
    """A doorbell on the run's Redis."""
    made = Bell(settings)
    yield made
    made.close()


@pytest.fixture
def reaper(settings: Settings, database: Database, bell: Bell) -> Reaper:
    """A reaper that is looked through by hand."""
    return Reaper(settings.model_copy(update={"lease_seconds": 10.0, "ring_seconds": 5.0}), database, bell)


def new_job(database: Database, **spec: object) -> Job:
    with database.write() as session:
        return jobs.create(session, parse_spec({"dataset": "digits", **spec}))


def claim(database: Database, job: Job) -> None:
    with database.write() as session:
        assert jobs.claim(session, job.id, "w1")


def status(database: Database, job: Job) -> str:
    with database.read() as session:
        return session.get_one(Job, job.id).status


def beat(database: Database, job: Job) -> None:
    with database.write() as session:
        assert jobs.beat(session, job.id, 1)


def announce(database: Database, name: str = "w1", state: str = "idle") -> None:
    with database.write() as session:
        workers.announce(session, Worker(id=name, name=name, pid=1, status=state, queues=["train", "train.cpu"]))


def worker_beats(database: Database, name: str = "w1") -> None:
    with database.write() as session:
        assert workers.update_worker(session, name)


def test_a_silent_job_is_queued_again_and_rung(database: Database, reaper: Reaper, bell: Bell) -> None:
    job = new_job(database)
    claim(database, job)
    for moment in range(10):
        reaper.look(float(moment))
    assert status(database, job) == Status.RUNNING
    reaper.look(10.0)
    assert status(database, job) == Status.QUEUED
    assert bell.rung == [job.id]
    with database.read() as session:
        last = history_after(session, job.id, 0, 100)[-1]
    assert isinstance(last, Event)
    assert last.data == {"status": "queued", "reason": LOST}


def test_a_beating_job_is_left_alone(database: Database, reaper: Reaper) -> None:
    job = new_job(database)
    claim(database, job)
    for moment in range(0, 60, 3):
        reaper.look(float(moment))
        beat(database, job)
    assert status(database, job) == Status.RUNNING


def test_a_silent_job_whose_owner_cancelled_it_ends(database: Database, reaper: Reaper, bell: Bell) -> None:
    job = new_job(database)
    claim(database, job)
    with database.write() as session:
        requests.request_cancel(session, job.id, keep_model=False)
    for moment in range(12):
        reaper.look(float(moment))
    assert status(database, job) == Status.CANCELLED
    assert bell.rung == []


def test_a_reaper_that_was_held_up_itself_blames_nobody(database: Database, reaper: Reaper) -> None:
    job = new_job(database)
    claim(database, job)
    reaper.look(0.0)
    reaper.look(1000.0)
    reaper.look(1001.0)
    assert status(database, job) == Status.RUNNING
    for moment in range(1002, 1011):
        reaper.look(float(moment))
    assert status(database, job) == Status.QUEUED


def test_of_two_reapers_one_acts(database: Database, reaper: Reaper, settings: Settings, bell: Bell) -> None:
    other = Reaper(settings.model_copy(update={"lease_seconds": 10.0}), database, bell)
    job = new_job(database)
    claim(database, job)
    for moment in range(15):
        reaper.look(float(moment))
        other.look(float(moment))
    with database.read() as session:
        events = [row for row in history_after(session, job.id, 0, 100) if isinstance(row, Event)]
    assert [event.data["status"] for event in events] == ["queued", "running", "queued"]


def test_workers_live_while_they_beat(database: Database, reaper: Reaper) -> None:
    announce(database)
    reaper.look(0.0)
    assert reaper.alive == frozenset()  # it may have been dead for a year
    worker_beats(database)
    reaper.look(1.0)
    assert reaper.alive == {"w1"}
    for moment in range(2, 12):
        reaper.look(float(moment))
    assert reaper.alive == frozenset()
    with database.read() as session:
        assert workers.all_workers(session) == []


def test_a_worker_that_appears_lives_at_once(database: Database, reaper: Reaper) -> None:
    reaper.look(0.0)
    announce(database)
    reaper.look(1.0)
    assert reaper.alive == {"w1"}


def test_a_job_whose_message_was_lost_is_rung_for_an_idle_worker(
    database: Database, reaper: Reaper, bell: Bell
) -> None:
    reaper.look(0.0)
    announce(database)
    job, on_gpu = new_job(database), new_job(database, device="gpu")
    for moment in range(1, 6):
        worker_beats(database)
        reaper.look(float(moment))
    assert bell.rung == []
    worker_beats(database)
    reaper.look(6.0)
    assert bell.rung == [job.id]
    assert on_gpu.id not in bell.rung
    worker_beats(database)
    reaper.look(7.0)
    assert bell.rung == [job.id]


def test_while_all_workers_are_busy_nothing_is_rung(database: Database, reaper: Reaper, bell: Bell) -> None:
    reaper.look(0.0)
    announce(database, state="busy")
    new_job(database)
    for moment in range(1, 20):
        worker_beats(database)
        reaper.look(float(moment))
    assert bell.rung == []


def test_a_job_that_kills_its_workers_ends(database: Database, reaper: Reaper) -> None:
    job = new_job(database)

    def lose(begin: float) -> None:
        claim(database, job)
        for moment in range(12):
            reaper.look(begin + moment)

    lose(0.0)
    lose(100.0)
    assert status(database, job) == Status.QUEUED
    claim(database, job)
    with database.write() as session:
        epoch = EpochResult(1, 0.1, 0.001, {"loss": 1.0})
        assert jobs.record_epochs(session, job.id, 3, [epoch], epoch)
    for moment in range(200, 212):
        reaper.look(float(moment))
    assert status(database, job) == Status.QUEUED  # an epoch was learned: it counts anew
    lose(300.0)
    lose(400.0)
    with database.read() as session:
        ended = session.get_one(Job, job.id)
    assert (ended.status, ended.failure_kind, ended.attempt) == (Status.FAILED, "worker_lost", 5)


def test_what_waited_before_this_process_began_is_rung_at_once(database: Database, reaper: Reaper, bell: Bell) -> None:
    waiting = [new_job(database).id for _ in range(3)]
    reaper.look(0.0)
    assert bell.rung == waiting
    reaper.look(1.0)
    assert bell.rung == waiting


def test_idle_workers_are_not_rung_for_what_they_may_not_take(
    database: Database, settings: Settings, bell: Bell
) -> None:
    narrow = {"max_running": 1, "lease_seconds": 1000.0, "ring_seconds": 5.0}
    reaper = Reaper(settings.model_copy(update=narrow), database, bell)
    reaper.look(0.0)
    announce(database)
    running = new_job(database)
    claim(database, running)
    heavy, waiting = new_job(database), new_job(database)
    with database.write() as session:
        session.get_one(Job, heavy.id).memory_mb = 9_000
        session.get_one(workers.Worker, "w1").memory_mb = 8_000
    for moment in range(1, 20):
        worker_beats(database)
        reaper.look(float(moment))
    assert bell.rung == []
    with database.write() as session:
        assert jobs.move(session, running.id, Status.PAUSED)
    for moment in range(20, 25):
        worker_beats(database)
        reaper.look(float(moment))
    assert bell.rung == [waiting.id]

"""A worker announces itself, also when the database comes later than it does, and takes its row back."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from models import workers
from models.database import Database
from models.settings import Settings
from models.workers import Worker
from tests.servers import wait_until
from worker.slot import Slot


def rows(database: Database) -> list[Worker]:
    with database.read() as session:
        return list(workers.all_workers(session))


def open_slot(settings: Settings) -> Slot:
    return Slot(settings, ["train"], multiprocessing.get_context("spawn").Event())


def test_it_announces_itself_beats_and_takes_its_row_back(settings: Settings) -> None:
    slot = open_slot(settings)
    with closing(Database(settings.database)) as database:
        slot.announce()
        assert rows(database)[0].status == "starting"
        slot.warm_up()
        (row,) = rows(database)
        assert (row.status, row.queues, row.job_id) == ("idle", ["train"], None)
        assert "cpu" in row.devices
        assert row.datasets["digits"]["status"] == "here"
        with slot.running("job_1", 1):
            (busy,) = rows(database)
            assert (busy.status, busy.job_id) == ("busy", "job_1")
        wait_until(lambda: rows(database)[0].heartbeat > busy.heartbeat + 1, "a heartbeat")
        with database.write() as session:
            workers.forget(session, slot.id)
        wait_until(lambda: len(rows(database)) == 1, "the row of a worker that was given up and is back")
        assert rows(database)[0].status == "idle"
        slot.close()
        assert rows(database) == []


def test_it_waits_for_a_database_that_is_not_ready(
    settings: Settings, sqlite_template: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'late.db'}"})
    slot = open_slot(late)
    opening = threading.Thread(target=slot.announce)
    opening.start()
    wait_until(lambda: "waiting for the database" in caplog.text, "a word about it")
    shutil.copy(sqlite_template, tmp_path / "migrated.db")
    (tmp_path / "migrated.db").replace(tmp_path / "late.db")
    slot.database.engine.dispose()
    opening.join(timeout=30)
    assert not opening.is_alive()
    with closing(Database(late.database)) as database:
        assert rows(database)[0].status == "starting"
    slot.close()


def test_a_slot_that_never_opened_can_be_closed(settings: Settings) -> None:
    open_slot(settings).close()


def test_a_worker_that_cannot_start_ends_for_whoever_started_it_to_start_it_afresh(
    settings: Settings, tmp_path: Path
) -> None:
    """Celery would keep the process, and have it fail every task."""
    own = {"TRAINYARD_HOME": str(tmp_path), "TRAINYARD_BROKER_URL": settings.broker_url}
    environment = os.environ | own | {"TRAINYARD_DATABASE_URL": "nosuch://database"}
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "worker.app", "worker", "--pool", "prefork"]
    command += ["--concurrency", "1", "--queues", "nobody", "--without-gossip", "--without-mingle"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert "this worker cannot start, and ends" in done.stderr
    assert "nosuch" in done.stderr

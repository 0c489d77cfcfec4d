"""A training slot: the process that trains, how it announces itself, and the thread that shows it is alive."""

import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from multiprocessing.synchronize import Event
from typing import Any

from billiard.compat import mem_rss
from sqlalchemy.exc import DBAPIError

from models import jobs, logs, workers
from models.artifacts import ArtifactStore
from models.database import Database
from models.datasets import DATASETS
from models.ids import new_id
from models.messages import QUEUES
from models.new_store import prepare_store
from models.settings import Settings
from models.turns import Able
from worker import data
from worker.memory import memory_facts

BEAT_SECONDS = 1.0
# Between looks whether the artifact store is back: from the first to the second.
STORE_SECONDS, LONGEST_STORE_SECONDS = 1.0, 5.0
log = logging.getLogger(__name__)


class Slot:
    """What an attempt works with: settings, database, artifacts, and the worker's own row."""

    def __init__(self, settings: Settings, queues: list[str], stopping: Event) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        self.store = ArtifactStore(settings.artifacts, make=False)
        self.id = new_id("worker")
        self.name = f"{platform.node()}-{os.getpid()}"
        self._queues = queues
        self._stopping = stopping
        self._closed = threading.Event()
        self._running: tuple[str, int] | None = None
        self._state: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    @property
    def devices(self) -> tuple[str, ...]:
        """What a spec may ask for to be trained here."""
        return tuple(device for device, queue in QUEUES.items() if queue in self._queues)

    @property
    def able(self) -> Able:
        """What this worker can run."""
        return Able(self.devices, memory_facts().get("memory_mb"))

    @property
    def worn(self) -> bool:
        """Whether Celery has the worker begin anew after the task in progress; it judges by the same number."""
        return 0 < self.settings.worker_memory_mb * 1000 < mem_rss()

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to end and wants its job handed back."""
        return self._stopping.is_set()

    def announce(self) -> None:
        """Write the worker's row and keep it alive from now on; waits for a database that is away."""
        while not self._announced():
            time.sleep(BEAT_SECONDS)
        self._thread.start()

    def warm_up(self) -> None:
        """Make TensorFlow ready, and say that jobs start at once."""
        devices, libraries = _prepare_tensorflow(_threads(self.settings))
        self._show(status=workers.WorkerStatus.IDLE, devices=devices, libraries=libraries, datasets=self._datasets())
        log.info("warm: jobs start at once")

    def close(self) -> None:
        """Take the worker's row back."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with self.database.write() as session:
            workers.forget(session, self.id)
        self.database.close()

    @contextmanager
    def running(self, job_id: str, attempt: int) -> Iterator[None]:
        """While the block runs, the heartbeat is the job's too."""
        self._running = (job_id, attempt)
        self._show(status=workers.WorkerStatus.BUSY, job_id=job_id)
        try:
            with logs.about_job(job_id, attempt):
                yield
        finally:
            self._running = None
            # Where the database is away just now, the next heartbeat makes up for it.
            with suppress(DBAPIError):
                self._show(status=workers.WorkerStatus.IDLE, job_id=None, datasets=self._datasets())

    def wait_for_store(self, size: int) -> None:
        """Take no job before a file of `size` bytes can be stored, or the worker is told to end."""
        log.warning("waiting for the artifact store")
        with suppress(DBAPIError):
            self._show(status=workers.WorkerStatus.STARTING, waits_for="the artifact store")
        pause = STORE_SECONDS
        while not (self._stopping.wait(pause) or self.store.answers(size)):
            pause = min(2 * pause, LONGEST_STORE_SECONDS)
        with suppress(DBAPIError):
            self._show(status=workers.WorkerStatus.IDLE, waits_for=None)

    def _announced(self) -> bool:
        try:
            with self.database.write() as session:
                workers.announce(session, self._row())
                prepare_store(session, self.store)
        except DBAPIError as error:
            # It may still be starting, or migrating, as after a restart of the whole machine.
            log.warning("waiting for the database: %s", str(error.orig).partition("\n")[0])
            return False
        return True

    def _row(self) -> workers.Worker:
        state = memory_facts() | self._state
        return workers.Worker(id=self.id, name=self.name, pid=os.getpid(), queues=self._queues, **state)

    def _datasets(self) -> dict[str, Any]:
        found = {
            name: data.find(facts, self.settings.datasets, self.settings.offline) for name, facts in DATASETS.items()
        }
        return {name: {"status": where.status, "detail": where.detail} for name, where in found.items()}

    def _show(self, **values: Any) -> None:
        """Beat, and write the whole state, so that what could not be written once is made up for."""
        with self._lock, self.database.write() as session:
            self._state |= values
            if not workers.update_worker(session, self.id, **self._state):
                # Frozen for longer than the lease, this worker was given up; it is back.
                workers.announce(session, self._row())

    def _keep_beating(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            try:
                self._show(**memory_facts())
                if (running := self._running) is not None:
                    with self.database.write() as session:
                        jobs.beat(session, *running)
            except DBAPIError as error:
                log.warning("no heartbeat: the database does not answer (%s)", type(error.orig).__name__)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(settings: Settings) -> int:
    """Workers side by side share the processors: more threads than those only wait for each other."""
    return settings.worker_threads or max(1, processors() // max(1, settings.workers))


def _prepare_tensorflow(threads: int) -> tuple[list[str], dict[str, str]]:
    """Set the threads of matrix products, let GPUs take memory as they need it; the devices, and what versions run."""
    import tensorflow as tf

    if threads != processors():
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    kinds = {device.device_type.lower() for device in tf.config.list_physical_devices()}
    return sorted(kinds & {"cpu", "gpu"}), library_versions()


def library_versions() -> dict[str, str]:
    """The versions of what a model is made with."""
    import tensorflow as tf

    # TensorFlow comes under one of several package names.
    others = {"tensorflow": tf.__version__, "python": platform.python_version()}
    return others | {name: version(name) for name in ("keras", "numpy", "onnx", "trainyard")}

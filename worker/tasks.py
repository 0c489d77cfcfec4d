"""The task and the life of the process that runs it: each a thin shell over functions that tests can call."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_init, worker_process_shutdown, worker_shutting_down

from models import logs
from models.messages import TRAIN_TASK
from worker.app import app, settings

if TYPE_CHECKING:
    from worker.slot import Slot

PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)

# Made before the fork, so that the parent, who hears SIGTERM, can tell the child, who trains.
_stopping = multiprocessing.get_context("fork").Event()
_slot: "Slot | None" = None


@app.task(name=TRAIN_TASK)
def train(job_id: str) -> None:
    """There is something to do, at least job `job_id`; harmless when somebody has it already."""
    from worker.attempt import try_next

    if _slot is None:
        raise RuntimeError("A training task can only run in a worker's own process.")
    log.debug("%s rings", job_id)
    try_next(_slot)


@worker_process_init.connect
def _open_slot(**_: Any) -> None:
    """In the child: die with the parent, announce the worker, import TensorFlow, be warm.

    Celery would keep a child whose start failed, and give it every task. What failed here once fails again, as when the
    files were changed under a running worker: so the parent ends too, and whoever started it starts it afresh.
    """
    try:
        _die_with_parent()
        logs.set_up(settings)
        _warm_up()
    except Exception:
        log.exception("this worker cannot start, and ends")
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(1)


def _warm_up() -> None:
    global _slot
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    from worker.slot import Slot

    _slot = Slot(settings, list(app.amqp.queues.consume_from), _stopping)
    logs.name_worker(_slot.name)
    _slot.announce()
    import worker.attempt  # noqa: F401 - with TensorFlow, which takes seconds; jobs then need not wait for it
    from worker.diagnosis.doctor import wake

    _slot.warm_up()
    wake()


@worker_process_shutdown.connect
def _close_slot(**_: Any) -> None:
    if _slot is not None:
        _slot.close()


@worker_shutting_down.connect
def _hand_back(**_: Any) -> None:
    """In the parent, on SIGTERM: ask the child to hand its job back instead of finishing it."""
    _stopping.set()


def _die_with_parent() -> None:
    """Let Linux end this process when its parent is killed; elsewhere a killed parent's child ends with its job."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)

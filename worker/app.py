"""The Celery app: how jobs reach this machine, with the reason for every setting that is not Celery's default."""

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from models import logs
from models.artifacts import check_artifacts_url
from models.messages import celery_settings
from models.settings import Settings

# TensorFlow reads this when it is imported: without it, each start prints pages about CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

settings = Settings()
app = Celery("trainyard", include=["worker.tasks"])
try:
    app.conf.update(celery_settings(settings))
    check_artifacts_url(settings.artifacts)
except ValueError as error:
    sys.exit(str(error))
app.conf.update(
    # One child a worker: it is a training slot, it can be killed, and it answers pings while it trains.
    worker_pool="prefork",
    worker_concurrency=1,
    # Early acknowledgement: the message only says "try job N". The database owns the job, and rings again.
    task_acks_late=False,
    # A busy worker must leave messages to idle ones. The first does it on Redis, the second elsewhere.
    worker_disable_prefetch=settings.broker_url.startswith("redis"),
    worker_prefetch_multiplier=1,
    # A broker that restarts must not end a training.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # TensorFlow keeps every program that XLA compiles until its process ends (docs/decisions/0014-execution-plan.md).
    worker_max_memory_per_child=settings.worker_memory_mb * 1000 or None,
    # The child imports TensorFlow before it says that it is up.
    worker_proc_alive_timeout=180,
    worker_redirect_stdouts=False,
)


@setup_logging.connect
def _set_up_logs(**_: Any) -> None:
    """In place of what Celery would do, which then leaves all loggers alone."""
    logs.set_up(settings)

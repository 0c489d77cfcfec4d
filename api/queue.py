"""Rings the doorbell: tells the workers, through Celery, that there is a job to try."""

import logging
import threading

from celery import Celery
from kombu.exceptions import KombuError

from models.jobs import Job
from models.messages import QUEUES, TRAIN_TASK, celery_priority, celery_settings
from models.settings import Settings

SEND_SECONDS = 2
log = logging.getLogger(__name__)


class Doorbell:
    """Sends task messages; one that cannot be sent is kept and sent again by the reaper."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("trainyard", set_as_current=False)
        options = celery_settings(settings)
        # A request must not wait for a broker that is away: what cannot be rung now is rung later.
        options["broker_transport_options"] |= {"max_retries": 1, "interval_start": 0, "interval_step": 0}
        if settings.broker_url.startswith("redis"):
            # Nor for one whose line is dead, though nothing said so: without a limit each request would hang for ever.
            options["broker_transport_options"] |= {"socket_timeout": SEND_SECONDS}
        self._celery.conf.update(options)
        self._unsent: set[str] = set()
        self._lock = threading.Lock()

    def ring(self, job: Job) -> bool:
        """Say that `job` waits. False when the broker is away: the job stays queued and is rung for later."""
        sent = self._send(job.id, QUEUES[job.device], celery_priority(job.priority))  # type: ignore[index]
        with self._lock:
            (self._unsent.discard if sent else self._unsent.add)(job.id)
        return sent

    def unsent(self) -> list[str]:
        """Jobs whose message could not be sent, oldest first."""
        with self._lock:
            return sorted(self._unsent)

    def forget(self, job_id: str) -> None:
        """There is no need to ring for this job any more."""
        with self._lock:
            self._unsent.discard(job_id)

    def answers(self) -> bool:
        """Whether the broker can be reached."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2, interval_start=0, interval_step=0)
        except (KombuError, OSError):
            return False
        return True

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()

    def _send(self, job_id: str, queue: str, priority: int) -> bool:
        for _ in range(2):  # the first may meet a pooled connection of before the broker's restart
            try:
                self._celery.send_task(TRAIN_TASK, args=[job_id], queue=queue, priority=priority, retry=False)
            except (KombuError, OSError) as error:
                log.warning("%s stays queued, the broker is away: %s", job_id, type(error).__name__)
            else:
                return True
        return False

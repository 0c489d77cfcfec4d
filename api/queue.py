"""Rings the doorbell: tells the workers, through Celery, that there are jobs to take."""

import logging
import threading
import time
from collections import defaultdict, deque

from celery import Celery
from kombu.exceptions import KombuError

from api.rounds import Rounds
from models.jobs import Job
from models.messages import QUEUES, TRAIN_TASK, celery_priority, celery_settings
from models.settings import Settings

SEND_SECONDS = 2
# Between two tries while the broker is away, and between two rounds while it answers.
AGAIN_SECONDS, PAUSE_SECONDS = 1.0, 0.05
# Of one queue in one round, until it is known how many workers there are.
FEW = 8
log = logging.getLogger(__name__)


class Doorbell:
    """Sends task messages from a thread of its own, so that no request ever waits for the broker.

    A message says no more than that there is something in its queue, and its worker goes on until nothing is left
    (docs/decisions/0019-turns.md). So of many jobs that come at once only as many are rung as there are workers.

    Attributes:
        most: how many messages to a queue are enough for now: one for each worker, and one for who has just come.
            Eight a round where nobody listens took a sixth of the interpreter from those who submit (measured).
    """

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("trainyard", set_as_current=False)
        options = celery_settings(settings)
        # What cannot be rung now is rung later.
        options["broker_transport_options"] |= {"max_retries": 1, "interval_start": 0, "interval_step": 0}
        if settings.broker_url.startswith("redis"):
            # A line may be dead though nothing said so, and without a limit this would hang for ever.
            options["broker_transport_options"] |= {"socket_timeout": SEND_SECONDS}
        self._celery.conf.update(options)
        self.most = FEW
        # By queue the jobs to ring for, with their Celery priorities; the first may be on its way.
        self._unsent: defaultdict[str, deque[tuple[str, int]]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.rounds = Rounds("doorbell", self.look, AGAIN_SECONDS)

    def ring(self, job: Job) -> None:
        """Have it said that `job`, which is on record, waits: at once, or when the broker is back.

        All but the first of those that are to be sent still reach their workers after this, so they may stand for it.
        """
        with self._lock:
            due = self._unsent[QUEUES[job.device]]  # type: ignore[index]
            if len(due) < self.most:
                due.append((job.id, celery_priority(job.priority)))
        self.rounds.hurry()

    def unsent(self) -> list[str]:
        """Jobs whose messages are to be sent."""
        with self._lock:
            return [job_id for due in self._unsent.values() for job_id, _ in due]

    def look(self) -> None:
        """Send what is to be sent; what cannot be sent now stays."""
        with self._lock:
            due = [(queue, *each) for queue, found in self._unsent.items() for each in found]
        for queue, job_id, priority in due:
            if not self._send(job_id, queue, priority):
                return
            with self._lock:
                self._unsent[queue].popleft()
        if due:
            # Jobs that come meanwhile share the next round.
            time.sleep(PAUSE_SECONDS)

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

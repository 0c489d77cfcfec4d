"""A thread that does the same again and again, whatever comes of it one time."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)


class Rounds:
    """Calls `look` every `seconds`, from the moment it is started; `name` is for the log."""

    def __init__(self, name: str, look: Callable[[], None], seconds: float) -> None:
        self._name, self._look, self._seconds = name, look, seconds
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether a look in progress should come to its end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look in progress."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def hurry(self) -> None:
        """Look now, or once more after the look in progress: there is something new."""
        self._wake.set()

    def _run(self) -> None:
        while not self.stopping:
            try:
                self._look()
            except DBAPIError as error:
                log.warning("%s: the database does not answer: %s", self._name, error.orig)
            except Exception:
                log.exception("%s met an error of its own and goes on", self._name)
            self._wake.wait(self._seconds)
            self._wake.clear()

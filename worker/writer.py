"""Writing beside the training: one thread that does one thing at a time, and says when it is too dear."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Runs pieces of work in order in a thread of its own; what goes wrong in one is raised by the next call.

    `seconds` is the processor time that the last piece took.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._last: Future[None] | None = None
        self.seconds = 0.0

    def busy(self) -> bool:
        """Whether a piece is still being done. Raises what the last one raised."""
        if self._last is not None and self._last.done():
            self.wait()
        return self._last is not None

    def start(self, work: Callable[[], None]) -> None:
        """Have `work` done, once what came before is done."""
        self.wait()
        self._last = self._thread.submit(self._timed, work)

    def wait(self) -> None:
        """Until everything is done. Raises what the last piece raised."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _timed(self, work: Callable[[], None]) -> None:
        began = time.thread_time()
        work()
        self.seconds = time.thread_time() - began

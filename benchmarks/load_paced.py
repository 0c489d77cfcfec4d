"""A client that sends each request when it is due, whether or not the ones before it were answered yet.

A client that waits for its answers asks less of a server that is slow, and so hides how slow it is. Here the time of an
answer counts from the moment at which its request was due.
"""

import gc
import selectors
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.load import PATIENCE_SECONDS, Connection, LoadFailed, body_of


@dataclass
class Answers:
    """What came back: the time of each answer in seconds, its body where wanted, and what went wrong."""

    latencies: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def percentile(self, share: float) -> float:
        """The time within which this share of the answers came, by nearest rank; 0 without any answer."""
        return percentile(self.latencies, share)


def percentile(values: Sequence[float], share: float) -> float:
    """The value which this share of the values does not exceed, by nearest rank; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def paced(port: int, requests: Sequence[bytes], rate: float, connections: int, *, keep: bool = False) -> Answers:
    """Send `requests`, `rate` a second, over at most so many connections; a request without one waits for one.

    Args:
        keep: whether the bodies of the answers are kept, in the order in which they came.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        gc.disable()  # the client's own pauses would be taken for the server's
        stack.callback(gc.enable)
        return _Pace(port, requests, rate, selector, keep).run(connections)


class _Pace:
    """One run of `paced`."""

    def __init__(
        self, port: int, requests: Sequence[bytes], rate: float, selector: selectors.BaseSelector, keep: bool
    ) -> None:
        self._port, self._requests, self._rate, self._selector, self._keep = port, requests, rate, selector, keep
        self._idle: deque[Connection] = deque()
        self._due: dict[Connection, float] = {}
        self._answers = Answers()
        self._sent = 0

    def run(self, connections: int) -> Answers:
        self._idle.extend(self._connected() for _ in range(connections))
        began = time.perf_counter()
        while self._sent < len(self._requests) or self._due:
            self._send_what_is_due(began)
            ready = self._selector.select(self._until_next(began))
            if not ready and self._due and min(self._due.values()) < time.perf_counter() - PATIENCE_SECONDS:
                self._answers.errors.append(f"{len(self._due)} not answered within {PATIENCE_SECONDS} s")
                break
            for key, _ in ready:
                self._receive(key.data)
        self._answers.seconds = time.perf_counter() - began
        for connection in (*self._idle, *self._due):
            connection.close()
        return self._answers

    def _connected(self) -> Connection:
        connection = Connection(self._port)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _send_what_is_due(self, began: float) -> None:
        while self._idle and self._sent < len(self._requests):
            due = began + self._sent / self._rate
            if time.perf_counter() < due:
                return
            connection = self._idle.popleft()  # in turn, so that none is idle until the server closes it
            connection.send(self._requests[self._sent])
            self._due[connection] = due
            self._sent += 1

    def _until_next(self, began: float) -> float:
        if not self._idle or self._sent == len(self._requests):
            return 1.0
        return max(0.0, began + self._sent / self._rate - time.perf_counter())

    def _receive(self, connection: Connection) -> None:
        due = self._due.get(connection)
        try:
            complete = connection.receive()
        except (LoadFailed, OSError) as error:
            self._replace(connection, None if due is None else str(error))
            return
        if complete and due is not None:
            del self._due[connection]
            self._answers.latencies.append(time.perf_counter() - due)
            if self._keep:
                self._answers.bodies.append(body_of(connection.answer))
            self._idle.append(connection)

    def _replace(self, connection: Connection, error: str | None) -> None:
        """Take another connection for one that is of no use any more."""
        if error is not None:
            self._answers.errors.append(error)
            del self._due[connection]
        else:
            self._idle.remove(connection)
        self._selector.unregister(connection.socket)
        connection.close()
        self._idle.append(self._connected())

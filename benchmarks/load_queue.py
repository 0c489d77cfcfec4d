"""List, read and submit beside a short queue and a long one, request by request in turn.

Two API processes stand on two databases that differ in the number of queued jobs alone. A machine that is slow for a
moment is so for both, and the ratio is that of the medians.
"""

import json
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.load import Connection, body_of, request_bytes
from benchmarks.load_paced import percentile
from benchmarks.load_service import SPEC, Ground, fill

SHORT, LONG = 100, 10_000
MOST_RATIO = 2.0
SETTLED_SECONDS = 3.0  # after which a new API process has rung for what waited when it came


@dataclass
class Side:
    """One of the two services: a connection to it, its jobs, and seconds by what was asked."""

    connection: Connection
    port: int
    ids: list[str]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ask(self, name: str, path: str, body: bytes = b"") -> bytes:
        """One answer, its time noted under `name`."""
        began = time.perf_counter()
        self.connection.send(request_bytes(self.port, path, body, "application/json"))
        while not self.connection.receive():
            pass
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        return body_of(self.connection.answer)


@dataclass(frozen=True)
class Compared:
    """One request beside both queues: p50 and p99 in milliseconds, and the ratio of the medians."""

    name: str
    short: tuple[float, float]
    long: tuple[float, float]
    ratio: float

    @property
    def met(self) -> bool:
        """Whether the long queue makes it at most so many times as slow."""
        return self.ratio <= MOST_RATIO


def measure_queue(ground: Ground, turns: int, long: int = LONG) -> list[Compared]:
    """Every request `turns` times at both, in turn; who goes first changes each time."""
    urls = [ground.database() for _ in range(2)]
    ids = [fill(url, count) for url, count in zip(urls, (SHORT, long), strict=True)]
    with ground.serving(urls[0]) as first, ground.serving(urls[1]) as second:
        time.sleep(SETTLED_SECONDS)
        sides = [Side(Connection(s.port), s.port, own) for s, own in zip((first, second), ids, strict=True)]
        for turn in range(-3, turns):
            if turn == 0:  # the first ones were for warming up
                for side in sides:
                    side.seconds.clear()
            for side in sides if turn % 2 else sides[::-1]:
                _round(side, turn)
        for side in sides:
            side.connection.close()
    return [compared(name, sides[0].seconds[name], sides[1].seconds[name]) for name in sides[0].seconds]


def _round(side: Side, turn: int) -> None:
    side.ask("list, newest 50", "/v1/jobs")
    side.ask("list, 50 queued", "/v1/jobs?status=queued")
    side.ask("list, second page", f"/v1/jobs?status=queued&after={side.ids[-50]}")
    side.ask("list, newest 100", "/v1/jobs?limit=100")
    side.ask("read, first in the queue", f"/v1/jobs/{side.ids[0]}")
    side.ask("read, last in the queue", f"/v1/jobs/{side.ids[-1]}")
    made = json.loads(side.ask("submit", "/v1/jobs", json.dumps(SPEC | {"seed": turn + 10}).encode()))
    side.ask("cancel it", f"/v1/jobs/{made['id']}/cancel", b"{}")  # so that neither queue grows


def compared(name: str, short: list[float], long: list[float]) -> Compared:
    """The figures of one request, from its seconds."""
    figures = [(percentile(side, 0.5) * 1e3, percentile(side, 0.99) * 1e3) for side in (short, long)]
    return Compared(name, figures[0], figures[1], statistics.median(long) / statistics.median(short))

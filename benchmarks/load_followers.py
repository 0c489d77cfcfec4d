"""Many clients of event streams in one process, which checks that each is told every `seq` once and in order.

`python -m benchmarks.load_followers '{"port": ..., "jobs": [...], "streams": 1000}'` opens the streams, on the jobs
in turn, prints a line once all have had their first event, and a line of JSON when all have ended.
"""

import gc
import json
import re
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from datetime import datetime

from benchmarks.load import HOST, PIECE, request_bytes
from benchmarks.load_paced import percentile

IDS = re.compile(rb"^id: (\d+)$", re.MULTILINE)
MOMENTS = re.compile(rb'"at":"([^"]+)"')
LAST_CHUNK = b"\r\n0\r\n\r\n"
# Rows that were there before the stream was joined say nothing of how quick it is.
MOST_SECONDS = 150.0


class Follower:
    """One stream: the place it is at, and whether it kept order."""

    __slots__ = ("broken", "done", "rest", "seq", "socket", "started", "tail")

    def __init__(self, port: int, path: str) -> None:
        self.seq, self.rest, self.tail, self.started, self.done, self.broken = 0, b"", b"", False, False, ""
        self.socket = socket.create_connection((HOST, port), 60)
        self.socket.sendall(request_bytes(port, path))
        self.socket.setblocking(False)

    def receive(self) -> bytes:
        """Take what has come; what of it is whole lines."""
        try:
            piece = self.socket.recv(PIECE)
        except BlockingIOError:
            return b""
        except OSError as error:
            self.broken, self.done = str(error), True
            return b""
        if not piece:
            self.broken, self.done = "the connection was closed in the middle", True
            return b""
        if not self.started and not piece.startswith(b"HTTP/1.1 200"):
            self.broken, self.done = repr(piece[:200]), True
            return b""
        self.started = True
        self.tail = (self.tail + piece)[-len(LAST_CHUNK) :]
        self.done = self.tail == LAST_CHUNK
        whole, newline, self.rest = (self.rest + piece).rpartition(b"\n")
        self.take(whole + newline)
        return whole

    def take(self, lines: bytes) -> None:
        """Check that what is told follows what was."""
        for found in IDS.findall(lines):
            if int(found) != self.seq + 1:
                self.broken = self.broken or f"{int(found)} came after {self.seq}"
            self.seq = int(found)


def follow(port: int, jobs: Sequence[str], streams: int) -> dict[str, object]:
    """Open the streams and read all of them to their ends; figures as `report` has them."""
    gc.disable()
    delays: list[float] = []
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        followers = []
        for number in range(streams):
            follower = Follower(port, f"/v1/jobs/{jobs[number % len(jobs)]}/events")
            followers.append(follower)
            selector.register(follower.socket, selectors.EVENT_READ, follower)
        open_, waiting, ready_seconds = streams, streams, 0.0
        while open_ and time.perf_counter() < began + MOST_SECONDS:
            for key, _ in selector.select(1.0):
                follower, before = key.data, key.data.seq
                lines = follower.receive()
                now = time.time()
                if ready_seconds:
                    moments = MOMENTS.findall(lines)
                    delays += [now - datetime.fromisoformat(at.decode()).timestamp() for at in moments]
                if not before and (follower.seq or follower.done):
                    waiting -= 1
                if follower.done:
                    selector.unregister(follower.socket)
                    follower.socket.close()
                    open_ -= 1
            if not waiting and not ready_seconds:
                ready_seconds = time.perf_counter() - began
                print("ready", flush=True)
    return report(followers, delays, ready_seconds)


def report(followers: Sequence[Follower], delays: Sequence[float], ready_seconds: float) -> dict[str, object]:
    """What came of it: streams that ended by themselves and in order, events, delays from row to client in seconds."""
    broken = [follower.broken for follower in followers if follower.broken]
    return {
        "complete": sum(follower.done and not follower.broken for follower in followers),
        "broken": broken[:3],
        "last": sorted({follower.seq for follower in followers}),
        "events": sum(follower.seq for follower in followers),
        "ready_seconds": ready_seconds,
        "delay_p50": percentile(delays, 0.5),
        "delay_p99": percentile(delays, 0.99),
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(follow(asked["port"], asked["jobs"], asked["streams"])))

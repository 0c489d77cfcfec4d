"""A client that keeps a server busy over connections that stay open, and notes how long each answer took.

It shares the machine with the server, so it does as little as it can: one process, requests made in advance, answers
measured by their length and not read. `ceiling` in benchmarks/serving.py tells how fast it is by itself.
"""

import gc
import selectors
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass

HOST = "127.0.0.1"
# An answer that comes so much later than the one before it, to whomever, is a stall of the whole server.
STALL_SECONDS = 0.05
PATIENCE_SECONDS = 30
MOST_REQUESTS = 1_000_000
PIECE = 262_144
HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
LAST_CHUNK = b"\r\n0\r\n\r\n"


class LoadFailed(RuntimeError):
    """A server that did not answer, or with something else than success."""


@dataclass(frozen=True)
class Load:
    """What came of keeping a server busy, in seconds: the whole, each answer's time, and how often nothing came."""

    seconds: float
    latencies: list[float]
    stalls: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The time within which this share of the answers came, by nearest rank; 1 gives the longest."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Connection:
    """One connection, which has one request on its way at a time."""

    __slots__ = ("answer", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Blocking from here on, for Python would otherwise poll before each call; the system itself minds the time.
        self.socket.setblocking(True)
        patience = struct.pack("ll", PATIENCE_SECONDS, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.answer = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        """Send a whole request; from now its time counts."""
        self.answer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; whether the answer is now complete. Raises LoadFailed unless it is a success."""
        piece = self.socket.recv(PIECE)
        self.answer = self.answer + piece if self.answer else piece
        if not piece:
            raise LoadFailed(f"The server closed the connection after {self.answer[:200]!r}.")
        if not is_complete(self.answer):
            return False
        if not self.answer.startswith(b"HTTP/1.1 2"):
            raise LoadFailed(f"The server answered {self.answer[:500]!r}.")
        return True

    def close(self) -> None:
        """Leave."""
        self.socket.close()


def request_bytes(port: int, path: str, body: bytes = b"", content_type: str = "", key: str = "") -> bytes:
    """An HTTP/1.1 request: GET, or POST when there is a body."""
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\n"
    if key:
        head += f"Authorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def is_complete(answer: bytes) -> bool:
    """Whether all of an answer is there, by its Content-Length or its last chunk; JSON has no such end within."""
    end = answer.find(HEAD_END)
    if end < 0:
        return False
    head = answer[: end + 2].lower()
    at = head.find(LENGTH)
    if at < 0:
        return answer.endswith(LAST_CHUNK, end + 2)
    at += len(LENGTH)
    return len(answer) >= end + len(HEAD_END) + int(head[at : head.find(b"\r\n", at)])


def body_of(answer: bytes) -> bytes:
    """What a complete answer says below its head."""
    head, _, body = answer.partition(HEAD_END)
    if LENGTH in head.lower():
        return body
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        whole, body = whole + rest[:length], rest[length + 2 :] if length else b""
    return whole


def ask(port: int, request: bytes) -> bytes:
    """The body of one answer. Raises LoadFailed, or OSError while nobody listens."""
    with ExitStack() as stack:
        connection = Connection(port)
        stack.callback(connection.close)
        connection.send(request)
        while not connection.receive():
            pass
        return body_of(connection.answer)


def load(port: int, request: bytes, concurrency: int, seconds: float) -> Load:
    """Send `request` again and again over `concurrency` connections, a new one as soon as the last is answered.

    After `seconds`, or a million requests, nothing new is sent, and what is on its way is waited for.

    Raises:
        LoadFailed: an answer that is not a success, or none.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        connections = []
        for _ in range(concurrency):
            connection = Connection(port)
            stack.callback(connection.close)
            connections.append(connection)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        gc.disable()  # the client's own pauses would be taken for the server's
        stack.callback(gc.enable)
        return _kept_busy(selector, connections, request, seconds)


def _kept_busy(selector: selectors.BaseSelector, connections: list[Connection], request: bytes, seconds: float) -> Load:
    clock, latencies, stalls = time.perf_counter, list[float](), 0
    began = last = clock()
    until = began + seconds
    for connection in connections:
        connection.send(request)
    waiting = len(connections)
    while waiting:
        ready = selector.select(PATIENCE_SECONDS)
        if not ready:
            raise LoadFailed(f"The server did not answer within {PATIENCE_SECONDS} s.")
        for key, _ in ready:
            connection = key.data
            if not connection.receive():
                continue
            now = clock()
            latencies.append(now - connection.sent_at)
            stalls += now - last > STALL_SECONDS
            last = now
            if now < until and len(latencies) < MOST_REQUESTS:
                connection.send(request)
            else:
                waiting -= 1
    return Load(last - began, latencies, stalls)

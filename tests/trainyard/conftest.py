"""A small real server that speaks the contract of api.md, for the client and the command."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = tuple[int, Any]


class StandIn(ThreadingHTTPServer):
    """Answers from `routes`, remembers the requests, and streams `events`, breaking off where it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, Answer | Callable[[], Answer]] = {}
        self.etags: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        # How many events each connection is sent before it is cut in the middle of the next one; then all of the rest.
        self.cuts: list[int] = []
        self.busy = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.note(b"")
        path, _, _ = self.path.partition("?")
        if path.endswith("/events"):
            self.stream()
        else:
            self.answer(self.path if self.path in self.server.routes else path)

    def do_POST(self) -> None:
        self.note(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.answer(self.path)

    do_PUT = do_POST

    def note(self, body: bytes) -> None:
        request = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        self.server.requests.append(request)

    def answer(self, path: str) -> None:
        missing = (404, {"title": "Not found", "detail": f"There is nothing at {path}.", "status": 404})
        found = self.server.routes.get(path, missing)
        status, body = found() if callable(found) else found
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if path in self.server.etags:
            self.send_header("ETag", self.server.etags[path])
        self.end_headers()
        self.wfile.write(data)

    def stream(self) -> None:
        self.close_connection = True
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
            return
        after = int(self.headers.get("Last-Event-ID", "0"))
        rest = list(enumerate(self.server.events, start=1))[after:]
        if not rest:
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": hello\n\n")
        cut = self.server.cuts.pop(0) if self.server.cuts else len(rest)
        for seq, (event, data) in rest[:cut]:
            text = json.dumps(data, ensure_ascii=False)
            self.wfile.write(f"id: {seq}\r\nevent: {event}\r\ndata: {text}\r\n\r\n".encode())
        if cut < len(rest):
            seq, (event, _) = rest[cut]
            self.wfile.write(f"id: {seq}\nevent: {event}\ndata: {{".encode())


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """The server, running in a thread of its own."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()

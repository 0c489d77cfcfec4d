"""The outermost of our middleware: each request gets an id, is counted, and is written to the log where that is on."""

import asyncio
import itertools
import logging
import re
import secrets
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Unavailable, problem
from api.prometheus import Figures
from models.logs import request_id

HEADER = b"x-request-id"
GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,128}")
CRASHED = 500
STOPPED = "The server stopped before it could answer; what was asked may have been done. Ask again, with the same key."
log = logging.getLogger(__name__)


class RequestIds:
    """ASGI middleware: takes `X-Request-Id` where it is 1 to 128 of A-Z a-z 0-9 . _ -, else makes one; answers it.

    The id is in `models.logs.request_id` for whatever runs for the request, and so in each line that it logs.
    """

    def __init__(self, app: ASGIApp, figures: Figures, access_log: bool) -> None:
        self.app = app
        self._figures = figures
        self._level = logging.INFO if access_log else logging.DEBUG
        # A number is a fifth of the time of something random, and the start of each process is random.
        self._start, self._numbers = secrets.token_hex(6), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        own = b""
        for name, value in scope["headers"]:
            if name == HEADER and GIVEN.fullmatch(value):
                own = value
        own = own or f"{self._start}-{next(self._numbers)}".encode()
        # Never set back: each request has a context of its own, and what Starlette does after us logs too.
        request_id.set(own.decode())
        state = scope.setdefault("state", {})
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, own)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            # A server that stops cancels what takes longer than its grace, and would answer 500 for it.
            if status:
                raise
            await problem(scope["path"], Unavailable(STOPPED))(scope, receive, send_with_id)
        except Exception:
            status = status or CRASHED
            raise
        finally:
            seconds = perf_counter() - began
            self._figures.answered(scope, status, seconds, state.get("served"))
            if log.isEnabledFor(self._level):
                self._write(scope, status, seconds)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        client = scope.get("client") or ("unknown",)
        caller = getattr(scope["state"].get("caller"), "owner", None) or client[0]
        facts = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "milliseconds": round(1000 * seconds, 3),
            "caller": caller,
        }
        log.log(self._level, "%s %s %d %.3f ms, %s", *facts.values(), extra=facts)

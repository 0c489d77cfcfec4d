"""HEAD wherever there is GET: the same headers, and no body."""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKED = "trainyard.asked"


def only_head(scope: Scope) -> bool:
    """Whether a request that looks like GET was HEAD."""
    return scope.get(ASKED) == "HEAD"


class HeadersAlone:
    """ASGI middleware that has HEAD answered as GET would be, and ends what would go on after the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        # A Range means something to GET only (RFC 9110 section 14.2).
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        with anyio.CancelScope() as answering:

            async def send_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body", "body": b""})
                    # A stream of events would go on for as long as its job runs.
                    answering.cancel()

            await self.app({**scope, "method": "GET", ASKED: "HEAD", "headers": headers}, receive, send_headers)

"""Headers that every answer has, so that a browser neither guesses, frames, runs nor tells on what it is shown."""

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = b"content-security-policy"
# An SVG that is opened by itself needs its styles; nothing else that is answered brings or loads anything.
NOTHING = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
WITH_POLICY = [*ALWAYS, (POLICY, NOTHING)]
# Of an answer that carries a secret.
NO_STORE = {"Cache-Control": "no-store"}


class SafeHeaders:
    """ASGI middleware that adds the headers; an answer with a policy of its own keeps that."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"] = list(message.get("headers", ()))
                headers += ALWAYS if any(name == POLICY for name, _ in headers) else WITH_POLICY
            await send(message)

        await self.app(scope, receive, with_headers)


def install(app: FastAPI) -> None:
    """Put the headers on everything, also on the framework's own answer to an error that nobody foresaw."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: SafeHeaders(build())  # type: ignore[method-assign]

"""Who may ask: Host, Origin, key, scope, content type and body size are checked before anything is read.

Without keys any page open in a browser on this machine could reach a loopback server, hence Host (against names that
are made to point here) and Origin (against other pages), and no write with a form's content type.
"""

import ipaddress
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import (
    ApiError,
    BadRequest,
    Forbidden,
    TooLarge,
    UnsupportedMedia,
    is_protocol,
    problem,
)
from api.keyring import Keyring
from api.rates import Rates
from models import keys
from models.settings import Settings, is_loopback

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"})
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Specs, studies and aliases are small. A parser keeps the interpreter to itself, of so much for some 30 ms.
MOST_SPEC_BYTES = 500_000
# What pages of the origins in TRAINYARD_CORS_ORIGINS may send and read. Keys are no cookies, so no credentials.
CORS: dict[str, Any] = {
    "allow_methods": ("GET", "POST", "PUT", "PATCH", "DELETE"),
    "allow_headers": ("*",),
    "expose_headers": (
        *("Content-Disposition", "Content-Range", "ETag", "Idempotent-Replayed", "Location", "Repr-Digest"),
        *("Retry-After", "WWW-Authenticate", "X-Request-Id"),
    ),
}
ONCE = frozenset({b"host", b"origin", b"authorization", b"idempotency-key"})
PORT = re.compile(":?[0-9]{0,5}")
_ASKS = re.compile(r"/v1/(?:models|jobs)/[^/]+/predict")


class Gate:
    """ASGI middleware that lets a request in, with its caller in `scope["state"]`, or answers it with a problem."""

    def __init__(self, app: ASGIApp, settings: Settings, keyring: Keyring, rates: Rates) -> None:
        self.app = app
        self.settings = settings
        self.keyring, self.rates = keyring, rates
        self.hosts = {settings.host.lower(), *(host.lower() for host in settings.allowed_hosts)}
        self.origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope, Headers(scope=scope))
        except ApiError as error:
            await problem(scope["path"], error)(scope, receive, send)
            return
        await self.app(scope, self._counted(receive, self._most(scope)), send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        _check_once(scope)
        self._check_address(scope)
        self._check_host(headers.get("host", ""))
        self._check_origin(headers)
        if not (scope["path"] in OPEN_PATHS or scope["path"].startswith("/swagger/")):
            self._check_key(scope, headers.get("authorization", ""))
        if scope["method"] not in READ_METHODS:
            self._check_body(scope, headers)

    def _check_address(self, scope: Scope) -> None:
        """Whatever the settings say of the address, somebody may have bound the server to another."""
        if not self.keyring.keyless or self.settings.insecure:
            return
        host, port = scope.get("server") or ("", None)
        if not self.settings.loopback or (port is not None and not is_loopback(host)):
            raise Forbidden("Without keys this server answers on loopback only: set TRAINYARD_API_KEYS.")

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if not self.keyring.keyless or name in self.hosts or is_loopback(name):
            return
        if not self.settings.loopback and _is_address(name):
            return
        raise Forbidden(f"This server does not answer to the Host {name!r}; TRAINYARD_ALLOWED_HOSTS can name it.")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower() != "":
            return
        if origin not in self.origins:
            raise Forbidden(f"Requests from pages of another origin are refused. Received: Origin: {origin[:200]}")

    def _check_key(self, scope: Scope, authorization: str) -> None:
        caller = self.rates.caller(self.keyring, authorization, scope)
        scope.setdefault("state", {})["caller"] = caller
        needed = needed_scope(scope["method"], scope["path"])
        if needed not in caller.scopes:
            raise Forbidden(
                f"This key lacks the scope {needed}. It has: {', '.join(sorted(caller.scopes)) or 'none'}.",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
            )

    def _check_body(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "")
        if length and not (length.isascii() and length.isdigit()):
            raise BadRequest(f"Content-Length is not a number. Received: {length[:40]}")
        if length and int(length) > self._most(scope):
            raise self._too_large(self._most(scope))
        if (length and int(length) > 0) or "transfer-encoding" in headers:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            form = kind == "multipart/form-data" and scope["path"].endswith("predict")
            # Triton's client names no type. A page of another origin could do so too, but not hide its origin.
            tensors = kind in ("", "application/octet-stream") and is_protocol(scope["path"])
            json = kind == "application/json" or kind.endswith("+json")
            if not (json or form or tensors or kind.startswith("image/")):
                raise UnsupportedMedia(
                    f"Bodies are JSON or pictures: send `Content-Type: application/json`. Received: {kind or 'none'}"
                )

    def _most(self, scope: Scope) -> int:
        """How many bytes a body may have: as many as is set where something is predicted, few elsewhere."""
        most = self.settings.max_body_bytes
        return most if scope["path"].endswith(("predict", "/infer")) else min(most, MOST_SPEC_BYTES)

    def _too_large(self, most: int) -> TooLarge:
        setting = " (TRAINYARD_MAX_BODY_MB)" if most == self.settings.max_body_bytes else ""
        return TooLarge(f"The body of this request may have {most / 1e6:g} MB{setting}.")

    def _counted(self, receive: Receive, most: int) -> Receive:
        """`receive` that stops a body that says nothing of its length."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > most:
                raise self._too_large(most)
            return message

        return counted


def needed_scope(method: str, path: str) -> keys.Scope:
    """What a key must be good for; everything about keys is for admins, and every write that asks no model submits."""
    if path == "/v1/keys" or path.startswith("/v1/keys/"):
        return "admin"
    if is_protocol(path):
        return "predict"
    if method in READ_METHODS:
        return "read"
    return "predict" if method == "POST" and (path == "/predict" or _ASKS.fullmatch(path)) else "submit"


def _check_once(scope: Scope) -> None:
    """Of two that differ, somebody on the way may have looked at the other one. Raises BadRequest."""
    found = [name for name, _ in scope["headers"] if name in ONCE]
    if len(found) != len(set(found)):
        twice = next(name for name in found if found.count(name) > 1).decode()
        raise BadRequest(f"A request has one {twice.title()} header. Received: {found.count(twice.encode())}")


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; the whole where that is no number."""
    name, _, port = host[1:].partition("]") if host.startswith("[") else host.partition(":")
    return name.lower() if PORT.fullmatch(port) else host


def _is_address(name: Any) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

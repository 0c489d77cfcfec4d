"""Every error the API answers with, and how it becomes RFC 9457 problem+json, or under /v2 what that protocol has.

ApiError
 ├─ BadRequest        400  the request cannot be understood
 ├─ Unauthorized      401  a key is missing or wrong
 ├─ Forbidden         403  not from this Host or Origin
 ├─ NotFound          404  no such job, model, artifact
 ├─ Conflict          409  not in this status
 ├─ TooLarge          413  more bytes, pixels or pictures than allowed
 ├─ UnsupportedMedia  415  not a content type that is read here
 ├─ RangeNotSatisfiable 416  nothing of a file is where `Range` says
 ├─ Invalid           422  read, and wrong: one entry in `errors` for each mistake
 ├─ TooMany           429  too many requests or queued jobs of one caller; `Retry-After` says when to come again
 ├─ BadGateway        502  a stored file is gone, or is not what was stored
 ├─ Unavailable       503  the database, the broker or the artifacts do not answer
 └─ OutOfStorage      507  the disk is nearly full
"""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException as FrameworkError
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.inference.errors import InputError
from models.artifacts import StoreUnavailable
from models.logs import request_id
from models.schema import MIGRATE, is_missing
from models.spec import Problem, SpecError, problems_from

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
log = logging.getLogger(__name__)
MOST_PATH = 300  # characters of a path that an error repeats


class ApiError(HTTPException):
    """An answer that is not a success; `detail` is a sentence for people.

    It is the framework's own kind of exception, since others are turned into 400 while a body is read.
    """

    status = 500
    slug = "internal"

    def __init__(self, detail: str, problems: Sequence[Problem] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(self.status, detail, headers)
        self.problems = problems


class BadRequest(ApiError):
    """400"""

    status, slug = 400, "bad-request"


class Unauthorized(ApiError):
    """401"""

    status, slug = 401, "unauthorized"


class Forbidden(ApiError):
    """403"""

    status, slug = 403, "forbidden"


class NotFound(ApiError):
    """404"""

    status, slug = 404, "not-found"


class Conflict(ApiError):
    """409"""

    status, slug = 409, "conflict"


class TooLarge(ApiError):
    """413"""

    status, slug = 413, "too-large"


class UnsupportedMedia(ApiError):
    """415"""

    status, slug = 415, "unsupported-media-type"


class RangeNotSatisfiable(ApiError):
    """416"""

    status, slug = 416, "range-not-satisfiable"


class Invalid(ApiError):
    """422"""

    status, slug = 422, "invalid"


class TooMany(ApiError):
    """429"""

    status, slug = 429, "too-many-requests"

    def __init__(
        self,
        detail: str,
        problems: Sequence[Problem] = (),
        headers: dict[str, str] | None = None,
        *,
        retry_after: float = 1.0,
    ) -> None:
        super().__init__(detail, problems, {"Retry-After": str(max(1, ceil(retry_after)))} | (headers or {}))


class BadGateway(ApiError):
    """502"""

    status, slug = 502, "bad-gateway"


class Unavailable(ApiError):
    """503"""

    status, slug = 503, "unavailable"

    def __init__(self, detail: str, problems: Sequence[Problem] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(detail, problems, {"Retry-After": str(RETRY_SECONDS)} | (headers or {}))


class OutOfStorage(ApiError):
    """507"""

    status, slug = 507, "out-of-storage"


class ProblemEntry(BaseModel):
    """One mistake in a body."""

    pointer: str = Field(description="JSON pointer into the body that was sent", examples=["/network/layers/1/units"])
    code: str = Field(examples=["too_small"])
    detail: str = Field(examples=["units must be at least 1. Received: units=-3"])
    received: Any = Field(None, examples=[-3])


class ProblemDetails(BaseModel):
    """An error as RFC 9457 has it."""

    type: str = Field(examples=["urn:trainyard:problem:invalid"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The body has 1 mistake."])
    instance: str = Field(examples=["/v1/jobs"])
    errors: list[ProblemEntry] | None = None
    request_id: str | None = Field(None, description="of 5xx: by which the server's log tells of it")


class ProtocolError(BaseModel):
    """An error as the Open Inference Protocol has it."""

    error: str = Field(examples=["This model has one input, 'image'. Received: pixels."])


def title(status: int) -> str:
    """The name of a status, as RFC 9110 has it whatever the version of Python."""
    return {413: "Content Too Large", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}.get(
        status, HTTPStatus(status).phrase
    )


def problem(request_path: str, error: ApiError) -> JSONResponse:
    """The answer for `error`."""
    if is_protocol(request_path):
        return _protocol_error(error)
    body: dict[str, Any] = {
        "type": f"urn:trainyard:problem:{error.slug}",
        "title": title(error.status_code),
        "status": error.status_code,
        "detail": str(error.detail),
        "instance": request_path[:MOST_PATH],
    }
    if error.problems:
        body["errors"] = [asdict(entry) for entry in error.problems]
    if error.status_code >= 500 and (own := request_id.get()) is not None:
        body["request_id"] = own
    return JSONResponse(body, error.status_code, headers=error.headers, media_type=MEDIA_TYPE)


def is_protocol(path: str) -> bool:
    """Whether the Open Inference Protocol rules at `path`."""
    return path == "/v2" or path.startswith("/v2/")


def _protocol_error(error: ApiError) -> JSONResponse:
    """In the protocol every mistake in a request is a 400, and a sentence is all there is to say of it."""
    status = 400 if error.status_code == Invalid.status else error.status_code
    place = error.problems[0].pointer if error.problems else ""
    body = {"error": f"{place}: {error.detail}" if place else str(error.detail)}
    return JSONResponse(body, status, headers=error.headers)


def invalid(problems: Sequence[Problem]) -> Invalid:
    """422 for these mistakes, the first one in words."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Invalid(f"{problems[0].detail}{more}", problems)


def documented(*errors: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these errors."""
    return {error.status: _documented(title(error.status)) for error in errors}


def _documented(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


def install(app: FastAPI) -> None:
    """Make `app` answer every failure as problem+json: never a traceback, never a path of the server."""
    app.openapi = functools.partial(_openapi, app.openapi)  # type: ignore[method-assign]

    @app.exception_handler(ApiError)
    async def known(request: Request, error: ApiError) -> JSONResponse:
        return problem(request.url.path, error)

    @app.exception_handler(SpecError)
    async def bad_spec(request: Request, error: SpecError) -> JSONResponse:
        return problem(request.url.path, invalid(error.problems))

    @app.exception_handler(RequestValidationError)
    async def bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(request.url.path, from_validation(error, _body_model(request)))

    @app.exception_handler(FrameworkError)
    async def by_framework(request: Request, error: FrameworkError) -> JSONResponse:
        known = {kind.status: kind for kind in ApiError.__subclasses__()}
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(app, request))
        answer = known.get(error.status_code, BadRequest)(str(error.detail), headers=headers)
        answer.status_code = error.status_code
        return problem(request.url.path, answer)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        # Nobody hears this; without it each cut upload would leave a traceback in the log.
        return problem(request.url.path, BadRequest("The body ended early."))

    @app.exception_handler(DBAPIError)
    async def no_database(request: Request, error: DBAPIError) -> JSONResponse:
        if is_missing(error):
            detail = f"The database's tables are not of this version: {MIGRATE}."
            log.error("%s %s: %s (%s)", request.method, request.url.path, detail, error.orig)
            return problem(request.url.path, Unavailable(detail))
        log.error("%s %s: the database does not answer: %s", request.method, request.url.path, error.orig)
        return problem(request.url.path, Unavailable("The database does not answer; try again in a moment."))

    @app.exception_handler(StoreUnavailable)
    async def no_store(request: Request, error: StoreUnavailable) -> JSONResponse:
        log.error("%s %s: %s (%r)", request.method, request.url.path, error, error.__cause__)
        return problem(request.url.path, Unavailable(f"{error} Try again in a moment."))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        # Starlette logs the traceback itself, and answers past our middleware.
        own = request_id.get()
        headers = {"X-Request-Id": own} if own else None
        detail = "The server met an error of its own; its log has the details."
        return problem(request.url.path, ApiError(detail, headers=headers))


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Every method that some route has at the path of `request`; the framework names those of the first route only."""
    scope = {name: request.scope[name] for name in ("type", "path", "root_path", "headers")}
    allowed = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in app.routes)
    ]
    return ["HEAD", *allowed] if "GET" in allowed else allowed


def _openapi(generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The framework's OpenAPI, with its own form of a 422 replaced by the one that is answered."""
    openapi = generate()
    schemas = openapi["components"]["schemas"]
    if "ProblemDetails" in schemas:
        return openapi
    schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs") | {"ProblemDetails": schema, "ProtocolError": ProtocolError.model_json_schema()}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operation in ((path, each) for path, methods in openapi["paths"].items() for each in methods.values()):
        answers = operation["responses"]
        if is_protocol(path):
            answers.pop("422", None)
            answers["default"] = _PROTOCOL_ERROR
            continue
        if "422" in answers:
            answers["422"] = _documented(title(422))
        answers["default"] = _documented("any other error")
    return openapi


_PROTOCOL_ERROR = {
    "description": "any error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ProtocolError"}}},
}


def from_input(error: InputError) -> ApiError:
    """413, 415 or 422 for something that was sent to a model."""
    kind = {413: TooLarge, 415: UnsupportedMedia}.get(error.status, Invalid)
    return kind(error.detail, [Problem(error.pointer, error.code, error.detail, error.received)])


def from_validation(error: RequestValidationError, model: type[BaseModel] | None) -> Invalid:
    """422 for what FastAPI found wrong in a body, meant to be a `model`, in a query or in a path."""
    in_body = [entry for entry in error.errors() if entry["loc"][:1] == ("body",)]
    elsewhere = [entry for entry in error.errors() if entry["loc"][:1] != ("body",)]
    problems = [
        Problem(
            pointer="",
            code=str(entry["type"]),
            detail=f"{entry['loc'][0]} parameter {entry['loc'][-1]}: {entry['msg']}. Received: {entry['input']!r:.100}",
            received=repr(entry["input"])[:100],
        )
        for entry in elsewhere
    ]
    if in_body and in_body[0]["type"] == "json_invalid":
        reason = in_body[0].get("ctx", {}).get("error", "")
        problems.append(Problem("", "json_invalid", f"The body is not JSON: {reason}"))
    elif in_body and in_body[0]["loc"] == ("body",) and in_body[0]["type"] == "missing":
        problems.append(Problem("", "missing", "The body is empty: send a JSON object."))
    elif in_body:
        bare = [{**entry, "loc": entry["loc"][1:]} for entry in in_body]
        problems.extend(problems_from(bare, error.body, model))
    return invalid(problems)


def _body_model(request: Request) -> type[BaseModel] | None:
    """What the route wanted the body to be; it knows the names that a misspelled key may have meant."""
    field = getattr(request.scope.get("route"), "body_field", None)
    annotation = getattr(getattr(field, "field_info", None), "annotation", None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None

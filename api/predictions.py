"""Predictions: pictures, arrays or features in, classes or values out, in this process and within a millisecond."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from anyio import to_thread
from fastapi import FastAPI, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from pydantic_core import to_json

from api.caller import Caller, caller_of
from api.deps import InRoom, Room, find_job
from api.errors import (
    BadGateway,
    Conflict,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
    documented,
    from_input,
)
from api.inference.answers import answer
from api.inference.errors import InputError
from api.inference.inputs import MAX_TOTAL_PIXELS, Heavy, read_inputs
from api.serving import Served
from api.views import ModelRef
from models.jobs import TERMINAL
from models.spec import Problem

# Up to so many bytes and pixels the event loop does the work itself, which is quicker than to hand it to a thread; so
# many pixels take some two milliseconds, and those of a photograph three times that.
SMALL_BYTES = 100_000
SMALL_PIXELS = 100_000
# Up to so many, pictures are decoded side by side.
MEDIUM_PIXELS = 1_000_000
BLANK = [[0] * 28] * 28
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"description": "a picture file in base64, or a list of them"},
                        "pixels": {"description": "28x28 numbers from 0 to 255, light on dark, or a list of such"},
                        "instances": {
                            "description": "a list of 28x28 or 28x28x1 arrays, or of lists of features: what the "
                            "model learned from"
                        },
                    },
                },
                "examples": {
                    "image": {"summary": "One image as pixels", "value": {"pixels": BLANK}},
                    "features": {
                        "summary": "Two examples for a model of the spiral",
                        "value": {"instances": [[0.1, -0.5], [0.3, 0.2]]},
                    },
                },
            },
        },
    }
}


class Seen(BaseModel):
    """What the model was shown, and how the picture became that."""

    png: str = Field(description="28x28 PNG in base64")
    steps: list[str] = Field(examples=[["inverted", "cropped", "fitted into 20x20", "centred by mass"]])
    warnings: list[str]


class Prediction(BaseModel):
    """The answer of a classifier for one picture or example."""

    label: int = Field(examples=[7])
    class_name: str = Field(examples=["7"])
    probability: float = Field(examples=[0.998])
    probabilities: list[float]
    seen: Seen | None = Field(None, description="with ?seen=true, for pictures and pixels")


class ValuePrediction(BaseModel):
    """The answer of a regression for one example."""

    value: float = Field(examples=[1.7])


class ServedBy(ModelRef):
    """The version that answered."""

    job_id: str


class Predictions(BaseModel):
    """One answer for each picture or example, in their order."""

    model: ServedBy
    predictions: list[Prediction] | list[ValuePrediction]


WantsSeen = Annotated[bool, Query(description="also show what the model was shown")]
ANSWERS = documented(NotFound, Conflict, TooLarge, UnsupportedMedia, Invalid, BadGateway, Unavailable) | {
    200: {"model": Predictions}
}


class QuickRoute(APIRoute):
    """A route that calls its function at once when there is no query to check, past what FastAPI does for others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, or a short cut past it."""
        thorough = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                return await thorough(request)
            answered: Response = await self.endpoint(
                request=request, room=request.app.state.room, **request.path_params
            )
            return answered

        return handle


async def predict(request: Request, room: InRoom, seen: WantsSeen = False) -> Response:
    """Ask the default model: TRAINYARD_DEFAULT_MODEL, else `mnist`, else `digits`."""
    return await _answer(request, room, await find("", room), seen)


async def predict_by_model(ref: str, request: Request, room: InRoom, seen: WantsSeen = False) -> Response:
    """Ask `name` (its champion), `name:version` or `name@champion`."""
    return await _answer(request, room, await find(ref, room), seen)


async def predict_by_job(job_id: str, request: Request, room: InRoom, seen: WantsSeen = False) -> Response:
    """Ask the model that this job became."""
    served = await to_thread.run_sync(_served_of_job, job_id, room, caller_of(request), limiter=room.loading)
    return await _answer(request, room, served, seen)


def _served_of_job(job_id: str, room: Room, caller: Caller) -> Served:
    job = find_job(job_id, room, caller)
    served = room.serving.find_of_job(job.id)
    if served is None:
        later = "" if job.status in TERMINAL else ": ask again when it has succeeded"
        raise Conflict(f"The job is {job.status} and has no model{later}.")
    return served


async def find(ref: str, room: Room) -> Served:
    """The version that `ref` means, loaded: at once where it is known, else by a thread."""
    served = room.serving.remembered(ref)
    return served if served is not None else await to_thread.run_sync(room.serving.find, ref, limiter=room.loading)


async def _answer(request: Request, room: Room, served: Served, seen: bool) -> Response:
    # For the figures at /metrics.
    request.scope["state"]["served"] = served.version
    body = await request.body()
    content_type = request.headers.get("content-type", "")

    def work(most_pixels: int) -> Response:
        return Response(_predict(served, content_type, body, seen, most_pixels), media_type="application/json")

    if len(body) <= SMALL_BYTES:
        with suppress(Heavy):
            return work(SMALL_PIXELS)
    with suppress(Heavy):
        return await to_thread.run_sync(work, MEDIUM_PIXELS)
    # One at a time: a picture of 50 million pixels takes half a gigabyte while it is decoded.
    return await to_thread.run_sync(work, MAX_TOTAL_PIXELS, limiter=room.heavy)


def _predict(served: Served, content_type: str, body: bytes, seen: bool, most_pixels: int) -> bytes:
    version = served.version
    serving = version.serving
    try:
        inputs = read_inputs(
            content_type, body, shape=tuple(serving["shape"]), recipe=serving["recipe"], most_pixels=most_pixels
        )
    except InputError as error:
        raise from_input(error) from error
    outputs = served.predictor.predict(inputs.images)
    if serving["recipe"] is None and not np.isfinite(outputs).all():
        raise _no_answer(inputs.images, outputs)
    shown = inputs.seen if seen else None
    predictions = answer(outputs, serving["labels"], serving["class_names"], shown)
    model = {"name": version.name, "version": version.version, "job_id": version.job_id}
    return to_json({"model": model, "predictions": predictions})


def _no_answer(inputs: Any, outputs: Any) -> Invalid:
    """Features so large that the network overflows: JSON has no number for what it answers."""
    at = int(np.argmin(np.isfinite(outputs).all(axis=1)))
    received = inputs[at].tolist()
    detail = f"The model has no finite answer to these numbers: send smaller ones. Received: {received}."
    return Invalid(detail, [Problem(f"/instances/{at}", "not_finite", detail, received)])


def install(app: FastAPI) -> None:
    """Give `app` its routes before all others, and without a router of their own between: each costs microseconds."""
    for path, function in (
        ("/predict", predict),
        ("/v1/models/{ref}/predict", predict_by_model),
        ("/v1/jobs/{job_id}/predict", predict_by_job),
    ):
        app.router.add_api_route(
            path,
            function,
            methods=["POST"],
            tags=["predict"],
            responses=ANSWERS,
            response_class=Response,
            openapi_extra=BODY,
            route_class_override=QuickRoute,
        )

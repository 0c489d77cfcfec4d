"""The Open Inference Protocol (also KServe V2), by which clients made for Triton, KServe and others ask these models.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, with binary tensors.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select

from api.deps import InRoom, Room
from api.errors import Invalid, ProtocolError, from_input, title
from api.inference.bodies import InferenceRequest, InferenceResponse, expanded, read_request, write_response
from api.inference.errors import InputError
from api.inference.inputs import MAX_ITEMS
from api.predictions import SMALL_BYTES, find
from api.serving import Served
from models import registry

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
PLATFORM = "onnxruntime_onnx"
VERSION = version("trainyard")
JSON_LENGTH = "Inference-Header-Content-Length"
BRIGHTEST = 255.0  # pixels are 0 to 255; features may be any finite numbers
EXAMPLE = {"inputs": [{"name": "image", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}]}
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A JSON schema without references, which in OpenAPI would lead to the whole document."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items() if key != "$defs"}


def _body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    json = {"schema": _inlined(schema, schema["$defs"]), "example": EXAMPLE}
    return {"requestBody": {"required": True, "content": {"application/json": json} | BINARY}}


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ProtocolError, "description": title(status)} for status in statuses}


BODY = _body(InferenceRequest)
ABOUT_MODEL = _documented(404, 502, 503)
ANSWERS = _documented(400, 404, 413, 415, 502, 503) | {200: {"model": InferenceResponse, "content": BINARY}}


class ServerMetadata(BaseModel):
    """What this server is and speaks."""

    name: str = "trainyard"
    version: str = VERSION
    extensions: list[str] = ["binary_tensor_data"]


class ServerLive(BaseModel):
    """This process answers."""

    live: bool = True


class ServerReady(BaseModel):
    """Models can be found and asked."""

    ready: bool = True


class ModelReady(BaseModel):
    """The model is loaded."""

    name: str
    ready: bool = True


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives; -1 is any number of examples."""

    name: str = Field(examples=["image"])
    datatype: str = "FP32"
    shape: list[int] = Field(examples=[[-1, 28, 28, 1]])


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str = Field(examples=["mnist"])
    versions: list[str] = Field(examples=[["1", "2"]])
    platform: str = PLATFORM
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


@router.get("")
@router.get("/", include_in_schema=False)
async def server_metadata() -> ServerMetadata:
    """What this server is and speaks."""
    return ServerMetadata()


@router.get("/health/live")
async def server_live() -> ServerLive:
    """200 while this process answers."""
    return ServerLive()


@router.get("/health/ready", responses=_documented(503))
def server_ready(room: InRoom) -> ServerReady:
    """200 when the database answers: with it models are found, and to ask them takes no worker."""
    with room.database.read() as session:
        session.execute(select(1))
    return ServerReady()


@router.get("/models/{model}", responses=ABOUT_MODEL)
async def model_metadata(model: str, room: InRoom) -> ModelMetadata:
    """Of `name` (its champion), `name:version` or `name@alias`."""
    return await _metadata(model, room)


@router.get("/models/{model}/versions/{version}", responses=ABOUT_MODEL)
async def version_metadata(model: str, version: str, room: InRoom) -> ModelMetadata:
    """Of one version."""
    return await _metadata(f"{model}:{version}", room)


@router.get("/models/{model}/ready", responses=ABOUT_MODEL)
async def model_ready(model: str, room: InRoom) -> ModelReady:
    """200 when the model is loaded, which this request sees to; else what keeps it from that."""
    return ModelReady(name=(await find(model, room)).version.name)


@router.get("/models/{model}/versions/{version}/ready", responses=ABOUT_MODEL)
async def version_ready(model: str, version: str, room: InRoom) -> ModelReady:
    """200 when the version is loaded, which this request sees to; else what keeps it from that."""
    return ModelReady(name=(await find(f"{model}:{version}", room)).version.name)


@router.post("/models/{model}/infer", openapi_extra=BODY, responses=ANSWERS, response_class=Response)
async def infer(model: str, request: Request, room: InRoom) -> Response:
    """Ask `name` (its champion), `name:version` or `name@alias`."""
    return await _answer(request, room, model)


@router.post("/models/{model}/versions/{version}/infer", openapi_extra=BODY, responses=ANSWERS, response_class=Response)
async def infer_by_version(model: str, version: str, request: Request, room: InRoom) -> Response:
    """Ask one version."""
    return await _answer(request, room, f"{model}:{version}")


async def _metadata(ref: str, room: Room) -> ModelMetadata:
    served = await find(ref, room)
    name, predictor = served.version.name, served.predictor

    def versions() -> list[str]:
        with room.database.read() as session:
            return [str(each.version) for each in reversed(registry.versions(session, name))]

    takes = TensorMetadata(name=predictor.input_name, shape=[-1, *served.version.serving["shape"]])
    gives = TensorMetadata(name=predictor.output_name, shape=[-1, predictor.width])
    return ModelMetadata(name=name, versions=await to_thread.run_sync(versions), inputs=[takes], outputs=[gives])


async def _answer(request: Request, room: Room, ref: str) -> Response:
    served = await find(ref, room)
    request.scope["state"]["served"] = served.version
    body = await request.body()
    encoding = request.headers.get("content-encoding", "")
    json_length = request.headers.get(JSON_LENGTH)

    def work() -> tuple[bytes, int | None]:
        try:
            return _infer(served, expanded(body, encoding, room.settings.max_body_bytes), json_length)
        except InputError as error:
            raise from_input(error) from error

    # What is packed may be large; small work is quicker done here than handed to a thread.
    small = len(body) <= SMALL_BYTES and not encoding
    answered, length = work() if small else await to_thread.run_sync(work)
    if length is None:
        return Response(answered, media_type="application/json")
    return Response(answered, media_type="application/octet-stream", headers={JSON_LENGTH: str(length)})


def _infer(served: Served, body: bytes, json_length: str | None) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON where bytes follow; raises InputError for a bad request."""
    version, predictor = served.version, served.predictor
    received = read_request(body, json_length)
    shape = tuple(version.serving["shape"])
    upper = BRIGHTEST if len(shape) == 3 else None
    examples = received.tensor(predictor.input_name, shape, MAX_ITEMS, upper)
    binary = received.is_binary(predictor.output_name)
    outputs = predictor.predict(examples)
    if not np.isfinite(outputs).all():
        raise Invalid("The model has no finite answer to these numbers: send smaller ones.")
    response: dict[str, Any] = {"model_name": version.name, "model_version": str(version.version)}
    if received.request.id is not None:
        response["id"] = received.request.id
    return write_response(response, predictor.output_name, outputs, binary=binary)

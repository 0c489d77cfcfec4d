"""Bodies of the Open Inference Protocol: an inference request in, with the tensor it carries, and a response out.

https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md, and for binary tensors
https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md
"""

import zlib
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json as parse_json
from pydantic_core import to_json as dump_json

from api.inference import tensors
from api.inference.arrays import brief, check_count
from api.inference.errors import InputError
from models.spec import problems_from

Side = Annotated[int, Field(ge=0, lt=2**63)]

# What other servers know beside binary tensors; not to obey it silently would give a wrong answer.
FOREIGN = ("classification", "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")


class RequestInput(BaseModel):
    """A tensor for the model."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["image"])
    shape: list[Side] = Field(max_length=8, examples=[[1, 28, 28, 1]])
    datatype: str = Field(description=", ".join(tensors.DATATYPES), examples=["FP32"])
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="`binary_data_size`: its bytes after the JSON, in place of `data`"
    )
    data: list[Any] | None = Field(None, description="numbers, in one list or nested as `shape` says")


class RequestOutput(BaseModel):
    """A tensor that the answer shall have."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["output"])
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="`binary_data`: true for bytes after the JSON, in place of `data`"
    )


class InferenceRequest(BaseModel):
    """What a model is asked; keys and parameters that are not known here are passed over."""

    model_config = ConfigDict(strict=True)

    id: str | None = Field(None, max_length=1_000, description="comes back in the answer")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="`binary_data_output`: what `binary_data` is where an output says none"
    )
    inputs: list[RequestInput] = Field(min_length=1, max_length=100)
    outputs: list[RequestOutput] | None = Field(None, max_length=100, description="all of them when absent")


class ResponseOutput(BaseModel):
    """A tensor of the answer: its numbers row after row, or `binary_data_size` bytes after the JSON."""

    name: str = Field(examples=["output"])
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[1, 10]])
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferenceResponse(BaseModel):
    """What a model answers."""

    model_name: str = Field(examples=["mnist"])
    model_version: str = Field(examples=["3"])
    id: str | None = None
    outputs: list[ResponseOutput]


@dataclass(frozen=True, slots=True)
class Received:
    """A request and the bytes that followed its JSON."""

    request: InferenceRequest
    binary: memoryview

    def tensor(self, name: str, shape: tuple[int, ...], most: int, upper: float | None) -> npt.NDArray[np.float32]:
        """The one input, `name`, as at most `most` examples (n, *shape) of finite numbers, with `upper` from 0 to it.

        Raises InputError, 422 or 413, for any other input.
        """
        names = [sent.name for sent in self.request.inputs]
        if names != [name]:
            received = ", ".join(names)[:200]
            detail = f"This model has one input, {name!r}. Received: {received}."
            raise InputError(422, "inputs", detail, "/inputs", received)
        (sent,) = self.request.inputs
        pointer = "/inputs/0"
        _refuse_foreign(sent.parameters, pointer)
        tensors.check_shape(sent.shape, shape, most, pointer)
        return tensors.examples(self._array(sent, pointer), shape, upper=upper, pointer=pointer)

    def _array(self, sent: RequestInput, pointer: str) -> tensors.Array:
        size = sent.parameters.get("binary_data_size")
        if size is None and len(self.binary):
            detail = f"Bytes follow the JSON, but no input has a binary_data_size. Received: {_size(self)}."
            raise InputError(422, "binary_unexpected", detail, f"{pointer}/parameters", _size(self))
        if (size is None) == (sent.data is None):
            received = "neither" if size is None else "both"
            detail = f"An input has either data or a binary_data_size. Received: {received}."
            raise InputError(422, "data", detail, pointer, received)
        if size is None:
            return tensors.from_json(sent.data, sent.datatype, tuple(sent.shape), pointer)
        if type(size) is not int or size != len(self.binary):
            detail = (
                "binary_data_size should be how many bytes follow the JSON, whose length is in the header "
                f"Inference-Header-Content-Length. Received: {brief(size)} and {_size(self)}."
            )
            raise InputError(422, "size_mismatch", detail, f"{pointer}/parameters/binary_data_size", brief(size))
        return tensors.from_bytes(self.binary, sent.datatype, tuple(sent.shape), pointer)

    def is_binary(self, name: str) -> bool:
        """Whether the one output, `name`, is wanted as bytes; raises InputError, 422, for any other output."""
        asked = self.request.outputs or [RequestOutput(name=name)]
        names = [output.name for output in asked]
        if names != [name]:
            received = ", ".join(names)[:200]
            detail = f"This model has one output, {name!r}. Received: {received}."
            raise InputError(422, "outputs", detail, "/outputs", received)
        _refuse_foreign(asked[0].parameters, "/outputs/0")
        by_default = _flag(self.request.parameters, "binary_data_output", False, "")
        return _flag(asked[0].parameters, "binary_data", by_default, "/outputs/0")


def expanded(body: bytes, encoding: str, most: int) -> bytes:
    """`body` without its Content-Encoding, none, gzip or deflate (RFC 9110, 8.4.1).

    Raises InputError: 413 when it would be more than `most` bytes, 415 for another encoding, 422 when it is damaged.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        detail = f"Content-Encoding should be gzip, deflate or none. Received: {encoding[:40]}."
        raise InputError(415, "content_encoding", detail, received=encoding[:40])
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS if encoding == "deflate" else 16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise InputError(422, "encoding_invalid", f"The body is not {encoding}: {error}.") from error
    if len(plain) > most:
        raise InputError(413, "too_long", f"The body may have at most {most:,} bytes when expanded. Received: more.")
    if not unpacker.eof or unpacker.unused_data:
        what = "bytes after the end of it" if unpacker.eof else "no end of it"
        raise InputError(422, "encoding_invalid", f"The body should be {encoding} and no more. Received: {what}.")
    return plain


def read_request(body: bytes, json_length: str | None) -> Received:
    """The request in `body`, whose JSON has `json_length` bytes (Inference-Header-Content-Length) or is all of it.

    Raises InputError: 413 for more values than any batch has, 422.
    """
    length = len(body) if json_length is None else _json_length(json_length, len(body))
    text = body[:length] if length < len(body) else body
    check_count(text)
    try:
        sent = parse_json(text, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InputError(422, "json_invalid", f"The body is not valid JSON: {error}.") from error
    try:
        request = InferenceRequest.model_validate(sent)
    except ValidationError as error:
        first = problems_from(error.errors(include_url=False), sent, InferenceRequest)[0]
        raise InputError(422, first.code, first.detail, first.pointer, first.received) from error
    return Received(request, memoryview(body)[length:])


def write_response(
    response: dict[str, Any], name: str, output: tensors.Array, *, binary: bool
) -> tuple[bytes, int | None]:
    """The body of an answer with one output, and the length of its JSON where bytes follow."""
    described = {"name": name, "datatype": tensors.datatype_of(output), "shape": list(output.shape)}
    if not binary:
        return dump_json(response | {"outputs": [described | {"data": tensors.to_json(output)}]}), None
    data = tensors.to_bytes(output)
    text = dump_json(response | {"outputs": [described | {"parameters": {"binary_data_size": len(data)}}]})
    return text + data, len(text)


def _json_length(header: str, most: int) -> int:
    if header.isascii() and header.isdigit() and len(header) < 16 and int(header) <= most:
        return int(header)
    wanted = "the length of the JSON at the start of the body"
    detail = f"Inference-Header-Content-Length should be {wanted}. Received: {header[:40]!r} of {most:,} bytes."
    raise InputError(422, "header_length", detail, received=header[:40])


def _flag(parameters: dict[str, Any], name: str, default: bool, pointer: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        detail = f"{name} should be true or false. Received: {brief(value)}."
        raise InputError(422, "bool_type", detail, f"{pointer}/parameters/{name}", brief(value))
    return value


def _refuse_foreign(parameters: dict[str, Any], pointer: str) -> None:
    for name in FOREIGN:
        if name in parameters:
            detail = f"This server has no such extension. Received: the parameter {name}."
            raise InputError(422, "extension", detail, f"{pointer}/parameters/{name}")


def _size(received: Received) -> str:
    return f"{len(received.binary):,} bytes"

"""Tensors as the Open Inference Protocol sends them, lists in JSON or little-endian bytes, to and from NumPy."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from api.inference.arrays import brief
from api.inference.errors import InputError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

# Row-major, little-endian, without padding: the binary tensor data extension.
DATATYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "UINT8": "u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }.items()
}


def from_bytes(data: bytes | memoryview, datatype: str, shape: Shape, pointer: str = "") -> Array:
    """The bytes of a tensor as an array of `shape` that shares their memory.

    Raises InputError, 422, when `datatype` is not one of DATATYPES, or `data` are more or fewer bytes than it takes.
    """
    kind = _dtype(datatype, pointer)
    wanted = math.prod(shape) * kind.itemsize
    if len(data) != wanted:
        detail = f"{datatype} of the shape {list(shape)} takes {wanted:,} bytes. Received: {len(data):,}."
        raise InputError(422, "size_mismatch", detail, f"{pointer}/parameters/binary_data_size", len(data))
    return np.frombuffer(data, kind).reshape(shape)


def from_json(data: object, datatype: str, shape: Shape, pointer: str = "") -> Array:
    """The numbers of a tensor, one flat list in row-major order or nested as `shape` says, as an array of `shape`.

    Raises InputError, 422, for another number of numbers, or one that `datatype` does not hold: integers have to be
    integers within its range, floats have to be finite in it.
    """
    kind = _dtype(datatype, pointer)
    at = f"{pointer}/data"
    if not isinstance(data, list):
        raise InputError(422, "list_type", f"data should be a list. Received: {brief(data)}.", at, brief(data))
    numbers = _flat(data, shape, at)
    allowed = {int} if kind.kind in "iu" else {int, float}
    if not set(map(type, numbers)) <= allowed:
        _refuse(next(number for number in numbers if type(number) not in allowed), datatype, at)
    try:
        if kind.kind in "iu":
            return np.array(numbers, kind).reshape(shape)
        with np.errstate(over="ignore"):
            array = np.array(numbers, np.float64).astype(kind)
    except OverflowError:
        low, high = _range(kind)
        _refuse(next(number for number in numbers if not low <= number <= high), datatype, at)
    if not np.isfinite(array).all():
        _refuse(numbers[int(np.argmin(np.isfinite(array)))], datatype, at)
    return array.reshape(shape)


def to_bytes(array: Array) -> bytes:
    """The bytes of a tensor."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def to_json(array: Array) -> list[Any]:
    """The numbers of a tensor as one flat list, exactly."""
    flat: list[Any] = array.ravel().tolist()
    return flat


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's type."""
    little = array.dtype.newbyteorder("<")
    return next(name for name, kind in DATATYPES.items() if kind == little)


def examples(array: Array, shape: Shape, *, upper: float | None, pointer: str = "") -> npt.NDArray[np.float32]:
    """An array (n, ...) as n examples of `shape` in float32, newly made.

    Raises InputError, 422, for numbers that are not finite in float32, or with `upper` not between 0 and it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = array.astype(np.float32)
    if not np.isfinite(narrow).all():
        received = str(array[~np.isfinite(narrow)][0])
        raise InputError(422, "finite_number", f"Numbers should be finite. Received: {received}.", pointer, received)
    if upper is not None and (narrow.min() < 0 or narrow.max() > upper):
        received = str(array[(narrow < 0) | (narrow > upper)][0])
        detail = f"Pixels should be between 0 and {upper:g}. Received: {received}."
        raise InputError(422, "out_of_range", detail, pointer, received)
    return narrow.reshape(-1, *shape)


def forms_of(shape: Shape) -> list[Shape]:
    """The shapes in which an example of `shape` may come: as it is, without a last side of 1, and flat."""
    forms = [shape, *([shape[:-1]] if shape[-1] == 1 and len(shape) > 1 else []), (math.prod(shape),)]
    return list(dict.fromkeys(forms))


def check_shape(sent: Sequence[int], shape: Shape, most: int, pointer: str = "") -> None:
    """Whether `sent` is 1 to `most` examples of `shape`, or of one of `forms_of` it; raises InputError, 422 or 413."""
    forms = forms_of(shape)
    if tuple(sent[1:]) not in forms:
        wanted = " or ".join(str([-1, *form]) for form in forms)
        received = str(list(sent[:10]))
        detail = f"shape should be {wanted}. Received: {received}."
        raise InputError(422, "shape_mismatch", detail, f"{pointer}/shape", received)
    if sent[0] == 0:
        raise InputError(422, "too_short", "At least one example is needed. Received: 0.", f"{pointer}/shape/0", 0)
    if sent[0] > most:
        detail = f"At most {most:,} examples a request. Received: {sent[0]:,}."
        raise InputError(413, "too_long", detail, f"{pointer}/shape/0", sent[0])


def _dtype(datatype: str, pointer: str) -> np.dtype[Any]:
    if datatype not in DATATYPES:
        detail = f"datatype should be one of {', '.join(DATATYPES)}. Received: {datatype[:40]!r}."
        raise InputError(422, "datatype", detail, f"{pointer}/datatype", datatype[:40])
    return DATATYPES[datatype]


def _flat(data: list[Any], shape: Shape, pointer: str) -> list[Any]:
    if len(shape) > 1 and data and isinstance(data[0], list):
        sides: Shape = shape
    else:
        sides = (math.prod(shape),)
    rows: list[Any] = [data]
    for side in sides:
        for row in rows:
            if not isinstance(row, list) or len(row) != side:
                wanted = f"{math.prod(shape):,} numbers, in one list or nested as the shape {list(shape)} says"
                detail = f"data should be {wanted}. Received: {brief(row)} where a list of {side:,} should be."
                raise InputError(422, "shape_mismatch", detail, pointer, brief(row))
        rows = list(chain.from_iterable(rows))
    return rows


def _range(kind: np.dtype[Any]) -> tuple[Any, Any]:
    if kind.kind in "iu":
        return int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    return float(np.finfo(kind).min), float(np.finfo(kind).max)


def _refuse(found: object, datatype: str, pointer: str) -> NoReturn:
    low, high = _range(DATATYPES[datatype])
    what, form = ("an integer", ",") if isinstance(low, int) else ("a number", ".6g")
    detail = f"{datatype} should be {what} from {low:{form}} to {high:{form}}. Received: {brief(found)}."
    raise InputError(422, "number", detail, pointer, brief(found))

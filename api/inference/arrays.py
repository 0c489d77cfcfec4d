"""From lists of numbers, as JSON has them, to one array of a given shape."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from api.inference.errors import InputError

Float32 = npt.NDArray[np.float32]
Path = tuple[int, ...]
# A thousand pictures of 28x28, each number in a list of its own, and their other brackets.
MOST_VALUES = 1_000 * (28 * 28 + 28 + 1) + 1_000


def check_count(text: bytes) -> None:
    """Refuse JSON with more values than any batch has, before it is parsed. Raises InputError, 413."""
    values = max(text.count(b","), text.count(b"["), text.count(b"{"))
    if values > MOST_VALUES:
        detail = f"The body may have at most {MOST_VALUES:,} values. Received: {values:,} or more."
        raise InputError(413, "too_long", detail, received=values)


def read_numbers(values: list[Any], shape: tuple[int, ...], pointer: str, *, upper: float | None) -> Float32:
    """`values`, nested lists of numbers with `shape`, as float32.

    Numbers have to be finite and, with `upper`, between 0 and `upper`. Raises InputError, 422, whose pointer leads to
    the list or number at fault.
    """
    if (path := _misshapen(values, shape)) is not None:
        _refuse_shape(values, shape, path, pointer)
    flat: Iterable[Any] = values
    for _ in shape[1:]:
        flat = chain.from_iterable(flat)
    numbers = list(flat)
    if not set(map(type, numbers)) <= {int, float}:
        at = next(i for i, number in enumerate(numbers) if type(number) not in (int, float))
        _refuse(numbers[at], "float_type", "Input should be a number", _path(at, shape), pointer)
    try:
        array = np.array(numbers, np.float64)
    except OverflowError:  # an integer of more than 308 digits
        array = np.array([number if abs(number) < 1e300 else np.inf for number in numbers], np.float64)
    # Judged as float32, which has a smaller range: 1e300 would be infinite in the model's eyes.
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if not np.isfinite(narrow).all():
        at = int(np.argmin(np.isfinite(narrow)))
        _refuse(numbers[at], "finite_number", "Input should be a finite number", _path(at, shape), pointer)
    if upper is not None and narrow.size and (narrow.min() < 0 or narrow.max() > upper):
        at = int(np.argmax((narrow < 0) | (narrow > upper)))
        _refuse(numbers[at], "out_of_range", f"Input should be between 0 and {upper:g}", _path(at, shape), pointer)
    return narrow.reshape(shape)


def _misshapen(values: Any, shape: tuple[int, ...]) -> Path | None:
    """Where `values` departs from `shape`, or None."""
    if not isinstance(values, list) or len(values) != shape[0]:
        return ()
    if len(shape) > 1:
        for i, inner in enumerate(values):
            if (path := _misshapen(inner, shape[1:])) is not None:
                return (i, *path)
    return None


def _path(flat_index: int, shape: tuple[int, ...]) -> Path:
    return tuple(int(i) for i in np.unravel_index(flat_index, shape))


def _refuse_shape(values: Any, shape: tuple[int, ...], path: Path, pointer: str) -> NoReturn:
    found = values
    for i in path:
        found = found[i]
    _refuse(found, "shape_mismatch", f"Input should be a list of {_shape(shape[len(path) :])}", path, pointer)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) + (" numbers" if shape != (1,) else " number")


def _refuse(found: object, code: str, wanted: str, path: Path, pointer: str) -> NoReturn:
    received = brief(found)
    detail = f"{wanted}. Received: {received}."
    raise InputError(422, code, detail, "/".join([pointer, *map(str, path)]), received)


def brief(value: object) -> str:
    """A few words on a JSON value, however large it is."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return f"an object with {len(value):,} keys"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, int) and abs(value) >= 10**30:
        return "an integer of more than 30 digits"
    return repr(value)

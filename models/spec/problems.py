"""Mistakes in a body, each with a JSON pointer to its place, a code, and a sentence with what was received."""

import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

Path = tuple[str | int, ...]
MOST_KEY = 500


@dataclass(frozen=True)
class Problem:
    """One mistake: `pointer` (RFC 6901) leads into the body that was sent, "" means all of it."""

    pointer: str
    code: str
    detail: str
    received: object = None


class SpecError(ValueError):
    """A spec that cannot be run, with every mistake found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = list(problems)


def pointer_to(path: Path) -> str:
    """The JSON pointer (RFC 6901) to `path`; of a key that is longer than any sensible one, its beginning."""
    return "".join("/" + _clean(str(item)[:MOST_KEY]).replace("~", "~0").replace("/", "~1") for item in path)


def has(value: Any, item: str | int) -> bool:
    """Whether `value[item]` is there, for an object and a key or a list and an index."""
    if isinstance(value, dict):
        return item in value
    return isinstance(value, list | tuple) and isinstance(item, int) and 0 <= item < len(value)


def problem_at(path: Path, code: str, detail: str, value: object, name: str = "") -> Problem:
    """A problem whose sentence ends with what was received at `path`, or under another `name`."""
    if not name:
        keys = [shortened(str(item)) for item in path[-2:]]
        name = keys[-1] if keys and keys[-1].isidentifier() else "/".join(keys)
    received = _safe(value)
    text = received if isinstance(received, str) and not isinstance(value, str) else _json(received)
    return Problem(pointer_to(path), code, f"{detail}. Received: {name + '=' if name else ''}{text}", received)


def refuse(path: Path, code: str, detail: str, value: object) -> NoReturn:
    """Raise SpecError with the one problem that `problem_at` makes of these."""
    raise SpecError([problem_at(path, code, detail, value)])


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = (
    4,
    8,
    20,
    100,
    60,
    60,
)


def shortened(text: str, most: int = 60) -> str:
    """The beginning of `text`, with what UTF-8 cannot carry replaced."""
    return _clean(text) if len(text) <= most else f"{_clean(text[:most])}... ({len(text)} characters)"


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _safe(value: object) -> object:
    """`value` itself when JSON can carry it and it is short, else a shortened description of it."""
    if isinstance(value, str):
        return shortened(value, 200)
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"a whole number of {value.bit_length()} bits"
    text = _SHORT.repr(value)
    if "..." in text or len(text) > 400:
        return text[:400]
    try:
        _json(value).encode()
    except (TypeError, ValueError):
        return text
    return value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""From pydantic's errors to problems: where each mistake is in the body that was sent, and a sentence about it."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from models.spec.problems import Path, Problem, has, pointer_to, problem_at, shortened

MAX_PROBLEMS = 100
MISSING = {"missing", "union_tag_not_found"}
# Where an error that lists what is allowed has the list, in its context.
CHOICES = {"literal_error": "expected", "enum": "expected", "union_tag_invalid": "expected_tags"}
NOT_REACHED = "default_factory_not_called"

# How a pydantic error type is called here; types not named keep pydantic's name.
CODES = {
    "union_tag_not_found": "missing",
    "extra_forbidden": "unknown_key",
    "union_tag_invalid": "unknown_type",
    "literal_error": "unknown_value",
    "enum": "unknown_value",
    "finite_number": "not_finite",
    "greater_than": "too_small",
    "greater_than_equal": "too_small",
    "less_than": "too_large",
    "less_than_equal": "too_large",
    "int_parsing_size": "too_large",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "string_pattern_mismatch": "bad_pattern",
    "string_unicode": "bad_unicode",
    "int_from_float": "wrong_type",
    "none_required": "wrong_type",
    "value_error": "invalid",
    "assertion_error": "invalid",
    "multiple_of": "invalid",
}

# What a value must be, by pydantic error type; {} fields come from the error's context.
WANTED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "must match {pattern}",
    "value_error": "is not valid: {error}",
    "assertion_error": "is not valid: {error}",
}


def problems_from(
    errors: Sequence[Mapping[str, Any]], body: object, model: type[BaseModel] | None = None
) -> list[Problem]:
    """What pydantic found wrong with `body`, one problem a mistake, in the order pydantic met them.

    `errors` are those of `ValidationError.errors()`, their `loc` relative to `body`. With `model`, the class that was
    validated, the sentences about unknown keys say which ones there are.
    """
    located = [_locate(error, body) for error in errors if error["type"] != NOT_REACHED]
    problems: dict[str, Problem] = {}
    for found in _best_branches(located):
        problem = _describe(found, model)
        problems.setdefault(problem.pointer, problem)
    return _without_consequences(list(problems.values()))[:MAX_PROBLEMS]


@dataclass(frozen=True)
class _Located:
    """An error with its place in the body; `added` are the places in its `loc` of what is no key of the body."""

    error: Mapping[str, Any]
    path: Path
    value: object
    added: tuple[int, ...]


def _locate(error: Mapping[str, Any], body: object) -> _Located:
    """Tell the items of `loc` that are keys of the body from those that pydantic added, such as union tags."""
    loc = tuple(error["loc"])
    missing = error["type"] == "missing"
    candidates = list(_candidates(loc, 0, body, missing, (), ()))
    # A key may be spelt like a tag; the error's own input then says which reading is right. Tags come before keys.
    same = [found for found in candidates if found[1] is error["input"]]
    path, value, added = same[-1] if same else candidates[0]
    if error["type"] == "union_tag_invalid" or error["type"] == "union_tag_not_found":
        key = error["ctx"]["discriminator"].strip("'")
        if isinstance(value, dict) and key.isidentifier():
            path, value = (*path, key), value.get(key)
    elif missing and path[-1:] == loc[-1:] and isinstance(loc[-1], str):
        value = None
    return _Located(error, path, value, added)


def _candidates(
    loc: Path, at: int, value: Any, missing: bool, path: Path, added: tuple[int, ...]
) -> Iterator[tuple[Path, object, tuple[int, ...]]]:
    """Every way to read `loc[at:]` from `value` on, keys taken before keys passed over."""
    if at == len(loc):
        yield path, value, added
        return
    item = loc[at]
    if has(value, item):
        yield from _candidates(loc, at + 1, value[item], missing, (*path, item), added)
    elif missing and at == len(loc) - 1 and isinstance(value, dict):
        yield (*path, item), value, added
        return
    yield from _candidates(loc, at + 1, value, missing, path, (*added, at))


def _best_branches(located: list[_Located]) -> list[_Located]:
    """Where several members of a union were tried, only the errors of the one that came closest.

    Two members show as equal beginnings of `loc` that go on with different items, neither a key of the body.
    """
    unions: dict[Path, dict[str | int, list[_Located]]] = {}
    for found in located:
        for at in found.added:
            loc = found.error["loc"]
            unions.setdefault(loc[:at], {}).setdefault(loc[at], []).append(found)
    best = {
        union: min(tags, key=lambda tag: (len(tags[tag]), -max(len(found.path) for found in tags[tag])))
        for union, tags in unions.items()
    }

    def closest(found: _Located) -> bool:
        loc = found.error["loc"]
        return all(best[loc[:at]] == loc[at] for at in found.added)

    return [found for found in located if closest(found)]


def _describe(found: _Located, model: type[BaseModel] | None) -> Problem:
    error, path, value = found.error, found.path, found.value
    kind, loc = error["type"], error["loc"]
    code = CODES.get(kind, "wrong_type" if kind.endswith("_type") else kind)
    if kind == "union_tag_invalid" and error["ctx"]["discriminator"] != "'type'":
        code = "unknown_value"
    subject = shortened(str(path[-1])) if path else "the body"
    if path and isinstance(path[-1], int):
        subject = f"entry {subject}"
    if kind in MISSING:
        detail = _missing(subject, path, error, model)
        if value is None:
            return Problem(pointer_to(path), code, f"{detail}. Received: nothing")
    elif kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        code, detail = "too_large", f"{subject} {WANTED['int_parsing_size']}"
    elif kind == "extra_forbidden":
        detail = f"{subject} is not a known key{_known_keys(model, loc)}"
    elif kind in CHOICES:
        names = error["ctx"][CHOICES[kind]].replace("'", "")
        detail = f"{subject} must be {'one of ' if ',' in names else ''}{names}{_did_you_mean(value, _words(names))}"
    elif kind in WANTED:
        detail = f"{subject} {WANTED[kind].format_map(error.get('ctx', {}))}"
    else:
        detail = f"{subject} {error['msg'][:1].lower()}{error['msg'][1:]}"
    return problem_at(path, code, detail, value)


def _missing(subject: str, path: Path, error: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    loc = error["loc"]
    if error["type"] == "union_tag_not_found":
        types = _types(model, loc, str(path[-1])) if path else []
        return f"{subject} is missing{': give one of ' + ', '.join(types) if types else ''}"
    if isinstance(loc[-1], int):
        return f"{subject} must have {loc[-1] + 1} or more entries"
    return f"{loc[-1]} is missing" if path[-1:] == loc[-1:] else f"{subject} needs an object: {loc[-1]} is missing"


def _known_keys(model: type[BaseModel] | None, loc: Path) -> str:
    keys = _keys(model, loc)
    if loc[-1] in keys:
        return " here"
    return _did_you_mean(loc[-1], keys) or (f"; there are {', '.join(keys)}" if keys else "")


def _words(names: str) -> list[str]:
    return re.split(r", | or ", names)


def _without_consequences(problems: list[Problem]) -> list[Problem]:
    """Drop what another mistake brings about: a key that is missing because it is misspelt, and a list that is too
    short because its wrong entries do not count."""
    unknown = [problem.pointer.rpartition("/") for problem in problems if problem.code == "unknown_key"]

    def follows(problem: Problem) -> bool:
        parent, _, key = problem.pointer.rpartition("/")
        if problem.code == "missing":
            return bool(difflib.get_close_matches(key, [name for place, _, name in unknown if place == parent]))
        inside = f"{problem.pointer}/"
        return problem.code == "too_short" and any(other.pointer.startswith(inside) for other in problems)

    return [problem for problem in problems if not follows(problem)]


def _did_you_mean(given: object, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(given[:64], allowed, n=1) if isinstance(given, str) else []
    return f" (did you mean {close[0]}?)" if close else ""


def _models_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[type[BaseModel]]:
    """The classes that the object at `loc` may be of."""
    candidates = [model]
    for item in loc:
        inner = [kind.model_fields[item].annotation for kind in candidates if item in kind.model_fields]
        tagged = [kind for kind in candidates if any(item in _literals(field) for field in _annotations(kind))]
        if inner:
            candidates = [kind for annotation in inner for kind in _models_in(annotation)]
        elif tagged:
            candidates = tagged
    return candidates


def _keys(model: type[BaseModel] | None, loc: Sequence[str | int]) -> list[str]:
    kinds = _models_at(model, loc[:-1]) if model else []
    return list(dict.fromkeys(name for kind in kinds for name in kind.model_fields))


def _types(model: type[BaseModel] | None, loc: Sequence[str | int], key: str) -> list[str]:
    """What the discriminator `key` may be."""
    fields = [kind.model_fields.get(key) for kind in (_models_at(model, loc) if model else [])]
    return [str(name) for field in fields if field is not None for name in _literals(field.annotation)]


def _annotations(kind: type[BaseModel]) -> list[Any]:
    return [field.annotation for field in kind.model_fields.values()]


def _literals(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in _models_in(argument)]

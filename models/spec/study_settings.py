"""Settings of a study: which there are in a grid, how one is put into the base, and what it is called."""

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from models.spec.job import JobSpec
from models.spec.parsing import parse_spec
from models.spec.problems import Problem, SpecError, has, shortened
from models.spec.study import Range, StudySpec

Setting = dict[str, Any]
Path = tuple[str, ...]
MOST_LABEL = 60
# Fields whose default follows from other fields.
DERIVED = frozenset(name for name, field in JobSpec.model_fields.items() if field.default_factory is not None)


class Nowhere(ValueError):
    """A pointer that leads to nothing in the base."""


def split_pointer(pointer: str) -> Path:
    """The reference tokens of a JSON pointer (RFC 6901). Raises Nowhere for what is none, or points at everything."""
    if not pointer.startswith("/") or re.search(r"~(?![01])", pointer):
        raise Nowhere
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def grid(study: StudySpec) -> Iterator[Setting]:
    """Every combination, the last key changing fastest."""
    lists = [choice for choice in study.vary.values() if isinstance(choice, list)]
    return (dict(zip(study.vary, values, strict=True)) for values in itertools.product(*lists))


def canonical(value: object) -> str:
    """The JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class Base:
    """The base of a study, as it was sent and normalised; settings are put into what was sent.

    Defaults such as the loss follow from other fields, so a setting must not meet them written out. Raises SpecError
    when the base is no valid spec.
    """

    def __init__(self, study: StudySpec) -> None:
        self._study, self._sent = study, study.base
        self.spec = self._parse(self._sent, 0)
        self.normal: dict[str, Any] = parse_spec(self._sent).model_dump(mode="json")
        self.names_model = "model" in self._sent or "/model" in study.vary

    def spec_of(self, setting: Setting, repeat: int = 0, **also: Any) -> JobSpec:
        """The spec of the run `repeat` (from 0) of a setting; `also` are further fields.

        Raises:
            SpecError: there is no such spec; pointers lead into the spec.
            Nowhere: a pointer of the setting leads nowhere.
        """
        return self._parse(self.body_of(setting) | also, repeat)

    def body_of(self, setting: Setting) -> dict[str, Any]:
        """The base as sent with the setting put into it, outer fields first, those that follow from others last."""
        body: dict[str, Any] = self._sent
        touched: set[str] = set()

        def normal(field: str) -> Any:
            """What stands at an outer field now that the settings before this one are in."""
            if field not in touched and not (touched and field in DERIVED):
                return self.normal.get(field)
            try:
                return parse_spec(body).model_dump(mode="json").get(field)
            except SpecError:
                return self.normal.get(field)

        parts = [(split_pointer(pointer), value) for pointer, value in setting.items()]
        for path, value in sorted(parts, key=lambda part: (part[0][0] in DERIVED, len(part[0]))):
            body = _put(body, path, value, normal)
            touched.add(path[0])
        return body

    def _parse(self, body: dict[str, Any], repeat: int) -> JobSpec:
        folds = self._study.k_folds
        spec = parse_spec(body if folds is None else _on_fold(body, repeat, folds))
        if spec.kind != "train":
            detail = f'kind must be "train" in a study. Received: kind="{spec.kind}"'
            raise SpecError([Problem("/kind", "unknown_value", detail, spec.kind)])
        if folds is None and repeat:
            spec = parse_spec(body | {"seed": spec.seed + repeat})
        return spec


def _on_fold(body: dict[str, Any], fold: int, folds: int) -> dict[str, Any]:
    dataset = body.get("dataset")
    if isinstance(dataset, str):
        dataset = {"name": dataset}
    if not isinstance(dataset, dict):
        return body  # parsing says what is wrong with it
    given = dataset.get("validation")
    if given is not None and not (isinstance(given, dict) and given.get("folds") == folds):
        detail = f"validation must be left out: with k_folds each run validates on one fold. Received: {given!r:.100}"
        raise SpecError([Problem("/dataset/validation", "invalid", detail, given)])
    return body | {"dataset": dataset | {"validation": {"fold": fold, "folds": folds}}}


def _put(body: dict[str, Any], path: Path, value: object, normal: Callable[[str], Any]) -> dict[str, Any]:
    """A copy of `body` with `value` at `path`; what is absent or a short form on the way is first written out."""
    root = copy.copy(body)
    container: Any = root
    for n, item in enumerate(path[:-1]):
        key = _key(container, item)
        inner = container[key] if has(container, key) else None
        if not isinstance(inner, dict | list):
            inner = _reach(normal(path[0]), path[1 : n + 1])
        if not isinstance(inner, dict | list):
            raise Nowhere
        container[key] = copy.copy(inner)
        container = container[key]
    container[_key(container, path[-1])] = value
    return root


def _key(container: Any, item: str) -> str | int:
    if isinstance(container, dict):
        return item
    if re.fullmatch(r"0|[1-9][0-9]{0,5}", item) and int(item) < len(container):
        return int(item)
    raise Nowhere


def _reach(value: Any, path: Path) -> Any:
    for item in path:
        key = _key(value, item) if isinstance(value, dict | list) else None
        if key is None or not has(value, key):
            return None
        value = value[key]
    return value


def label_of(study: StudySpec, setting: Setting) -> str:
    """A few words for a setting: only what differs from others."""
    names = _short_names(list(study.vary))
    words = [_words(names[pointer], value, study.vary[pointer]) for pointer, value in setting.items()]
    told = [word for (pointer, _), word in zip(setting.items(), words, strict=True) if _differs(study.vary[pointer])]
    return ", ".join(told or words)


def _differs(choice: list[Any] | Range) -> bool:
    return isinstance(choice, Range) or len(choice) > 1


def _short_names(pointers: list[str]) -> dict[str, str]:
    """For each pointer the shortest end of it that no other has; a number never stands alone."""
    paths = {pointer: split_pointer(pointer) for pointer in pointers}

    def end(pointer: str, length: int) -> str:
        return "/".join(paths[pointer][-length:])

    def shortest(pointer: str) -> str:
        most = len(paths[pointer])
        for length in range(1, most + 1):
            mine = end(pointer, length)
            if not paths[pointer][-length].isdigit() and [end(other, length) for other in pointers].count(mine) == 1:
                return mine
        return end(pointer, most)

    return {pointer: shortest(pointer) for pointer in pointers}


def _words(name: str, value: object, choice: list[Any] | Range) -> str:
    others = choice if isinstance(choice, list) else []
    kind = _type_of(value)
    if kind is None:
        return f"{name} {_plain(value)}"
    alike = [other for other in others if _type_of(other) == kind]
    if not isinstance(value, dict) or len(alike) < 2:
        return kind
    fields = {key: value[key] for key in value if key not in ("type", "name", "preset")}
    absent = object()
    apart = {k: v for k, v in fields.items() if any(_field(other, k, absent) != v for other in alike)}
    return " ".join([kind, *(f"{key} {_plain(inner)}" for key, inner in apart.items())])


def _type_of(value: object) -> str | None:
    """What a value is called by itself: a bare name, or an object's type."""
    if isinstance(value, str):
        return shortened(value, MOST_LABEL)
    if isinstance(value, dict):
        return next((value[key] for key in ("type", "name", "preset") if isinstance(value.get(key), str)), None)
    return None


def _field(value: object, key: str, absent: object) -> object:
    return value.get(key, absent) if isinstance(value, dict) else absent


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    kind = _type_of(value)
    return kind if kind is not None else shortened(canonical(value), MOST_LABEL)

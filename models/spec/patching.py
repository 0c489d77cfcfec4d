"""Puts a setting, which is values by JSON pointer, into a spec."""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from models.spec.job import JobSpec
from models.spec.parsing import parse_spec
from models.spec.problems import SpecError, has

Setting = dict[str, Any]
Path = tuple[str, ...]
# Fields whose default follows from other fields.
DERIVED = frozenset(name for name, field in JobSpec.model_fields.items() if field.default_factory is not None)


class Nowhere(ValueError):
    """A pointer that leads to nothing in the spec."""


def split_pointer(pointer: str) -> Path:
    """The reference tokens of a JSON pointer (RFC 6901). Raises Nowhere for what is none, or points at everything."""
    if not pointer.startswith("/") or re.search(r"~(?![01])", pointer):
        raise Nowhere(f"{pointer[:200]} is no JSON pointer")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def with_setting(sent: dict[str, Any], setting: Mapping[str, Any], normal: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a spec with a setting put into it, outer fields first, those that follow from others last.

    Args:
        sent: the spec as somebody wrote it: without defaults, which a setting must not meet written out.
        setting: values by JSON pointer into the normalised spec.
        normal: the same spec normalised, from which comes what is absent or a short form on the way.

    Raises:
        Nowhere: a pointer of the setting leads nowhere.
    """
    body = sent
    touched: set[str] = set()

    def standing(field: str) -> Any:
        """What stands at an outer field now that the settings before this one are in."""
        if field not in touched and not (touched and field in DERIVED):
            return normal.get(field)
        try:
            return parse_spec(body).model_dump(mode="json").get(field)
        except SpecError:
            return normal.get(field)

    parts = [(split_pointer(pointer), value) for pointer, value in setting.items()]
    for path, value in sorted(parts, key=lambda part: (part[0][0] in DERIVED, len(part[0]))):
        body = _put(body, path, value, standing)
        touched.add(path[0])
    return body


def patched(spec: JobSpec, patch: Mapping[str, Any]) -> JobSpec:
    """The spec with `patch`, values by JSON pointer into its normalised form, and what follows from it.

    A loss, metrics or a model that are what they would be by themselves follow the patch; others stay as they are.

    Raises:
        SpecError: there is no such spec; pointers lead into it.
        Nowhere: a pointer of the patch leads nowhere.
    """
    normal = spec.model_dump(mode="json")
    return parse_spec(with_setting(_as_sent(normal), patch, normal))


def _as_sent(normal: dict[str, Any]) -> dict[str, Any]:
    """A normalised spec without the derived fields that would come out the same if they were left out."""
    without = {name: value for name, value in normal.items() if name not in DERIVED}
    by_itself = JobSpec.model_validate(without).model_dump(mode="json")
    return {name: value for name, value in normal.items() if name not in DERIVED or by_itself.get(name) != value}


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
            raise Nowhere(f"/{'/'.join(path)} leads nowhere")
        container[key] = copy.copy(inner)
        container = container[key]
    container[_key(container, path[-1])] = value
    return root


def _key(container: Any, item: str) -> str | int:
    if isinstance(container, dict):
        return item
    if re.fullmatch(r"0|[1-9][0-9]{0,5}", item) and int(item) < len(container):
        return int(item)
    raise Nowhere(f"a list has no entry {item[:50]}")


def _reach(value: Any, path: Path) -> Any:
    for item in path:
        key = _key(value, item) if isinstance(value, dict | list) else None
        if key is None or not has(value, key):
            return None
        value = value[key]
    return value

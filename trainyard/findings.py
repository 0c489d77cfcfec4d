"""Words for a terminal: what was noticed about a job, what was changed about it, and what came of a remedy."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST = 100  # letters of a value


def diagnosis_text(job_id: str, told: Mapping[str, Any]) -> str:
    """The answer of `/diagnosis` in plain text: each finding with its evidence and what to try."""
    if not told["data"]:
        return str(told["text"])
    return "\n\n".join("\n".join(_finding_lines(job_id, each)) for each in told["data"])


def applied_text(told: Mapping[str, Any]) -> str:
    """What came of a remedy, in a line."""
    if told["change"] is not None:
        return f"applied as change {told['change']['number']} of the job: {_fields(told['change']['new'])}"
    return f"applied as the new job {told['job']['id']}"


def diagnosis_line(data: Mapping[str, Any]) -> str:
    """A `diagnosis` event as text."""
    return f"diagnosis {data['number']}: {data['sentence']} {data['advice']}"


def change_line(data: Mapping[str, Any]) -> str:
    """A `change` event as text: `change 1 from epoch 3, step 120: learning_rate 0.1 -> 0.01`."""
    old, new = (dict(_flat(data.get(name) or {})) for name in ("old", "new"))
    parts = (f"{name} {_value(old[name])} -> {_value(new[name])}" if name in old else _field(name, new) for name in new)
    return f"change {data['number']} from epoch {data['epoch']}, step {data['applied_at_step']}: {', '.join(parts)}"


def _finding_lines(job_id: str, found: Mapping[str, Any]) -> Iterator[str]:
    command = f"Apply it: trainyard diagnosis {job_id} --apply {found['number']}"
    yield f"{found['number']}. {_words(found['verdict'])}, after epoch {found['epoch']}"
    yield f"   {found['sentence']}"
    yield from (f"   {_words(name)}: {_value(value)}" for name, value in found["evidence"].items())
    yield f"   To try: {found['advice']}"
    yield from (f"     {pointer} = {_value(value)}" for pointer, value in found["patch"].items())
    yield f"   {_applied(found['applied']) or command}"


def _applied(applied: Mapping[str, Any] | None) -> str:
    if applied is None:
        return ""
    ways = [f"change {applied['change']}"] if applied["change"] is not None else []
    ways += [applied["job"]] if applied["job"] is not None else []
    return f"Applied as {' and as '.join(ways)}."


def _fields(value: Mapping[str, Any]) -> str:
    flat = dict(_flat(value))
    return ", ".join(_field(name, flat) for name in flat)


def _field(name: str, values: Mapping[str, Any]) -> str:
    return f"{name} {_value(values[name])}"


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Fields with those of inner objects by their dotted names; an object that names its type stays one value."""
    for name, inner in value.items():
        if isinstance(inner, Mapping) and "type" not in inner:
            yield from _flat(inner, f"{before}{name}.")
        else:
            yield f"{before}{name}", inner


def _value(value: object) -> str:
    """A number with four digits that say something; a list of values, each so; anything else as JSON, its beginning."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(map(_value, value))
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _words(name: str) -> str:
    return name.replace("_", " ")

"""Many valid specs with one thing made wrong: each is refused where it is wrong, and none breaks the service."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.spec import parse_spec
from models.spec.problems import Path, has, pointer_to
from tests.factories.examples import examples
from tests.models.spec.strategies import Body, specs

# Nothing in a spec may be any of these.
HOSTILE = [
    {"surprise": 1},
    [[[]]],
    -(10**30),
    -1.5e300,
    "no such thing anywhere",
    "x" * 20_000,
    "\ud800",
    {"type": "no_such_type"},
    {"type": 7},
]
# Right in some places.
PLAUSIBLE: list[object] = [0, 1, 2, 0.5, True, None, "", [], {}, "relu", "sgd", "loss", "input", "mnist", "spiral"]
FREE_TEXT = ("name", "notes", "tags", "model")


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path to every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def replaced(body: Body, path: Path, value: Any) -> Body:
    changed = copy.deepcopy(body)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Body, Path]:
    """A spec, short or written out in full, with one hostile value or key; and where that is."""
    body = draw(specs())
    if draw(st.booleans()):
        body = parse_spec(body).model_dump(mode="json")
    path = draw(st.sampled_from([path for path in places(body) if path[0] not in FREE_TEXT]))
    if draw(st.integers(0, 4)) == 0:
        inner: Any = body
        for key in path:
            inner = inner[key]
        if isinstance(inner, dict):
            return replaced(body, (*path, "surprise"), 1), (*path, "surprise")
    return replaced(body, path, draw(st.sampled_from(HOSTILE))), path


@settings(max_examples=examples(500), deadline=None, suppress_health_check=list(HealthCheck))
@given(mutation=mutations())
def test_a_mutated_spec_is_refused_where_it_is_wrong(client: TestClient, mutation: tuple[Body, Path]) -> None:
    body, path = mutation
    content = json.dumps(body).encode()
    answer = client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, (answer.status_code, answer.text[:500])
    problems = answer.json()["errors"]
    if b"\\ud800" in content:
        return  # no valid JSON to point into
    near = {pointer_to(path), pointer_to(path[:-1])}
    below = pointer_to(path) + "/"
    pointers = [problem["pointer"] for problem in problems]
    assert any(pointer in near or pointer.startswith(below) for pointer in pointers), (pointer_to(path), pointers)
    assert all(has_place(body, pointer) for pointer in pointers), pointers


def has_place(body: Any, pointer: str) -> bool:
    """Whether the pointer leads to a value of the body, or to where a missing one belongs."""
    keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
    for n, key in enumerate(keys):
        item: str | int = int(key) if isinstance(body, list) else key
        if not has(body, item):
            return n == len(keys) - 1 and isinstance(body, dict)
        body = body[item]
    return True


@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_spec_with_another_value_somewhere_is_taken_or_refused(client: TestClient, data: st.DataObject) -> None:
    body = parse_spec(data.draw(specs())).model_dump(mode="json")
    path = data.draw(st.sampled_from(list(places(body))))
    value: object = data.draw(st.sampled_from(PLAUSIBLE))
    answer = client.post("/v1/jobs", json=replaced(body, path, value))
    assert answer.status_code in (201, 422), answer.text[:500]
    if answer.status_code == 422:
        pointers = [problem["pointer"] for problem in answer.json()["errors"]]
        assert pointers
        assert all(has_place(replaced(body, path, value), pointer) for pointer in pointers), pointers

"""Jobs that do not train, over HTTP: submitted, refused, their results and pictures; and the members of ensembles."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import result_pictures
from api.deps import Room
from models import jobs, registry
from models.history import Result
from models.jobs import Status
from models.registry import ModelVersion
from models.spec import parse_spec
from tests.api.conftest import claim, submit


def layer(name: str, spread: float | None, gradient: float | None, kernel: bool = True) -> dict[str, Any]:
    quantiles = {
        name: None if spread is None else (int(name) - 50) * spread / 50 for name in ("5", "25", "50", "75", "95")
    }
    outputs = {"mean": 0.0, "stddev": spread, "quantiles": quantiles, "zeros": 0.0, "saturated": None}
    return {"name": name, "has_kernel": kernel, "outputs": outputs, "output_gradient": {"stddev": gradient}}


def initialization(*spreads: tuple[float | None, float | None]) -> dict[str, Any]:
    layers = [layer(f"dense_{n}", *spread) for n, spread in enumerate(spreads, start=1)]
    found = [{"label": label, "layers": layers, "loss": 1.0} for label in ("glorot_normal", "$x_1$ {")]
    return {"kind": "initialization", "initializers": found, "summary": ["All is well."]}


def gradient_check(*entries: tuple[float | None, float | None, float | None, bool]) -> dict[str, Any]:
    keys = ("backpropagated", "numerical", "relative_error", "kink")
    found = [dict(zip(keys, entry, strict=True)) for entry in entries]
    return {"kind": "gradient_check", "tolerance": 1e-5, "entries": found, "summary": ["All is well."]}


RESULTS = [
    initialization((0.5, 1e-3), (0.4, 1e-5)),
    initialization((1e20, 1e30), (None, None), (1e-30, 0.0)),
    initialization((0.0, 0.0)),
    gradient_check((0.1, 0.1, 0.0, False), (0.2, 0.2001, 5e-4, False), (0.0, 0.1, 1.0, True)),
    gradient_check((0.0, 0.0, 0.0, False)),
    gradient_check((None, None, None, False), (1e30, 0.1, 1.0, False)),
    gradient_check((0.0, 0.1, 1.0, True)),
]


@pytest.mark.parametrize("result", RESULTS)
def test_every_result_is_drawn(result: dict[str, Any]) -> None:
    assert b"<svg" in result_pictures.draw("$x_1$ \\alpha ^ {", result)


@pytest.mark.parametrize(("zeros", "told"), [(1, "zero in 1 layer "), (2, "zero in 2 layers ")])
def test_layers_that_get_no_gradient_are_counted(zeros: int, told: str) -> None:
    picture = result_pictures.draw("x", initialization((0.5, 1e-3), *[(0.5, 0.0)] * zeros)).decode()
    assert f"glorot_normal, {told}" in picture


def test_a_result_is_there_once_the_job_has_succeeded(client: TestClient, room: Room) -> None:
    job = submit(client, kind="gradient_check", gradient_check={"weights": 5})
    url = f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["progress"]["epochs"], "result" in job["links"]) == ("gradient_check", 5, False)
    assert {"optimizer", "model", "ensemble", "epochs"} & job["spec"].keys() == set()
    for path in ("/result", "/result.svg"):
        answer = client.get(url + path)
        assert (answer.status_code, answer.json()["detail"][:19]) == (409, "The job is queued. ")
    claim(room, job["id"])
    with room.database.write() as session:
        session.add(Result(job_id=job["id"], data=RESULTS[3]))
        assert jobs.move(session, job["id"], Status.SUCCEEDED, by_attempt=1)
    assert client.get(url).json()["links"]["result"] == f"{url}/result"
    assert client.get(f"{url}/result").json() == RESULTS[3]
    picture = client.get(f"{url}/result.svg")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/svg+xml")
    assert b"<svg" in picture.content
    assert client.get(f"{url}/evaluation").status_code == 409
    assert client.get(f"{url}/metrics").json() == {"data": [], "next": None}
    assert client.get(f"{url}/curves.svg").status_code == 200
    assert client.delete(url).status_code == 204
    with room.database.read() as session:
        assert session.get(Result, job["id"]) is None


@pytest.mark.parametrize("path", ["result", "result.svg"])
def test_no_result_where_there_can_be_none(client: TestClient, room: Room, path: str) -> None:
    trained, cancelled = submit(client), submit(client, kind="initialization")
    assert "has no result" in client.get(f"/v1/jobs/{trained['id']}/{path}").json()["detail"]
    client.post(f"/v1/jobs/{cancelled['id']}/cancel")
    answer = client.get(f"/v1/jobs/{cancelled['id']}/{path}")
    assert (answer.status_code, answer.json()["detail"][:40]) == (409, "The job has cancelled without a result. ")
    assert client.get(f"/v1/jobs/nothing/{path}").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "initialization", "optimizer": "sgd"}, "/optimizer"),
        ({"kind": "initialization", "gradient_check": {}}, "/gradient_check"),
        ({"kind": "initialization", "initialization": {"examples": 0}}, "/initialization/examples"),
        ({"kind": "gradient_check", "model": "x"}, "/model"),
        ({"kind": "gradient_check", "gradient_check": {"step": 0}}, "/gradient_check/step"),
        ({"kind": "ensemble"}, "/ensemble"),
        ({"kind": "ensemble", "ensemble": {"members": ["a"]}}, "/ensemble/members"),
        ({"kind": "ensemble", "ensemble": {"members": ["a", "b"]}, "loss": "mse"}, "/loss"),
        ({"kind": "ensemble", "ensemble": {"members": ["good", "gone:3"]}}, "/ensemble/members/1"),
        ({"kind": "train", "ensemble": {"members": ["good", "good:1"]}}, "/ensemble"),
        ({"kind": "look"}, "/kind"),
    ],
)
def test_what_a_kind_has_no_use_for_is_refused(
    client: TestClient, room: Room, body: dict[str, Any], pointer: str
) -> None:
    add_version(room, "good")
    for path in ("/v1/jobs", "/v1/jobs/validate"):
        answer = client.post(path, json={"dataset": "digits", **body})
        assert answer.status_code == 422
        assert [problem["pointer"] for problem in answer.json()["errors"]] == [pointer]


def add_version(room: Room, name: str) -> None:
    spec = parse_spec({"dataset": "digits"})
    with room.database.write() as session:
        job = jobs.create(session, spec)
        version = ModelVersion(name=name, job_id=job.id, dataset="digits", parameters=1, class_count=10)
        version.serving = registry.serving_of(spec)
        registry.add_version(session, version)


def test_the_members_of_an_ensemble_are_fixed_when_it_is_submitted(client: TestClient, room: Room) -> None:
    add_version(room, "a")
    add_version(room, "b")
    wanted = {"kind": "ensemble", "ensemble": {"members": ["a", "b@champion"]}}
    job = submit(client, **wanted)
    add_version(room, "a")
    assert client.get(f"/v1/jobs/{job['id']}").json()["spec"]["ensemble"]["members"] == ["a:1", "b:1"]
    assert job["spec"]["model"] == "digits-ensemble"
    checked = client.post("/v1/jobs/validate", json={"dataset": "digits", **wanted}).json()
    assert checked["spec"] == job["spec"]
    assert (checked["network"], checked["summary"]) == (None, None)
    assert client.post("/v1/jobs", json=job["spec"]).json()["spec"] == job["spec"]

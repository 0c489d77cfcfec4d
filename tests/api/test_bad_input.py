"""Hostile and mistaken bodies get the right 4xx with a pointer, and the service goes on."""

import json
import logging

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from tests.api.conftest import add_version

LAYERS = [{"type": "flatten"}, {"type": "dense", "units": 10, "activation": "softmax"}]
JSON = {"Content-Type": "application/json"}


def network(*layers: object) -> str:
    return json.dumps({"dataset": "mnist", "network": {"layers": list(layers)}})


BODIES = {
    "not JSON": ("{dataset: mnist}", ""),
    "empty": ("", ""),
    "cut": ('{"dataset": "mni', ""),
    "NaN": ('{"dataset": "mnist", "max_seconds": NaN}', ""),
    "infinity": (
        '{"dataset": "mnist", "optimizer": {"type": "sgd", "learning_rate": 1e999}}',
        "/optimizer/learning_rate",
    ),
    "100,000 brackets": ("[" * 100_000, ""),
    "nested objects": ('{"dataset":' * 40_000, ""),
    "a list": ("[]", ""),
    "a string": ('"mnist"', ""),
    "null": ("null", ""),
    "nothing said": ("{}", "/dataset"),
    "unknown key": ('{"dataset": "mnist", "epoch": 3}', "/epoch"),
    "unknown layer": (network({"type": "dens", "units": 3}, *LAYERS), "/network/layers/0/type"),
    "units -3": (network(LAYERS[0], {"type": "dense", "units": -3}, LAYERS[1]), "/network/layers/1/units"),
    "a billion units": (network(LAYERS[0], {"type": "dense", "units": 10**9}, LAYERS[1]), "/network/layers/1/units"),
    "units true": (network(LAYERS[0], {"type": "dense", "units": True}, LAYERS[1]), "/network/layers/1/units"),
    "epochs of 10^12": ('{"dataset": "mnist", "epochs": 1000000000000}', "/epochs"),
    "epochs of 10^400": ('{"dataset": "mnist", "epochs": 1' + "0" * 400 + "}", "/epochs"),
    "a kernel larger than the image": (
        network({"type": "conv2d", "filters": 4, "kernel_size": 30}, *LAYERS),
        "/network/layers/0/kernel_size",
    ),
    "a kernel beyond all padding": (
        network({"type": "conv2d", "filters": 1, "kernel_size": 56, "padding": "same"}, *LAYERS),
        "/network/layers/0/kernel_size",
    ),
    "three outputs for ten classes": (network(LAYERS[0], {"type": "dense", "units": 3}), "/network/layers/1"),
    "a data set that is none": ('{"dataset": "cifar10"}', "/dataset"),
    "a surrogate": ('{"dataset": "mnist", "name": "\\ud800"}', ""),
    "a NUL in a name": ('{"dataset": "mnist", "name": "a\\u0000b"}', "/name"),
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/validate"])
@pytest.mark.parametrize(("body", "pointer"), BODIES.values(), ids=BODIES.keys())
def test_a_bad_spec_is_422_and_says_where(
    client: TestClient, caplog: pytest.LogCaptureFixture, path: str, body: str, pointer: str
) -> None:
    answer = client.post(path, content=body.encode(), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [entry["pointer"] for entry in problem["errors"]] == [pointer]
    assert problem["detail"]
    assert len(answer.content) < 3000
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert client.get("/livez").status_code == 200


def test_bytes_that_are_not_utf8(client: TestClient) -> None:
    assert client.post("/v1/jobs", content=b'{"dataset": "\xff\xfe"}', headers=JSON).status_code == 422


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_other_content_types_are_415(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/jobs", content=b'{"dataset": "mnist"}', headers={"Content-Type": kind})
    assert answer.status_code == 415


def test_50_mb_are_413_whether_the_length_is_said_or_not(client: TestClient) -> None:
    block = b"x" * 1_000_000
    assert client.post("/v1/jobs", content=block * 50, headers=JSON).status_code == 413
    chunked = client.post("/v1/jobs", content=(block for _ in range(50)), headers=JSON)
    assert chunked.status_code == 413
    assert chunked.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", '{"dataset": "mnist", "notes": "' + "x" * 600_000 + '"}'),
        ("/v1/studies", "[" + "[]," * 200_000 + "0]"),
        ("/predict", '{"pixels": [' + "[]," * 2_000_000 + "0]}"),
        ("/predict", '{"pixels": [' + "0," * 2_000_000 + "0]}"),
        ("/predict", "{" + ",".join(f'"{n}":1' for n in range(1_000_000)) + "}"),
    ],
)
def test_more_than_makes_sense_is_413_before_it_is_parsed(client: TestClient, room: Room, path: str, body: str) -> None:
    add_version(room, says=1)
    answer = client.post(path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["status"]) == (413, 413), answer.text
    assert len(answer.content) < 1_000


def test_an_error_does_not_repeat_all_it_was_sent(client: TestClient, room: Room) -> None:
    add_version(room, says=1)
    long = "k" * 100_000
    answers = [
        client.post("/predict", content=json.dumps({long: 1, long + "2": 1}), headers=JSON),
        client.post("/predict", content=json.dumps({"pixels": long}), headers=JSON),
        client.put(f"/v1/models/digits/aliases/{long[:60_000]}", json={"version": 1}),
        client.post(f"/v1/models/{long[:60_000]}/predict", json={"pixels": []}),
        client.post(f"/v2/models/{long[:60_000]}/infer", json={}),
        client.post("/v1/jobs", json={"dataset": "digits", long: 1}),
        client.get(f"/v1/jobs?status={long[:60_000]}"),
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 404, 404, 422, 422]
    assert [answer.status_code for answer in answers if len(answer.content) > 2_500] == []


def test_a_path_that_is_none_and_a_method_that_is_none(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["type"] == "urn:trainyard:problem:not-found"
    answer = client.put("/v1/jobs", json={})
    assert answer.status_code == 405
    assert answer.json()["status"] == 405
    assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]

"""Changing a training over HTTP; here the test plays the worker."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from models import jobs
from models.changes import record_made
from models.jobs import Status
from tests.api.conftest import claim, submit

RATE = {"learning_rate": 0.0001}
COSINE = {"type": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 100}


def test_a_change_is_asked_listed_and_tells_where_it_was_made(client: TestClient, room: Room) -> None:
    job = submit(client)
    url = f"/v1/jobs/{job['id']}/changes"
    assert job["links"]["changes"] == url
    assert client.get(url).json() == {"data": [], "next": None}
    answer = client.post(url, json=RATE)
    assert (answer.status_code, answer.headers["Location"]) == (201, url)
    first = answer.json()
    told = {"number": 1, "new": RATE, "old": None, "applied_at_step": None, "epoch": None, "applied_at": None}
    assert first == told | {"requested_at": first["requested_at"]}
    claim(room, job["id"])
    with room.database.write() as session:
        assert record_made(session, job["id"], 1, 1, 44, 3, {"learning_rate": 0.001})
    second = client.post(url, json={"learning_rate": COSINE, "epochs": 30}).json()
    full = COSINE | {"alpha": 0.0, "warmup_steps": 0}
    assert (second["number"], second["new"]) == (2, {"learning_rate": full, "epochs": 30})
    made, waiting = client.get(url).json()["data"]
    assert (made["old"], made["applied_at_step"], made["epoch"]) == ({"learning_rate": 0.001}, 44, 3)
    assert made["applied_at"] >= made["requested_at"]
    assert waiting == second
    log = client.get(f"/v1/jobs/{job['id']}/log").text
    assert 'change 1 from epoch 3, step 44: {"learning_rate": 0.0001}, before {"learning_rate": 0.001}' in log


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "", "must change learning_rate, epochs or early_stopping"),
    ({"epochs": 0}, "/epochs", "at least 1"),
    ({"epoch": 3}, "/epoch", "did you mean epochs?"),
    ({"learning_rate": True}, "/learning_rate", "a number, or a schedule"),
    ({"learning_rate": -1}, "/learning_rate", "greater than 0"),
    ({"learning_rate": COSINE | {"alpha": 2}}, "/learning_rate/alpha", "at most 1"),
    ({"learning_rate": COSINE | {"warmup_steps": 2}}, "/learning_rate/warmup_steps", "warmup_target"),
    ({"early_stopping": {"patience": 2}}, "/early_stopping", "only where the job's spec has it"),
    ({"early_stopping": {}}, "/early_stopping/patience", "missing"),
]


def test_what_is_no_change_is_answered_with_its_place(client: TestClient, subtests: pytest.Subtests) -> None:
    url = f"/v1/jobs/{submit(client)['id']}/changes"
    for body, pointer, says in WRONG:
        with subtests.test(str(body)):
            answer = client.post(url, json=body)
            assert answer.status_code == 422
            [problem] = answer.json()["errors"]
            assert problem["pointer"] == pointer
            assert says in problem["detail"]
    assert client.get(url).json()["data"] == []


def test_a_job_that_has_ended_or_does_not_train_is_not_changed(client: TestClient, room: Room) -> None:
    ended, check = submit(client)["id"], submit(client, kind="gradient_check")["id"]
    claim(room, ended)
    with room.database.write() as session:
        assert jobs.move(session, ended, Status.SUCCEEDED)
    for job, why in ((ended, "The job has succeeded"), (check, "of the kind gradient_check")):
        refused = client.post(f"/v1/jobs/{job}/changes", json=RATE)
        assert refused.status_code == 409
        assert why in refused.json()["detail"]
        assert client.get(f"/v1/jobs/{job}/changes").json()["data"] == []


def test_the_same_again_with_its_key_is_one_change(client: TestClient, room: Room) -> None:
    job = submit(client)["id"]
    url, headers = f"/v1/jobs/{job}/changes", {"Idempotency-Key": "slower"}
    first = client.post(url, json=RATE, headers=headers)
    claim(room, job)
    with room.database.write() as session:
        assert jobs.move(session, job, Status.FAILED)
    again = client.post(url, json=RATE, headers=headers)
    assert (again.status_code, again.headers["Idempotent-Replayed"], again.json()) == (201, "true", first.json())
    assert again.headers["Location"] == url
    assert client.post(url, json={"epochs": 9}, headers=headers).status_code == 422
    assert len(client.get(url).json()["data"]) == 1

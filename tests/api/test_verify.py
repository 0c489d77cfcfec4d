"""A training that is done again, over HTTP; here the test plays the worker."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from models import jobs, registry
from models.artifacts import Stored
from models.history import EpochResult, Result
from models.jobs import Job, Status
from models.spec import parse_spec
from tests.api.conftest import claim, submit
from tests.api.key_holders import ROOT, make

SPLIT = {"name": "digits", "validation": {"split": 0.25}}
RESULT = {"kind": "verify", "same": True, "weights": 7, "largest_difference": 0.0, "layers": [], "summary": ["Same."]}


def trained(room: Room, owner: str | None = None, **spec: Any) -> str:
    """A training that ended with a model after 3 of its 9 epochs."""
    with room.database.write() as session:
        wanted = {"dataset": SPLIT, "epochs": 9, "seed": 4, "device": "cpu"}
        job = jobs.create(session, parse_spec(wanted | spec), owner)
        assert jobs.claim(session, job.id, "w1")
        last = EpochResult(3, 0.1, 0.001, {"loss": 0.5})
        assert jobs.record_epochs(session, job.id, 1, [last], last)
        registry.add_artifacts(session, job.id, {"model.keras": Stored("key", 1, "00")})
        assert jobs.move(session, job.id, Status.SUCCEEDED)
        return job.id


@pytest.fixture
def source(room: Room) -> str:
    return trained(room)


def test_a_training_is_done_again_by_a_job_of_its_own(client: TestClient, room: Room, source: str) -> None:
    answer = client.post(f"/v1/jobs/{source}/verify")
    assert answer.status_code == 201
    job = answer.json()
    url = f"/v1/jobs/{job['id']}"
    assert answer.headers["Location"] == url
    assert (job["kind"], job["name"], job["progress"]["epochs"]) == ("verify", f"{source} once more", 3)
    assert job["queue"] == {"position": 1, "waiting_for": "no CPU worker is online"}
    assert job["spec"]["verify"] == {"job": source, "epochs": 3}
    assert (job["spec"]["dataset"]["validation"], job["spec"]["seed"]) == ({"split": 0.25}, 4)
    assert job["spec"]["device"] == "cpu"
    assert not {"network", "model", "loss", "epochs", "optimizer", "export"} & job["spec"].keys()
    with room.database.read() as session:
        first, again = (session.get_one(Job, each) for each in (source, job["id"]))
    assert again.memory_mb == first.memory_mb is not None
    assert client.get(f"{url}/summary").status_code == 409
    assert client.get(f"{url}/result").status_code == 409
    claim(room, job["id"])
    with room.database.write() as session:
        session.add(Result(job_id=job["id"], data=RESULT | {"job": source}))
        assert jobs.move(session, job["id"], Status.SUCCEEDED)
    assert client.get(client.get(url).json()["links"]["result"]).json() == RESULT | {"job": source}
    assert client.get(f"{url}/result.svg").status_code == 409


def test_a_source_stays_while_it_is_verified(client: TestClient, source: str) -> None:
    job = client.post(f"/v1/jobs/{source}/verify").json()["id"]
    refused = client.delete(f"/v1/jobs/{source}")
    assert refused.status_code == 409
    assert job in refused.json()["detail"]
    client.post(f"/v1/jobs/{job}/cancel")
    assert client.delete(f"/v1/jobs/{source}").status_code == 204


def test_there_is_nothing_to_verify_without_a_model_or_a_training(client: TestClient, room: Room) -> None:
    waiting, check = submit(client)["id"], submit(client, kind="gradient_check")["id"]
    for job, why in ((waiting, "this one is queued without a model"), (check, "of the kind gradient_check")):
        refused = client.post(f"/v1/jobs/{job}/verify")
        assert refused.status_code == 409
        assert why in refused.json()["detail"]
    assert client.post("/v1/jobs/job_x/verify").status_code == 404


def test_the_same_again_with_its_key_is_one_job(client: TestClient, source: str) -> None:
    first, again = (client.post(f"/v1/jobs/{source}/verify", headers={"Idempotency-Key": "1"}) for _ in range(2))
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    other = client.post(f"/v1/jobs/{source}/verify")
    assert other.json()["id"] != first.json()["id"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"verify": {"job": "job_x"}}, "/verify/job"),
    ({"verify": {"job": "source", "epochs": 4}}, "/verify/epochs"),
    ({"verify": {"job": "source", "epochs": 0}}, "/verify/epochs"),
    ({"verify": {}}, "/verify/job"),
    ({"verify": None}, "/verify"),
    ({"dataset": "digits"}, "/dataset"),
    ({"seed": 0}, "/seed"),
    ({"device": "auto"}, "/device"),
    ({"network": "cnn"}, "/network"),
    ({"epochs": 3}, "/epochs"),
    ({"export": {"job": "source", "format": "litert"}}, "/export"),
]


def test_what_a_verification_must_say(client: TestClient, source: str, subtests: pytest.Subtests) -> None:
    for changes, pointer in WRONG:
        body: dict[str, Any] = {"kind": "verify", "dataset": SPLIT, "verify": {"job": "source"}} | changes
        for part in ("verify", "export"):
            if body.get(part) and body[part].get("job") == "source":
                body[part] = body[part] | {"job": source}
        with subtests.test(str(changes)):
            answer = client.post("/v1/jobs", json=body)
            assert answer.status_code == 422
            assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_spec_that_names_the_job_is_filled_in_and_can_be_sent_again(client: TestClient, source: str) -> None:
    body = {"kind": "verify", "dataset": SPLIT, "verify": {"job": source}}
    assert client.post("/v1/jobs/validate", json=body).json()["spec"]["verify"] == {"job": source, "epochs": 3}
    spec = client.post("/v1/jobs", json=body).json()["spec"]
    assert (spec["seed"], spec["device"]) == (4, "cpu")
    assert client.post("/v1/jobs", json=spec).json()["spec"] == spec
    waiting = submit(client, dataset=SPLIT)["id"]
    refused = client.post("/v1/jobs", json=body | {"verify": {"job": waiting}}).json()["errors"][0]
    assert refused["detail"].startswith("must be a training with a model; this one is queued without a model")


def test_it_is_its_source_s_owner_s(locked: TestClient, locked_room: Room) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    source = trained(locked_room, "ada")
    body = {"kind": "verify", "dataset": SPLIT, "verify": {"job": source}}
    [problem] = locked.post("/v1/jobs", json=body, headers=bob).json()["errors"]
    assert (problem["pointer"], problem["code"]) == ("/verify/job", "not_found")
    assert locked.post("/v1/jobs", json=body, headers=ada).status_code == 201
    assert locked.post(f"/v1/jobs/{source}/verify", headers=bob).status_code == 404
    assert locked.post(f"/v1/jobs/{source}/verify", headers=ROOT).json()["owner"] == "ada"

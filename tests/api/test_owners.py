"""Everybody sees, changes and builds on what is theirs, and on models."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.deps import Room
from models import jobs, registry, studies, workers
from models.registry import Artifact, ModelVersion
from models.spec import parse_spec
from models.spec.kept_epochs import file_of
from models.spec.study import StudySpec
from models.spec.study_checks import check_study
from models.workers import Worker
from tests.api.conftest import add_version
from tests.api.key_holders import ROOT, SPEC, STUDY, make, submit


def test_what_belongs_to_somebody_else_is_as_if_it_were_not_there(locked: TestClient, locked_room: Room) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    study = locked.post("/v1/studies", json=STUDY, headers=ada).json()
    job = submit(locked, ada)
    assert (study["owner"], job["owner"]) == ("ada", "ada")
    tried = 0
    for path, operations in locked.get("/openapi.json").json()["paths"].items():
        if not path.startswith(("/v1/jobs/{", "/v1/studies/{")):
            continue
        for method in operations:
            own, none = (
                path.replace("{job_id}", job_id).replace("{study_id}", study_id).replace("{name}", "model.onnx")
                for job_id, study_id in ((job["id"], study["id"]), ("job_X", "study_X"))
            )
            answers = [locked.request(method, each, headers=bob, json=_body(method)) for each in (own, none)]
            assert [answer.status_code for answer in answers] == [404, 404], (method, path)
            details = [answer.json()["detail"].partition("Received")[0] for answer in answers]
            assert details[0] == details[1]
            tried += 1
    assert tried > 20
    assert locked.get(f"/v1/jobs/{job['id']}", headers=ada).json()["status"] == "queued"
    for headers in (ada, ROOT):
        assert locked.get(f"/v1/jobs/{job['id']}", headers=headers).status_code == 200
        assert locked.get(f"/v1/studies/{study['id']}", headers=headers).status_code == 200
    locked_room.coordinator.look()
    runs = locked.get("/v1/jobs", params={"study": study["id"]}, headers=ada).json()["data"]
    assert {run["owner"] for run in runs} == {"ada"}
    assert locked.get("/v1/jobs", params={"study": study["id"]}, headers=bob).json()["data"] == []


def _body(method: str) -> dict[str, Any] | None:
    return {} if method in ("post", "put", "patch") else None


@pytest.mark.parametrize(("path", "body"), [("/v1/jobs", SPEC), ("/v1/studies", STUDY)])
def test_lists_show_one_s_own(locked: TestClient, path: str, body: dict[str, Any]) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    owners = {"ada": ada, "bob": bob, "admin": ROOT}
    for headers in owners.values():
        assert locked.post(path, json=body, headers=headers).status_code == 201

    def seen(headers: dict[str, str], **query: str) -> set[str]:
        return {entry["owner"] for entry in locked.get(path, params=query, headers=headers).json()["data"]}

    for owner, headers in owners.items():
        assert seen(headers, owner="me") == seen(headers, owner=owner) == {owner}
    assert seen(ada) == {"ada"}
    assert seen(ROOT) == {"ada", "bob", "admin"}
    assert seen(ROOT, owner="bob") == {"bob"}
    refused = locked.get(path, params={"owner": "bob"}, headers=ada)
    assert refused.status_code == 403
    assert "admin" in refused.json()["detail"]


def test_nobody_starts_from_weights_or_exports_the_model_of_another(locked: TestClient, locked_room: Room) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    job = submit(locked, ada)["id"]
    with locked_room.database.write() as session:
        names = ("model.keras", file_of(1))
        session.add_all(
            Artifact(job_id=job, name=name, key=f"jobs/{job}/1/{name}", size=1, sha256="") for name in names
        )
    start = {"job": job, "epoch": 1}
    exporting = {"kind": "export", "dataset": "digits", "export": {"job": job, "format": "litert"}}
    bodies: list[tuple[str, dict[str, Any], str]] = [
        ("/v1/jobs", SPEC | {"initial_weights": start}, "/initial_weights/job"),
        ("/v1/jobs/validate", SPEC | {"initial_weights": start}, "/initial_weights/job"),
        ("/v1/jobs", exporting, "/export/job"),
        ("/v1/studies", STUDY | {"base": SPEC | {"initial_weights": start}}, "/base/initial_weights/job"),
        ("/v1/studies", {"base": SPEC, "vary": {"/initial_weights": [None, start]}}, "/vary/~1initial_weights/1/job"),
    ]
    for path, body, pointer in bodies:
        [problem] = locked.post(path, json=body, headers=bob).json()["errors"]
        assert (problem["pointer"], problem["code"]) == (pointer, "not_found"), problem
        theirs = locked.post(path, json=body, headers=ada)
        assert all(
            each["code"] != "not_found" or "epoch" in each["pointer"] for each in theirs.json().get("errors", ())
        )


def test_a_study_names_no_job_of_another_in_pieces(locked: TestClient, locked_room: Room) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    add_version(locked_room, 1)
    theirs, own = submit(locked, ada)["id"], submit(locked, bob)["id"]
    with locked_room.database.write() as session:
        session.add_all(
            Artifact(job_id=job, name=file_of(1), key=f"jobs/{job}/1/{file_of(1)}", size=1, sha256="")
            for job in (theirs, own)
        )
    # By itself a job means nothing here, where the base starts from a model; together with the other pointer it does.
    study: dict[str, Any] = {
        "base": SPEC | {"initial_weights": {"model": "digits:1"}},
        "vary": {"/initial_weights": [{"job": own, "epoch": 1}], "/initial_weights/job": [theirs]},
    }
    [problem] = locked.post("/v1/studies", json=study, headers=bob).json()["errors"]
    assert (problem["pointer"], problem["code"], problem["received"]) == (
        "/vary/~1initial_weights~1job/0",
        "not_found",
        theirs,
    )
    study["vary"]["/initial_weights/job"] = [own]
    assert locked.post("/v1/studies", json=study, headers=bob).status_code == 201


def test_models_are_everybody_s_to_ask_and_their_owner_s_to_change(locked: TestClient, locked_room: Room) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    numbers = {"ada": [add_version(locked_room, 1, 0.9), add_version(locked_room, 2, 0.8)], "bob": []}
    numbers["bob"].append(add_version(locked_room, 3, 0.7))
    with locked_room.database.write() as session:
        for owner, versions in numbers.items():
            for version in versions:
                found = registry.resolve(session, f"digits:{version}")
                assert found is not None
                session.get_one(jobs.Job, found.job_id).owner = owner
    assert locked.post("/v1/models/digits:1/predict", json={"pixels": [[9] * 28] * 28}, headers=bob).status_code == 200
    assert len(locked.get("/v1/models/digits/versions", headers=bob).json()["data"]) == 3

    def put(headers: dict[str, str], alias: str, version: int) -> int:
        body = {"version": version}
        return locked.put(f"/v1/models/digits/aliases/{alias}", json=body, headers=headers).status_code

    assert put(bob, "lab", 1) == 403
    assert put(ada, "lab", 1) == 200
    assert put(bob, "lab", 3) == 403, "it means a version of somebody else"
    assert put(bob, "mine", 3) == 200
    assert put(bob, "champion", 3) == 403, "the best one is somebody else's"
    assert put(ada, "champion", 2) == 200
    assert put(bob, "none", 9) == 404
    for method, path in (("DELETE", "aliases/lab"), ("DELETE", "aliases/champion"), ("DELETE", "versions/2")):
        refused = locked.request(method, f"/v1/models/digits/{path}", headers=bob)
        assert refused.status_code == 403
        assert "trained by somebody else" in refused.json()["detail"]
    assert put(ROOT, "lab", 3) == 200
    for path in ("aliases/champion", "versions/2"):
        assert locked.delete(f"/v1/models/digits/{path}", headers=ada).status_code == 204


def test_a_refusal_does_not_name_the_job_of_another(locked: TestClient, locked_room: Room) -> None:
    ada = make(locked, "ada")
    number = add_version(locked_room, 1)
    with locked_room.database.write() as session:
        found = registry.resolve(session, f"digits:{number}")
        assert isinstance(found, ModelVersion)
        session.get_one(jobs.Job, found.job_id).owner = "ada"
        child = jobs.create(session, parse_spec(SPEC | {"initial_weights": {"model": f"digits:{number}"}}), "bob").id
    path = f"/v1/models/digits/versions/{number}"
    mine, everything = (locked.delete(path, headers=headers) for headers in (ada, ROOT))
    assert mine.status_code == everything.status_code == 409
    assert child not in mine.text
    assert child in everything.text


def test_workers_tell_only_their_own_job(
    locked: TestClient, locked_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    job = submit(locked, ada)["id"]
    with locked_room.database.write() as session:
        workers.announce(session, Worker(id="w1", name="one", pid=1, status="busy", job_id=job, queues=["train"]))
    monkeypatch.setattr(type(locked_room.reaper), "alive", frozenset({"w1"}))
    told = [locked.get("/v1/workers", headers=each).json()["data"][0]["job_id"] for each in (ada, bob, ROOT)]
    assert told == [job, None, job]


def test_reading_alone_has_no_file_made(locked: TestClient, locked_room: Room) -> None:
    reading, submitting = make(locked, "ada", "read"), make(locked, "ada", "read", "submit")
    job = submit(locked, submitting)["id"]
    with locked_room.database.write() as session:
        session.add(Artifact(job_id=job, name="model.keras", key=f"jobs/{job}/1/model.keras", size=1, sha256=""))
    path = f"/v1/jobs/{job}/artifacts/model.tflite"
    assert locked.get(path, headers=reading | {"Prefer": "wait=0"}).status_code == 403
    made = locked.get(path, headers=ROOT | {"Prefer": "wait=0"})
    assert (made.status_code, made.json()["owner"]) == (202, "ada")


def test_a_study_s_runs_may_go_on_after_a_key_was_needed(room: Room) -> None:
    with room.database.write() as session:
        study = studies.create(session, check_study(StudySpec.model_validate(STUDY)))
    room.coordinator.look()
    with room.database.read() as session:
        assert {job.owner for job in session.scalars(select(jobs.Job).filter_by(study_id=study.id))} == {None}

"""Keys: made, listed, revoked, what each may do, and that everybody sees only what is theirs."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.deps import Room
from api.keyring import Keyring
from api.main import create_app
from models import jobs, keys, registry, studies, workers
from models.database import Database
from models.keys import NobodyLeft
from models.registry import Artifact, ModelVersion
from models.settings import Settings
from models.spec import parse_spec
from models.spec.kept_epochs import file_of
from models.spec.study import StudySpec
from models.spec.study_checks import check_study
from models.workers import Worker
from tests.api.conftest import LOCAL, add_version, claim
from tests.servers import wait_until

ROOT = {"Authorization": "Bearer root"}
SPEC = {"dataset": "digits", "epochs": 2}
STUDY = {"base": SPEC, "vary": {"/seed": [1, 2]}}


@pytest.fixture
def locked(settings: Settings) -> Iterator[TestClient]:
    """A client of an API that has the key `root` in its environment; it sends none by itself."""
    with TestClient(
        create_app(Settings(**(settings.model_dump() | {"api_keys": "root"}))),
        base_url=LOCAL,
        raise_server_exceptions=False,
    ) as made:
        yield made


@pytest.fixture
def locked_room(locked: TestClient) -> Room:
    """What the API of `locked` works with."""
    made: Room = locked.app.state.room  # type: ignore[attr-defined]
    return made


def make(client: TestClient, owner: str, *scopes: str, headers: dict[str, str] = ROOT) -> dict[str, str]:
    """The headers of a new key."""
    answer = client.post("/v1/keys", json={"owner": owner} | ({"scopes": scopes} if scopes else {}), headers=headers)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['data'][0]['key']}"}


def submit(client: TestClient, headers: dict[str, str], **spec: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=SPEC | spec, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_the_first_key_shuts_the_door_and_must_be_able_to_open_it_again(client: TestClient) -> None:
    refused = client.post("/v1/keys", json={"owner": "ada"})
    assert refused.status_code == 409
    assert "scope admin" in refused.json()["detail"]
    first = client.post("/v1/jobs", json=SPEC).json()
    assert first["owner"] is None
    root = make(client, "root", "admin", headers={})
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=root).json()["data"][0]["id"] == first["id"]
    ada = make(client, "ada", headers=root)
    # What nobody in particular submitted is an admin's.
    assert client.get("/v1/jobs", headers=ada).json()["data"] == []
    listed = client.get("/v1/keys", headers=root).json()["data"]
    newest, oldest = (key["id"] for key in listed)
    assert client.delete(f"/v1/keys/{oldest}", headers=root).status_code == 409
    assert client.delete(f"/v1/keys/{newest}", headers=root).status_code == 204
    assert client.get("/v1/jobs", headers=ada).status_code == 401
    assert client.delete(f"/v1/keys/{newest}", headers=root).status_code == 204
    assert client.delete(f"/v1/keys/{oldest}", headers=root).status_code == 204
    assert client.get("/v1/jobs").status_code == 200


def test_a_key_is_shown_once_and_nowhere_kept(locked: TestClient, locked_room: Room) -> None:
    answer = locked.post("/v1/keys", json={"owner": "ada"}, headers=ROOT)
    assert answer.headers["cache-control"] == "no-store"
    [made] = answer.json()["data"]
    secret = made.pop("key")
    assert secret.startswith("ty_")
    assert len(secret) == 46
    assert (made["owner"], made["scopes"]) == ("ada", ["read", "predict", "submit"])
    listed = locked.get("/v1/keys", headers=ROOT)
    assert listed.json()["data"] == [made]
    with locked_room.database.read() as session:
        [row] = keys.active(session)
    assert secret not in str(vars(row))
    assert row.sha256 == keys.digest(secret.encode())
    locked.delete(f"/v1/keys/{made['id']}", headers=ROOT)
    assert locked.get("/v1/keys", headers=ROOT).json()["data"][0]["revoked_at"] is not None
    assert locked.delete("/v1/keys/key_of_nobody", headers=ROOT).status_code == 404


def test_a_class_gets_its_keys_at_once(locked: TestClient) -> None:
    made = locked.post("/v1/keys", json={"owner": "student", "count": 30}, headers=ROOT).json()["data"]
    assert [key["owner"] for key in made] == [f"student{n:02}" for n in range(1, 31)]
    assert len({key["key"] for key in made}) == 30
    for key in (made[0], made[-1]):
        headers = {"Authorization": f"Bearer {key['key']}"}
        assert submit(locked, headers)["owner"] == key["owner"]
    first = locked.get("/v1/keys", params={"limit": 20}, headers=ROOT).json()
    rest = locked.get("/v1/keys", params={"after": first["next"]}, headers=ROOT).json()
    assert [key["id"] for key in reversed(first["data"] + rest["data"])] == [key["id"] for key in made]


def test_a_key_of_nobody_is_refused(locked: TestClient) -> None:
    for body in (
        {"owner": "me"},
        {"owner": ""},
        {"owner": "a b"},
        {"owner": "ünsal"},
        {"owner": "ada\n"},
        {"owner": "x" * 65},
        {"owner": "x" * 63, "count": 2},
        {"owner": "ada", "scopes": []},
        {"owner": "ada", "scopes": ["write"]},
        {"owner": "ada", "count": 0},
        {"owner": "ada", "count": 501},
    ):
        answer = locked.post("/v1/keys", json=body, headers=ROOT)
        assert answer.status_code == 422, body
        assert answer.json()["errors"][0]["pointer"].startswith(("/owner", "/scopes", "/count"))
    assert locked.get("/v1/keys", headers=ROOT).json()["data"] == []


def test_each_scope_lets_do_what_it_says(locked: TestClient, locked_room: Room) -> None:
    add_version(locked_room, 7)
    by_scope = {scope: make(locked, "ada", scope) for scope in keys.SCOPES}
    requests: list[tuple[str, str, str, Any, int]] = [
        ("read", "GET", "/v1/jobs", None, 200),
        ("read", "HEAD", "/v1/models", None, 200),
        ("predict", "POST", "/predict", {"pixels": [[0] * 28] * 28}, 200),
        ("predict", "POST", "/v1/models/digits/predict", {"pixels": [[0] * 28] * 28}, 200),
        ("predict", "GET", "/v2/models/digits", None, 200),
        ("predict", "POST", "/v2/models/digits/infer", {}, 400),
        ("submit", "POST", "/v1/jobs", SPEC, 201),
        ("submit", "POST", "/v1/jobs/validate", SPEC, 200),
        ("submit", "PUT", "/v1/models/digits/aliases/predict", {"version": 1}, 403),
        ("admin", "GET", "/v1/keys", None, 200),
        ("admin", "DELETE", "/v1/keys/none", None, 404),
    ]
    for needed, method, path, body, status in requests:
        for scope, headers in by_scope.items():
            answer = locked.request(method, path, json=body, headers=headers)
            if scope == needed:
                assert answer.status_code == status, (scope, path)
            elif scope == "admin":
                assert answer.status_code < 401 or answer.status_code == 404, (scope, path)
            else:
                assert answer.status_code == 403, (scope, path)
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]
                assert method == "HEAD" or f"lacks the scope {needed}" in answer.text


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


def test_keys_are_learned_from_another_process_and_outlive_the_database(settings: Settings) -> None:
    database = Database(settings.database)
    mine, theirs = Keyring([]), Keyring(["fixed"])
    for keyring in (mine, theirs):
        keyring.open(database)
    assert mine.caller("").is_admin
    with database.write() as session:
        [(row, secret)] = keys.create(session, ["root"], ["admin"])
    header = f"Bearer {secret}"
    for keyring in (mine, theirs):
        keyring.look()
        assert keyring.caller(header).owner == "root"
    assert theirs.caller("Bearer fixed").owner == "admin"
    database.close()
    broken = Keyring(["fixed"])
    broken.open(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    assert broken.caller("Bearer fixed").is_admin
    with pytest.raises(Exception, match="does not answer"):
        broken.caller(header)
    with pytest.raises(Exception, match="A key is needed"):
        broken.caller("")
    mine.open(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"))
    assert mine.caller(header).owner == row.owner


def test_without_a_database_nobody_is_let_in(settings: Settings) -> None:
    away = Settings(**(settings.model_dump() | {"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none"}))
    with TestClient(create_app(away), base_url=LOCAL, raise_server_exceptions=False) as client:
        for headers in ({}, {"Authorization": "Bearer ty_guess"}):
            answer = client.get("/v1/jobs/schema", headers=headers)
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
        assert client.get("/livez").status_code == 200


def test_an_open_stream_ends_when_its_key_is_revoked(locked: TestClient, locked_room: Room) -> None:
    ada = make(locked, "ada")
    job_id = submit(locked, ada)["id"]
    claim(locked_room, job_id)
    heard: list[str] = []
    stream = threading.Thread(target=lambda: heard.append(locked.get(f"/v1/jobs/{job_id}/events", headers=ada).text))
    stream.start()
    wait_until(lambda: job_id in locked_room.tailer._channels, "the stream")
    key_id = locked.get("/v1/keys", headers=ROOT).json()["data"][0]["id"]
    assert locked.delete(f"/v1/keys/{key_id}", headers=ROOT).status_code == 204
    assert locked.post(f"/v1/jobs/{job_id}/pause", headers=ROOT).status_code == 202
    stream.join(timeout=20)
    assert not stream.is_alive()
    assert '"running"' in heard[0]
    assert "pause" not in heard[0]


def test_two_who_revoke_each_other_leave_one(database: Database) -> None:
    for _ in range(3):
        with database.write() as session:
            made = keys.create(session, ["one", "two"], ["admin"]) + keys.create(session, ["ada"], ["read"])
        ids = [row.id for row, _ in made]
        refused: list[str] = []
        barrier = threading.Barrier(2)

        def revoke(key_id: str, barrier: threading.Barrier = barrier, refused: list[str] = refused) -> None:
            barrier.wait()
            try:
                with database.write() as session:
                    keys.revoke(session, key_id)
            except NobodyLeft:
                refused.append(key_id)

        threads = [threading.Thread(target=revoke, args=(key_id,)) for key_id in ids[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.read() as session:
            assert sum("admin" in key.scopes for key in keys.active(session)) == 1 == len(refused)
        with database.write() as session:
            for key in keys.active(session):
                keys.revoke(session, key.id, other_admin=True)


def test_no_key_without_admin_slips_in_while_the_last_admin_leaves(database: Database) -> None:
    for _ in range(3):
        with database.write() as session:
            [(root, _)] = keys.create(session, ["root"], ["admin"])
        barrier = threading.Barrier(2)

        def change(what: str, root: str = root.id, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                with database.write() as session:
                    if what == "revoke":
                        keys.revoke(session, root)
                    else:
                        keys.create(session, ["ada"], ["read"])
            except NobodyLeft:
                pass

        threads = [threading.Thread(target=change, args=(what,)) for what in ("revoke", "create")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.write() as session:
            left = keys.active(session)
            assert not left or any("admin" in key.scopes for key in left)
            for key in left:
                keys.revoke(session, key.id, other_admin=True)

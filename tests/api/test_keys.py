"""Keys: made, listed, revoked, and what each may do."""

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from api.keyring import Keyring
from api.main import create_app
from models import keys
from models.database import Database
from models.keys import NobodyLeft
from models.settings import Settings
from tests.api.conftest import LOCAL, add_version, claim
from tests.api.key_holders import ROOT, SPEC, make, submit
from tests.servers import wait_until


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

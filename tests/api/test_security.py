"""Host, Origin and keys are checked before anything is read."""

import base64
import hashlib
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from models import keys
from models.database import Database
from models.exposure import check_exposure
from models.settings import Settings
from tests.api.conftest import LOCAL

AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_this_machine_s_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "192.168.1.5:8000"])
def test_a_name_that_was_made_to_point_here_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8000"])
def test_pages_of_another_origin_are_refused(client: TestClient, origin: str) -> None:
    answer = client.post("/v1/jobs", json={"dataset": "digits"}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_page_of_this_server_is_welcome(client: TestClient) -> None:
    assert client.post("/v1/jobs", json={"dataset": "digits"}, headers={"Origin": LOCAL}).status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic first"}, 401),
        ({"Authorization": "Bearer second"}, 200),
        ({"Authorization": "bearer first"}, 200),
        ({"Authorization": "Bearer \xe9"}, 401),
    ],
)
def test_with_keys_a_key_is_needed(settings: Settings, headers: dict[str, str], status: int) -> None:
    locked = Settings(**(settings.model_dump() | {"host": "0.0.0.0", "api_keys": "first, second"}))
    with TestClient(create_app(locked), base_url="http://trainyard.example") as client:
        encoded: Any = {name: value.encode("latin-1") for name, value in headers.items()}
        assert client.get("/v1/jobs", headers=encoded).status_code == status
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_an_open_door_needs_keys_or_a_word(host: str) -> None:
    with pytest.raises(ValueError, match="TRAINYARD_API_KEYS"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, api_keys="k"))
    check_exposure(Settings(host=host, insecure=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5"])
def test_keys_of_the_database_open_the_door_too(tmp_path: Path, sqlite_url: str, host: str) -> None:
    with pytest.raises(ValueError, match="trainyard keys create"):
        check_exposure(Settings(host=host, database_url=sqlite_url))
    with closing(Database(sqlite_url)) as database, database.write() as session:
        [(row, _)] = keys.create(session, ["root"], ["admin"])
    check_exposure(Settings(host=host, database_url=sqlite_url))
    with closing(Database(sqlite_url)) as database, database.write() as session:
        keys.revoke(session, row.id)
    with pytest.raises(ValueError, match="there are no keys"):
        check_exposure(Settings(host=host, database_url=sqlite_url))
    # Asking makes no file, and what cannot be told is left to the gate, which then lets nobody in.
    with pytest.raises(ValueError, match="there are no keys"):
        check_exposure(Settings(host=host, home=tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    check_exposure(Settings(host=host, database_url=AWAY))


def test_beyond_loopback_a_service_whose_last_key_is_gone_answers_nobody(settings: Settings) -> None:
    with closing(Database(settings.database)) as database, database.write() as session:
        [(row, secret)] = keys.create(session, ["root"], ["admin"])
    open_to_all = Settings(**(settings.model_dump() | {"host": "0.0.0.0"}))
    with TestClient(create_app(open_to_all), base_url="http://trainyard.example") as client:
        headers = {"Authorization": f"Bearer {secret}"}
        assert client.get("/v1/jobs").status_code == 401
        assert client.delete(f"/v1/keys/{row.id}", headers=headers).status_code == 204
        for base in ("http://trainyard.example", LOCAL):
            answer = client.get(f"{base}/v1/jobs", headers=headers)
            assert answer.status_code == 403
            assert "Without keys" in answer.json()["detail"]


def test_every_answer_tells_a_browser_to_be_careful(client: TestClient) -> None:
    def boom() -> None:
        raise RuntimeError

    client.app.add_api_route("/boom", boom)  # type: ignore[attr-defined]
    for path in ("/livez", "/", "/docs", "/v1/jobs", "/v1/nothing", "/v1/jobs/schema", "/v2", "/boom"):
        answer = client.get(path, follow_redirects=False)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        [policy] = answer.headers.get_list("content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
    assert answer.status_code == 500


def test_the_docs_may_run_their_own_scripts_and_no_others(client: TestClient) -> None:
    page = client.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page.text, re.DOTALL)
    for attributes, inside in scripts:
        if inside.strip():
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy["script-src"]
        else:
            assert 'src="/swagger/' in attributes
    assert len(scripts) == 2
    assert "unsafe" not in policy["script-src"]
    assert "http" not in policy["script-src"] + policy["connect-src"]
    # No handlers in attributes, which the policy would stop.
    assert re.search(r"\son\w+=", page.text) is None


def test_pages_of_a_listed_origin_may_ask_and_read(settings: Settings) -> None:
    shared = Settings(
        **(settings.model_dump() | {"cors_origins": "https://lab.example, http://localhost:5173", "api_keys": "root"})
    )
    with TestClient(create_app(shared), base_url=LOCAL) as client:
        asking = {
            "Origin": "https://lab.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        }
        allowed = client.options("/v1/jobs", headers=asking)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://lab.example"
        assert "idempotency-key" in allowed.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in allowed.headers
        assert client.options("/v1/jobs", headers=asking | {"Origin": "https://evil.example"}).status_code == 400
        mine = {"Authorization": "Bearer root"}
        nobodys: dict[str, str] = {}
        for key, status in ((mine, 200), (nobodys, 401)):
            answer = client.get("/v1/jobs", headers=key | {"Origin": "https://lab.example"})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://lab.example"
            assert "Location" in answer.headers["access-control-expose-headers"]
        other = client.get("/v1/jobs", headers=mine | {"Origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "origin", ["*", "null", "lab.example", "https://lab.example/", "https://Lab.example", "ftp://a"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="as a browser sends it"):
        Settings(cors_origins=origin)


def test_keys_are_not_shown() -> None:
    assert "hush" not in repr(Settings(api_keys="hush"))


def test_a_server_bound_to_another_address_than_the_settings_say_is_closed(settings: Settings) -> None:
    with TestClient(create_app(settings), base_url="http://192.168.1.5:8000") as client:
        answer = client.get("/v1/jobs", headers={"Host": "127.0.0.1"})
        assert answer.status_code == 403
        assert "loopback" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Idempotency-Key"])
def test_a_header_that_decides_something_comes_once(client: TestClient, name: str) -> None:
    twice = [(name, "127.0.0.1:8000"), (name, "elsewhere")]
    answer = client.get("/v1/jobs", headers=twice)
    assert answer.status_code == 400
    assert name in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost:80@evil.example", "localhost:x", "[::1]evil.example", "localhost:123456"])
def test_a_host_that_only_begins_like_this_machine_is_another(client: TestClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 403

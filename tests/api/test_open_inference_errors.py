"""Below /v2 every refusal has the form of the Open Inference Protocol, whoever makes it."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from api.main import create_app
from models.settings import Settings
from tests.api.conftest import LOCAL


@pytest.mark.parametrize(
    ("method", "path", "request_headers", "status"),
    [
        ("GET", "/v2/nothing", {}, 404),
        ("DELETE", "/v2", {}, 405),
        ("GET", "/v2/models/digits/infer", {}, 405),
        ("POST", "/v2/models/digits/infer", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v2/models/digits/infer", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/v2/models/digits/infer", {"Origin": "http://evil.example"}, 403),
        ("GET", "/v2", {"Host": "evil.example"}, 403),
    ],
)
def test_the_gate_and_the_framework_speak_the_protocol(
    client: TestClient, method: str, path: str, request_headers: dict[str, str], status: int
) -> None:
    answer = client.request(method, path, headers=request_headers, content=b"{}" if method == "POST" else None)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]


def test_other_paths_keep_their_own_form(client: TestClient) -> None:
    assert client.get("/v1/models/nothing").headers["content-type"] == "application/problem+json"


def test_with_keys_probes_need_none(settings: Settings) -> None:
    locked = Settings(**(settings.model_dump() | {"api_keys": "first"}))
    with TestClient(create_app(locked), base_url=LOCAL) as service:
        assert service.get("/v2/health/live").json() == {"live": True}
        assert service.get("/v2/health/ready").json() == {"ready": True}
        refused = service.get("/v2")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "A key is needed" in refused.json()["error"]
        assert service.get("/v2/", headers={"Authorization": "Bearer first"}).json()["name"] == "trainyard"


def test_a_large_request_is_413(settings: Settings) -> None:
    small = Settings(**(settings.model_dump() | {"max_body_mb": 0.001}))
    with TestClient(create_app(small), base_url=LOCAL) as service:
        refused = service.post("/v2/models/digits/infer", content=bytes(1_001))
    assert (refused.status_code, list(refused.json())) == (413, ["error"])


def test_without_a_database_the_server_is_not_ready(client: TestClient, room: Room, settings: Settings) -> None:
    room.database.close()
    Path(settings.database.removeprefix("sqlite:///")).unlink()
    (settings.home / "trainyard.db").mkdir()
    answer = client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"error": "The database does not answer; try again in a moment."}


def test_a_mistake_of_ours_is_500_in_the_protocol_s_form(
    client: TestClient, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room.serving, "find", lambda ref: 1 / 0)
    answer = client.get("/v2/models/digits")
    assert (answer.status_code, list(answer.json())) == (500, ["error"])

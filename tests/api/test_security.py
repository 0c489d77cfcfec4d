"""Host, Origin and keys are checked before anything is read."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.main import create_app
from api.security import check_exposure
from models.settings import Settings
from tests.api.conftest import LOCAL


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


def test_keys_are_not_shown() -> None:
    assert "hush" not in repr(Settings(api_keys="hush"))


def test_a_server_bound_to_another_address_than_the_settings_say_is_closed(settings: Settings) -> None:
    with TestClient(create_app(settings), base_url="http://192.168.1.5:8000") as client:
        answer = client.get("/v1/jobs", headers={"Host": "127.0.0.1"})
        assert answer.status_code == 403
        assert "loopback" in answer.json()["detail"]

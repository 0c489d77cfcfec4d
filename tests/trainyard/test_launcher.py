"""What the launcher decides before anything runs: settings, addresses, and the socket that the API inherits."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from models import keys
from models.database import Database
from models.settings import Settings
from trainyard.addresses import reachable
from trainyard.client import from_environment
from trainyard.launcher import Launcher, check, listen, settings_table, settings_with


async def never(_url: str) -> int:
    raise AssertionError("nothing should have started")


def ignore(*_: str) -> None:
    """Say nothing."""


def test_port_0_takes_a_free_one_and_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        with pytest.raises(ValueError, match=r"Address already in use.*TRAINYARD_PORT"):
            listen("127.0.0.1", listener.getsockname()[1]).__enter__()


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ValueError, match=r"Cannot listen on 192\.0\.2\.1, port 0"):
        listen("192.0.2.1", 0).__enter__()


def test_beyond_loopback_there_must_be_keys() -> None:
    with pytest.raises(ValueError, match="Set TRAINYARD_API_KEYS, or say --insecure"):
        check(Settings(host="0.0.0.0"))
    check(Settings(host="0.0.0.0", insecure=True))
    check(Settings(host="0.0.0.0", api_keys=("k" * 20,)))
    check(Settings(host="::1"))


def test_beyond_loopback_keys_of_the_database_are_enough(sqlite_url: str) -> None:
    settings = Settings(host="0.0.0.0", home=Path(sqlite_url.removeprefix("sqlite:///")).parent)
    with pytest.raises(ValueError, match="trainyard keys create"):
        check(settings)
    with closing(Database(sqlite_url)) as database, database.write() as session:
        keys.create(session, ["root"], ["admin"])
    check(settings)


def test_an_unmet_wish_stops_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_EMBEDDED_BROKER", "rabbit")
    launcher = Launcher(Settings(home=tmp_path / "var", port=0), ignore, ignore, never)
    with pytest.raises(ValueError, match="TRAINYARD_EMBEDDED_BROKER"):
        asyncio.run(launcher.run())
    assert not (tmp_path / "var").exists()


def test_options_win_over_the_environment_and_mistakes_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_WORKERS", "3")
    assert settings_with(workers=None).workers == 3
    assert settings_with(workers=2).workers == 2
    monkeypatch.setenv("TRAINYARD_PORT", "99999")
    with pytest.raises(ValueError, match=r"TRAINYARD_PORT: .* Received: 99999"):
        settings_with()


def test_every_setting_is_shown_and_no_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_API_KEYS", "top-secret-key")
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", "postgresql://me:hunter2@db/trainyard")
    rows = settings_table()
    assert [row[0] for row in rows] == [f"TRAINYARD_{name.upper()}" for name in Settings.model_fields]
    assert all(meaning for *_, meaning in rows)
    shown = str(rows)
    assert "top-secret-key" not in shown
    assert "hunter2" not in shown
    assert "postgresql://me:**********@db/trainyard" in shown


@pytest.mark.parametrize(
    ("host", "written"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("yard", "yard")],
)
def test_how_an_address_is_reached(host: str, written: str) -> None:
    assert reachable(host) == written


def test_the_client_finds_the_service_of_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "HOST", "PORT", "API_KEY"):
        monkeypatch.delenv(f"TRAINYARD_{name}", raising=False)
    assert from_environment().base_url == "http://127.0.0.1:8000"
    monkeypatch.setenv("TRAINYARD_HOST", "::1")
    monkeypatch.setenv("TRAINYARD_PORT", "9000")
    assert from_environment().base_url == "http://[::1]:9000"
    assert from_environment("http://yard/").base_url == "http://yard"

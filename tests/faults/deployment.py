"""The two deployments that are put under faults: `trainyard up`, and what docker-compose.yml starts, twice over."""

import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.faults.database_server import Postgres, make_postgres
from tests.faults.keeper import Keeper
from tests.faults.processes import MARK, Process, of_role
from tests.faults.proxy import Proxy
from tests.faults.store_disk import StoreDisk
from tests.servers import free_port, wait_until
from trainyard import broker

ROOT = Path(__file__).parents[2]
CLOCKS = ("api", "worker")
START_SECONDS = 300
SETTINGS = {"LEASE_SECONDS": "3", "RING_SECONDS": "2", "HOUSEKEEPING_SECONDS": "2", "OFFLINE": "true"}


@dataclass
class Deployment:
    """A running service and the places where it can be hurt.

    Attributes:
        mark: what its processes carry in their environment.
        urls: where each API answers.
        database_url: past every proxy.
        links: proxies by what they connect, such as `worker-1 to database`.
    """

    name: str
    folder: Path
    mark: str
    keeper: Keeper
    disk: StoreDisk
    workers: int
    urls: tuple[str, ...] = ()
    database_url: str = ""
    links: dict[str, Proxy] = field(default_factory=dict)
    redis_port: int | None = None

    def of_role(self, role: str) -> list[Process]:
        """Its living processes of a role."""
        return of_role(self.mark, role)

    def environment(self, **settings: str) -> dict[str, str]:
        """For its processes: this checkout's code, the run's mark and clocks, and TRAINYARD_* settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRAINYARD_", "AWS_"))}
        paths = [str(Path(__file__).parent / "clock"), str(ROOT)]
        own = {MARK: self.mark, "FAULTS_CLOCKS": str(self.folder), "PYTHONPATH": os.pathsep.join(paths)}
        values = SETTINGS | {"ARTIFACTS_URL": f"file://{self.disk.store}"} | settings
        return kept | own | {f"TRAINYARD_{name}": value for name, value in values.items()}

    def step_clock(self, name: str, seconds: float) -> None:
        """Let a clock be wrong by so many seconds from now on."""
        # In place: the processes have mapped the file.
        with (self.folder / name).open("r+b") as file:
            file.write(struct.pack("d", seconds))

    def flush_broker(self) -> bool:
        """Empty the broker; False when it does not answer."""
        try:
            with self._redis() as line:
                line.sendall(b"FLUSHALL\r\n")
                return line.recv(100).startswith(b"+OK")
        except OSError:
            return False

    def ready(self) -> bool:
        """Whether each API says so, and all workers are warm."""
        return all(self._is_ready(url) for url in self.urls)

    def _is_ready(self, url: str) -> bool:
        try:
            if httpx2.get(f"{url}/readyz", trust_env=False, timeout=5).status_code != 200:
                return False
            found = httpx2.get(f"{url}/v1/workers", trust_env=False, timeout=5).json()["data"]
        except (httpx2.TransportError, KeyError, ValueError):
            return False
        return sum(worker["status"] != "starting" for worker in found) >= self.workers

    def _redis(self) -> socket.socket:
        if self.redis_port is not None:
            return socket.create_connection(("127.0.0.1", self.redis_port), timeout=5)
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(5)
        line.connect(str(Path((self.folder / "home" / "broker.socket").read_text().strip()) / "r.sock"))
        return line


@contextmanager
def deployed(name: str, folder: Path) -> Iterator[Deployment]:
    """A deployment, `sqlite` or `postgres`, that is ready; ended with the block by SIGTERM.

    Raises:
        LookupError: there is no PostgreSQL or Redis on this machine.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for clock in CLOCKS:
        (folder / clock).write_bytes(struct.pack("d", 0.0))
    disk = StoreDisk(folder)
    made = Deployment(name, folder, secrets.token_hex(8), Keeper(folder), disk, 1 if name == "sqlite" else 2)
    server_folder = Path(tempfile.mkdtemp(prefix="trainyard-faults-"))
    try:
        if name == "sqlite":
            _embed(made)
        else:
            _compose(made, server_folder)
        wait_until(made.ready, "the deployment", START_SECONDS)
        yield made
    finally:
        made.keeper.close()
        for proxy in made.links.values():
            proxy.close()
        disk.close()
        shutil.rmtree(server_folder, ignore_errors=True)


def _embed(made: Deployment) -> None:
    """SQLite and the embedded broker, kept by `trainyard up`, and that kept as a service of the system would be."""
    port, home = free_port(), made.folder / "home"
    environment = made.environment(HOME=str(home), PORT=str(port))
    made.urls, made.database_url = (f"http://127.0.0.1:{port}",), f"sqlite:///{home / 'trainyard.db'}"
    made.keeper.start("up", [sys.executable, "-m", "trainyard", "up"], environment)


def _compose(made: Deployment, folder: Path) -> None:
    """PostgreSQL, Redis, two APIs and two workers, each with links of its own."""
    ports = [free_port() for _ in range(4)]
    server, redis = make_postgres(folder, ports[0]), broker.candidates(os.environ)[0].executable
    if server is None or redis is None:
        raise LookupError("no PostgreSQL or no Redis on this machine")
    made.redis_port, made.database_url = ports[1], server.url
    marked = made.environment()
    made.keeper.start("postgres", server.command, {MARK: made.mark, "PATH": marked["PATH"]}, **server.options)
    listen = ["--port", str(ports[1]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    made.keeper.start("redis", [str(redis), *listen], marked, cwd=folder)
    wait_until(server.answers, "PostgreSQL", START_SECONDS)
    migrations = [sys.executable, "-P", "-m", "migrations"]
    subprocess.run(migrations, env=made.environment(DATABASE_URL=server.url), check=True, cwd=ROOT)
    made.urls = tuple(f"http://127.0.0.1:{port}" for port in ports[2:])
    for number, port in enumerate(ports[2:], start=1):
        command = ["uvicorn", "--factory", "api.main:create_app", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--no-access-log", "--timeout-graceful-shutdown", "3"]
        _start(made, server, f"api-{number}", command)
    for number in (1, 2):
        command = ["celery", "--quiet", "-A", "worker.app", "worker", "--queues", "train,train.cpu"]
        command += ["--hostname", f"cpu{number}@%h", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        _start(made, server, f"worker-{number}", command)


def _start(made: Deployment, server: Postgres, name: str, command: list[str]) -> None:
    links = {f"{name} to database": Proxy(server.port), f"{name} to broker": Proxy(made.redis_port or 0)}
    made.links |= links
    to_database, to_broker = links.values()
    environment = made.environment(
        HOME=str(made.folder / "home"),
        DATABASE_URL=server.through(to_database.port),
        BROKER_URL=f"redis://127.0.0.1:{to_broker.port}/0",
        DATASETS_DIR=str(made.folder / "datasets"),
    )
    with suppress(FileExistsError):
        (made.folder / "home").mkdir()
    made.keeper.start(name, [sys.executable, "-P", "-m", *command], environment, cwd=made.folder)

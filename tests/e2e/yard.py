"""The whole service as a user starts it, `trainyard up`, in a HOME of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.factories.datasets import real_datasets_dir
from tests.servers import wait_until
from trainyard import Client

READY = re.compile(r"^Trainyard is ready: (\S+)$", re.MULTILINE)
START_SECONDS = 90


class Yard:
    """A running `trainyard up`.

    Args:
        home: TRAINYARD_HOME; a second yard may be started in it when the first has ended.
        settings: further TRAINYARD_* settings, without the prefix.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        self.home, self.log = home, home / "up.log"
        home.mkdir(exist_ok=True)
        values = {"HOME": str(home), "PORT": "0", "LEASE_SECONDS": "3", "RING_SECONDS": "2", "OFFLINE": "true"}
        if (data := real_datasets_dir()) is not None:
            values["DATASETS_DIR"] = str(data)
        own = {f"TRAINYARD_{name}": value for name, value in (values | settings).items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "trainyard", "up"]
            self.process = subprocess.Popen(command, env=kept | own, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: self.process.poll() is not None or self._url() is not None, "the service", START_SECONDS)
        assert self.process.poll() is None, self.log.read_text()
        self.url = self._url() or ""
        self.client = Client(self.url)

    def _url(self) -> str | None:
        found = READY.findall(self.log.read_text())
        # A HOME that is used a second time still has the log of the first.
        return found[-1] if len(found) > self._earlier() else None

    def _earlier(self) -> int:
        if not hasattr(self, "_before"):
            self._before = len(READY.findall(self.log.read_text()))
        return self._before

    def processes(self) -> dict[int, str]:
        """Every process of the service, by id, with its command line."""
        return {pid: _command(pid) for pid in _descendants(self.process.pid)}

    def training_process(self) -> int:
        """The id of the process that trains: the worker's child."""
        (worker,) = [pid for pid, command in self.processes().items() if "celery" in command and _children(pid)]
        (child,) = _children(worker)
        return child

    def api_process(self) -> int:
        """The id of the API's process."""
        (api,) = [pid for pid, command in self.processes().items() if "uvicorn" in command]
        return api

    def end(self) -> int:
        """Ctrl-C; the exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def run(self, **spec: Any) -> dict[str, Any]:
        """Submit a job and wait for its end, whatever it is."""
        job = self.client.submit(spec)
        return self.client.wait(job["id"], timeout=120, check=False)


@contextmanager
def yard(home: Path, **settings: str) -> Iterator[Yard]:
    """A yard that leaves nothing behind, and says so when it does."""
    made = Yard(home, **settings)
    try:
        yield made
    finally:
        everything = made.processes()
        made.end()
        wait_until(lambda: not any(map(alive, everything)), f"the end of {everything}")


def alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    try:
        listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for line in listed for child in line.split()]


def _descendants(pid: int) -> list[int]:
    return [found for child in _children(pid) for found in (child, *_descendants(child))]

"""Starts a server in a session of its own, waits for its first answer, weighs all its processes, and ends them all."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from benchmarks.load import Load, LoadFailed, ask, load
from benchmarks.rounds import ROOT, ContestantFailed

START_SECONDS = 60.0
STOP_SECONDS = 10.0
WAKE_SECONDS = 0.1
PROC = Path("/proc")


def inherited() -> dict[str, str]:
    """The environment of every server: ours, without settings of a Trainyard that is somebody's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
    return own | {"PYTHONPATH": str(ROOT)}


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """One server with all its processes, from its start to the end of the block.

    Attributes:
        cold_seconds: from its start until it answered `request` for the first time.
        first_answer: the body of that answer.
    """

    def __init__(self, name: str, command: list[str], environment: dict[str, str], port: int, request: bytes) -> None:
        self.name, self.port = name, port
        self._command, self._environment, self._request = command, environment, request
        self.cold_seconds, self.first_answer = 0.0, b""

    def __enter__(self) -> Self:
        self._said = tempfile.TemporaryFile("w+")
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=inherited() | self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.first_answer = self._first_answer()
        except BaseException:
            self._end()
            raise
        self.cold_seconds = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, request: bytes) -> bytes:
        """The body of one answer. Raises ContestantFailed, with what the server said."""
        with self._blamed():
            return ask(self.port, request)

    def load(self, request: bytes, concurrency: int, seconds: float) -> Load:
        """Keep it busy. Raises ContestantFailed, with what the server said."""
        with self._blamed():
            return load(self.port, request, concurrency, seconds)

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except (LoadFailed, OSError) as error:
            raise ContestantFailed(f"{self.name}: {error}\n{self.said()}") from error

    def _first_answer(self) -> bytes:
        deadline, refused = time.monotonic() + START_SECONDS, "nobody listens"
        while time.monotonic() < deadline:
            try:
                return ask(self.port, self._request)
            except (OSError, LoadFailed) as error:  # not there yet, or not ready yet
                refused = str(error)
            if (code := self._process.poll()) is not None:
                raise ContestantFailed(f"{self.name} ended with code {code}:\n{self.said()}")
            time.sleep(0.01)
        raise ContestantFailed(f"{self.name} was not ready within {START_SECONDS:g} s: {refused}\n{self.said()}")

    def said(self) -> str:
        """The end of what it has printed."""
        self._said.seek(0)
        return self._said.read()[-2000:]

    def memory(self) -> float:
        """What all its processes take together, in MB; pages they share count once (PSS). Linux only."""
        return sum(proportional_memory(pid) for pid in processes_of(self._process.pid))

    def processor_seconds(self) -> float:
        """What all its living processes have computed so far."""
        return sum(processor_seconds(pid) for pid in processes_of(self._process.pid))

    def halt(self) -> None:
        """Let all its processes stand still: some servers compute even while nobody asks anything."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on, and come to themselves."""
        self._signal(signal.SIGCONT)
        time.sleep(WAKE_SECONDS)

    @contextlib.contextmanager
    def turn(self) -> Iterator[Self]:
        """Awake within the block alone."""
        self.resume()
        try:
            yield self
        finally:
            self.halt()

    def _signal(self, number: int) -> None:
        for pid in processes_of(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self) -> None:
        """Ask it to end, then make sure; a process may have left the session, but not the family."""
        leader = self._process.pid
        family = processes_of(leader)
        self._signal(signal.SIGCONT)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._process.kill()
        for pid in (family | processes_of(leader)) - {leader}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(lives, family)) and time.monotonic() < deadline:
            time.sleep(0.01)


def processes_of(leader: int) -> set[int]:
    """The process ids of a session's leader, of all in its session, and of all that any of these started."""
    found = {leader}
    parents = {int(path.name): _parent_and_session(path) for path in PROC.iterdir() if path.name.isdigit()}
    grown = True
    while grown:
        more = {pid for pid, (parent, session) in parents.items() if parent in found or session == leader} - found
        found |= more
        grown = bool(more)
    return {pid for pid in found if pid in parents}


def _parent_and_session(path: Path) -> tuple[int, int]:
    fields = stat_fields(path)
    return (int(fields[1]), int(fields[3])) if fields else (0, 0)


def stat_fields(path: Path) -> list[str]:
    """What Linux tells of a process, from its state on; nothing when it is gone. See `man 5 proc_pid_stat`."""
    try:
        # The name of the command, in parentheses, may hold anything; what follows the last one is plain.
        return (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended; one that ended may wait for its parent to notice."""
    return stat_fields(PROC / str(pid))[:1] not in ([], ["Z"])


def processor_seconds(pid: int) -> float:
    """Seconds that a process has computed, its own and the system's for it."""
    fields = stat_fields(PROC / str(pid))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def proportional_memory(pid: int) -> float:
    """Process `pid`'s share of memory, in MB."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)

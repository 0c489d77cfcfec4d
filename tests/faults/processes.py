"""The processes of one run, found by a mark in their environment whoever their parent is by now; Linux only."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "FAULTS_RUN"
SIGNS = {
    "api": "uvicorn",
    "worker": "celery",
    "training": "celery",
    "broker": "redis-server",
    "database": "bin/postgres",
    "supervisor": "-m trainyard up",
}


@dataclass(frozen=True)
class Process:
    """One that runs: not a zombie."""

    pid: int
    parent: int
    command: str

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; whether the process was still there."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def marked(mark: str) -> list[Process]:
    """Every process that has `mark` in its environment or comes from one that has, oldest first.

    Redis writes its title over its environment, so one that is a child of this process counts too.
    """
    sign = f"{MARK}={mark}".encode()
    found: dict[int, tuple[Process, bool]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (process := _read(int(folder.name))) is not None:
            with suppress(OSError):
                found[process.pid] = process, sign in (folder / "environ").read_bytes().split(b"\0")

    def is_of_run(pid: int) -> bool:
        process, carries = found[pid]
        if carries or (process.parent == os.getpid() and SIGNS["broker"] in process.command):
            return True
        return process.parent in found and is_of_run(process.parent)

    return [found[pid][0] for pid in sorted(found) if is_of_run(pid)]


def alive(process: Process) -> bool:
    """Whether it runs, and is not another one with its number by now."""
    now = _read(process.pid)
    return now is not None and now.command == process.command


def _read(pid: int) -> Process | None:
    """The process of that number, unless there is none or it is a zombie."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return None if state in "ZX" else Process(pid, int(parent), command)


def of_role(mark: str, role: str) -> list[Process]:
    """The processes that are an `api`, a `worker`, what is `training`, the `broker`, `database` or `supervisor`."""
    sign = SIGNS[role]
    # What is about to become the command, a tether, is not yet it.
    same = {found.pid: found for found in marked(mark) if sign in found.command and "tether" not in found.command}
    return [found for found in same.values() if (found.parent in same) == (role == "training")]

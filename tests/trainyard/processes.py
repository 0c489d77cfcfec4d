"""Real processes for the tests of the supervisor: started, looked at, and waited for."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_for(condition: Callable[[], Answer], seconds: float = 10.0) -> Answer:
    """The condition's first true answer; an AssertionError when it stays false for `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true within {seconds} seconds"
        time.sleep(0.02)
    return answer


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be asked for its exit code does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        if Path("/proc/self/stat").exists():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return state not in "ZX"


def pids(folder: Path, name: str) -> list[int]:
    """The process ids that the stand-in `name` noted, one for each time it was started."""
    note = folder / f"{name}.pids"
    return [int(line) for line in note.read_text().splitlines()] if note.exists() else []

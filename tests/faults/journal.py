"""What a run tells: lines with the time, on the terminal and in a file, and the violations it found."""

import sys
import threading
import time
from pathlib import Path


class Journal:
    """Lines of one run; safe from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.violations: list[str] = []
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._file = path.open("a", buffering=1)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    def say(self, line: str) -> None:
        """Write a line with the seconds since the beginning."""
        self.write(f"[{self.seconds:7.1f} s] {line}")

    def write(self, text: str) -> None:
        """Write text as it is."""
        with self._lock:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
            self._file.write(f"{text}\n")

    def violation(self, what: str) -> None:
        """Something that must not be; the run goes on, and fails in the end."""
        self.violations.append(what)
        self.say(f"VIOLATION: {what}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

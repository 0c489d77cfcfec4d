"""Writes what the supervised processes print, each line with the name of its process: in front, or in its JSON."""

import json
import os
import signal
from datetime import UTC, datetime
from typing import TextIO

# Cyan, magenta, yellow, green, blue: readable on dark and on light grounds.
COLOURS = (36, 35, 33, 32, 34)
WIDTH = 10


class Console:
    """A stream for people: plain lines, and lines of processes with a prefix; in colour on a terminal only.

    With `as_json` every line is an object: those that already are get a member `process`, others become a `message`.
    """

    def __init__(self, stream: TextIO, as_json: bool = False) -> None:
        self._stream = stream
        self._as_json = as_json
        terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._coloured = terminal and not os.environ.get("NO_COLOR")
        self._colour_of: dict[str, int] = {}

    def say(self, line: str) -> None:
        """One plain line."""
        self._write(as_object("supervisor", line) if self._as_json else line)

    def log(self, name: str, line: str) -> None:
        """One line of the process `name`."""
        if self._as_json:
            self._write(as_object(name, line))
            return
        prefix = f"{name:<{WIDTH}}|"
        if self._coloured:
            colour = self._colour_of.setdefault(name, COLOURS[len(self._colour_of) % len(COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._write(f"{prefix} {line}")

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read this has gone (`trainyard up | head`): end as if asked to, and write no more.
            self._write = lambda line: None  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGTERM)


def as_object(process: str, line: str) -> str:
    """A line as a JSON object, whatever the process made of it; libraries in C++ know nothing of our logs."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {"time": datetime.now(UTC).isoformat(), "level": "INFO", "logger": process, "message": line}
    return json.dumps(found | {"process": process}, ensure_ascii=False)

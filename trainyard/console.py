"""Writes what the supervised processes print, each line with the name of its process in front."""

import os
import signal
from typing import TextIO

# Cyan, magenta, yellow, green, blue: readable on dark and on light grounds.
COLOURS = (36, 35, 33, 32, 34)
WIDTH = 10


class Console:
    """A stream for people: plain lines, and lines of processes with a prefix; in colour on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._coloured = terminal and not os.environ.get("NO_COLOR")
        self._colour_of: dict[str, int] = {}

    def say(self, line: str) -> None:
        """One plain line."""
        self._write(line)

    def log(self, name: str, line: str) -> None:
        """One line of the process `name`."""
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

"""Lets the contestants of a case take turns, an epoch each, round by round."""

import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.protocol import Task

ROOT = Path(__file__).parent.parent
# Threads that wait actively after their last work are asleep by then.
PAUSE_SECONDS = 0.05


class ContestantFailed(RuntimeError):
    """A contestant ended before its time; the message has the end of what it said."""


@dataclass
class Run:
    """What a contestant answered: an entry an epoch, then facts about its process."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Contestant:
    """A contestant's process, which waits for its turn; to be closed, however it ended."""

    def __init__(self, name: str, python: Path, module: str, task: Task) -> None:
        self.name = name
        self.run = Run()
        self._said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.contestants.{module}", task.to_json()],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Until it has imported, loaded and built everything."""
        self._answer()

    def take_turn(self) -> None:
        """One epoch."""
        self.run.epochs.append(self._ask())

    def finish(self) -> None:
        """After the last epoch."""
        self.run.facts = self._ask()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self) -> None:
        code = self._process.wait()
        self._said.seek(0)
        raise ContestantFailed(f"{self.name} ended with code {code}:\n{self._said.read()[-2000:]}")


def take_turns(starters: dict[str, tuple[Path, str, Task]], epochs: int) -> dict[str, Run]:
    """Start each contestant (Python, module, task) in turn, then let each do one epoch a round.

    Another one goes first each round. Raises ContestantFailed as soon as one fails. No process is left in any case.
    """
    with ExitStack() as stack:
        contestants = []
        for name, starter in starters.items():
            contestant = Contestant(name, *starter)
            stack.callback(contestant.close)
            contestant.wait_until_ready()
            contestants.append(contestant)
        for number in range(epochs):
            for contestant in rotated(contestants, number):
                time.sleep(PAUSE_SECONDS)
                contestant.take_turn()
        for contestant in contestants:
            contestant.finish()
        return {contestant.name: contestant.run for contestant in contestants}


def rotated(these: list[Any], by: int) -> list[Any]:
    """`these`, beginning with another one each round."""
    start = by % len(these)
    return these[start:] + these[:start]

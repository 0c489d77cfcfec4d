"""What the driver and its contestants say to each other; needs the standard library and NumPy only.

A contestant is a process that gets its task as one JSON argument. It answers one JSON line when it is ready, then one
for each line it is sent, an epoch each, and a last one with facts about itself. So all contestants of a case are alive
at once and take turns, and noise of the machine meets them alike.
"""

import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """What a contestant is told: the name of the case, an .npz file with the data, and how to train."""

    case: str
    data: str
    epochs: int
    seed: int
    precision: str = "float32"
    steps_per_execution: int = 1

    def to_json(self) -> str:
        """For `Task.from_arguments` of the other process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_arguments(cls) -> "Task":
        """The task in the command line of this process."""
        return cls(**json.loads(sys.argv[1]))


@dataclass(frozen=True, eq=False)
class Data:
    """Images, uint8 (n, 28, 28), and labels, uint8 (n,)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray

    @classmethod
    def read(cls, path: str) -> "Data":
        """The arrays of a file that `write` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)

    def write(self, path: str) -> None:
        """Keep the arrays under their names."""
        np.savez(path, **vars(self))


class Turns:
    """The contestant's side: waits for its turn, takes the time of an epoch, answers.

    The clock runs from `begin` to `end` only. Between them nothing may wait for the driver, and what is handed to `end`
    must be numbers that are worked out, not promises of a device.
    """

    def __init__(self) -> None:
        # Libraries print to standard output as they please; what they print becomes standard error.
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._epoch = 0
        self._began = 0.0
        self._busy_before = 0.0
        self._idle = 0.0

    def ready(self) -> None:
        """Say that everything up to the first epoch is done."""
        self._answer({"ready": True})
        self._busy_before = time.process_time()

    def begin(self) -> None:
        """Wait for the turn, then start the clock. Ends the process when the driver has gone."""
        self._wait()
        # Processor time of all threads while it was not this contestant's turn: it must be next to nothing.
        self._idle = time.process_time() - self._busy_before
        self._began = time.perf_counter()

    def end(self, loss: float, val_loss: float, val_accuracy: float) -> None:
        """Stop the clock and answer."""
        seconds = time.perf_counter() - self._began
        self._epoch += 1
        self._busy_before = time.process_time()
        figures = {"loss": loss, "val_loss": val_loss, "val_accuracy": val_accuracy}
        self._answer({"epoch": self._epoch, "seconds": seconds, "idle_cpu_seconds": self._idle, **figures})

    def finish(self, threads: int, library: dict[str, str]) -> None:
        """After the last epoch: wait to be asked, and say what this process is and took."""
        self._wait()
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._answer({"peak_rss_mb": round(kilobytes / 1024), "threads": threads, "library": library})

    def _wait(self) -> None:
        if not sys.stdin.readline():
            sys.exit(0)

    def _answer(self, figures: dict[str, Any]) -> None:
        print(json.dumps(figures), file=self._answers, flush=True)

"""A tiny restarter, as compose's `restart: unless-stopped`: what ends is started again until it is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainyard.supervisor import TETHER

PAUSE_SECONDS = 0.3
STOP_SECONDS = 25.0


@dataclass
class Kept:
    """One program: how it is started, its process just now, and how often it was started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    options: dict[str, Any]
    wanted: bool = True
    starts: int = 0
    ended: float = field(default=float("-inf"))
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None


class Keeper:
    """Keeps programs running; each ends with this process too, however that ends. Their output is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: dict[str, Kept] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        # The kernel ties a child to the thread that made it, so one thread that stays makes all of them.
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], **options: Any) -> None:
        """Have a program running from now on; `options` go to Popen."""
        with self._lock:
            self._kept[name] = Kept(name, command, environment, options)

    def starts(self, name: str) -> int:
        """How often the program was started."""
        return self._kept[name].starts

    def log(self, name: str) -> Path:
        """Where its output goes."""
        return self.folder / f"{name}.log"

    def stop(self, name: str) -> int:
        """Have it end, by SIGTERM, and not begin again; its exit code, SIGKILL's when it took too long."""
        with self._lock:
            kept = self._kept[name]
            kept.wanted = False
            process = kept.process
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def close(self) -> dict[str, int]:
        """End all, the last that was started first; their exit codes."""
        codes = {name: self.stop(name) for name in reversed(list(self._kept))}
        self._closed.set()
        self._thread.join()
        return codes

    def _keep(self) -> None:
        while not self._closed.wait(0.05):
            with self._lock:
                for kept in self._kept.values():
                    self._see_to(kept)

    def _see_to(self, kept: Kept) -> None:
        if not kept.wanted or kept.runs:
            return
        if kept.process is not None:
            kept.process, kept.ended = None, time.monotonic()
        if time.monotonic() - kept.ended < PAUSE_SECONDS:
            return
        with self.log(kept.name).open("ab") as log:
            # Who cannot read this folder, as another user, brings a tether of its own.
            tether = () if "preexec_fn" in kept.options else (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()))
            kept.process = subprocess.Popen(
                [*tether, *kept.command],
                env=dict(kept.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **kept.options,
            )
        kept.starts += 1

"""Runs a command that ends when the process that asked for it ends, however that ends: `tether.py PARENT COMMAND...`.

It stands alone, so that it starts in a few milliseconds: `python -I -S tether.py` imports nothing of the project.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Linux: ask the kernel for a SIGKILL at the parent's end, then become the command, which keeps that promise."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the kernel was asked, so nobody would ever tell.
        sys.exit(0)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"Cannot run {command[0]}: {error.strerror}")


def watch(parent: int, command: list[str]) -> int:
    """Elsewhere (macOS): stay as the command's parent, pass SIGTERM on, and end it when our own parent is gone.

    When both this process and the supervisor are killed in one stroke, the command is left; the kernel has no way to
    ask for more there.
    """
    with subprocess.Popen(command, close_fds=False) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while process.poll() is None:
            if os.getppid() != parent:
                # The group is ours alone: the supervisor gives each program a session of its own.
                with contextlib.suppress(OSError):
                    os.killpg(0, signal.SIGKILL)
            time.sleep(0.2)
        code = process.returncode
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if sys.platform == "linux" and "TRAINYARD_TETHER_WATCH" not in os.environ:
        become(int(sys.argv[1]), sys.argv[2:])
    sys.exit(watch(int(sys.argv[1]), sys.argv[2:]))

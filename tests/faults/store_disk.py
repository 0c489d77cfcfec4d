"""The disk of the artifacts, a file system of the run's own where the kernel allows one, so that it can be full."""

import ctypes
import os
import resource
import subprocess
from pathlib import Path

from tests.servers import wait_until

CLONE_NEWNS = 0x00020000
SIZE = "2g"  # what it may grow to; a tmpfs takes what is in it


class StoreDisk:
    """A folder for artifacts; `full()` until `roomy()`, `away()` until `back()`.

    Root gets a tmpfs in a mount namespace of this process, which goes with it. Without, files that processes write are
    limited in length instead, which fails the same writes with another number.
    """

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._disk.mkdir()
        self.mounted = self._mount()
        self.store = self._disk / "artifacts"
        self.store.mkdir()
        self._hidden = self._disk / "artifacts.away"
        self._limited: list[int] = []

    def full(self, writers: list[int]) -> None:
        """Leave no room, for the processes `writers` at least."""
        if self.mounted:
            # Refused where somebody wrote more than that between the look and the word.
            wait_until(self._is_filled, "a full disk")
        else:
            self._limited = [pid for pid in writers if _limit(pid, 1)]

    def roomy(self) -> None:
        """Give the room back."""
        if self.mounted:
            self._remount(SIZE)
        for pid in self._limited:
            _limit(pid, resource.RLIM_INFINITY)
        self._limited = []

    def away(self) -> None:
        """As a disk that is not mounted any more."""
        self.store.rename(self._hidden)

    def back(self) -> None:
        """Mounted again."""
        self._hidden.rename(self.store)

    def close(self) -> None:
        """Give the memory back."""
        if self.mounted:
            subprocess.run(["umount", str(self._disk)], check=False)

    def _mount(self) -> bool:
        if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
            return False
        commands = (
            ["mount", "--make-rprivate", "/"],
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(self._disk)],
        )
        return all(subprocess.run(c, check=False, capture_output=True).returncode == 0 for c in commands)

    def _is_filled(self) -> bool:
        status = os.statvfs(self._disk)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        return self._remount(str(used + 4096), check=False)

    def _remount(self, size: str, check: bool = True) -> bool:
        command = ["mount", "-o", f"remount,size={size}", str(self._disk)]
        return subprocess.run(command, check=check, capture_output=True).returncode == 0


def _limit(pid: int, size: int) -> bool:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size if size >= 0 else hard, hard))
    except (ProcessLookupError, PermissionError):
        return False
    return True

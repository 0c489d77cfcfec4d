"""TRAINYARD_HOME: one service at a time, on a disk that SQLite can trust, and no litter of a run that was killed."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

# SQLite's write-ahead log needs shared memory and locks that work; on these two writers can corrupt the file.
SHARED = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|drvfs|afs|ncpfs|ceph|lustre|gpfs|beegfs|glusterfs|vboxsf|prl_fs|davfs|"
    r"fuse\.(sshfs|s3fs|glusterfs|ceph|davfs2?|rclone|gcsfuse|drvfs|vmhgfs-fuse|portal|smbnetfs|cifs)"
)


class HomeError(Exception):
    """HOME cannot be used; the sentence says why and what would do."""


@contextmanager
def locked_home(home: Path, mounts: Path = MOUNTS) -> Iterator[None]:
    """Make `home`, hold its lock, and clean up what a killed run left in the temporary folder.

    The lock is the kernel's, so it ends with the process however that ends.

    Raises:
        HomeError: another service uses it, it cannot be written, or it is on a shared file system.
    """
    import fcntl  # not on Windows, where the command says so before it comes here

    refuse_shared(home, mounts)
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise HomeError(f"Cannot write to {home}: {error.strerror}. Set TRAINYARD_HOME to a folder of yours.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(handle, 20).decode().strip()
            raise HomeError(
                f"Another Trainyard (process {owner or 'unknown'}) already runs on {home}. "
                "Stop it, or set TRAINYARD_HOME to another folder for a second one."
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        forget_socket_folder(home)
        yield
    finally:
        os.close(handle)


def refuse_shared(home: Path, mounts: Path = MOUNTS) -> None:
    """Raise `HomeError` when `home` is on a network or Windows-mounted file system; Linux only."""
    mount, kind = file_system(home, mounts)
    # A root file system of type 9p is a sandbox's own (gVisor, Kata), and there is nothing else to choose there.
    if SHARED.fullmatch(kind) and (mount, kind) != (Path("/"), "9p"):
        raise HomeError(
            f"{home} is on {mount}, a file system of type {kind}: network and Windows drives cannot hold the database, "
            "which needs reliable locks. Set TRAINYARD_HOME to a folder on a local disk, such as ~/trainyard."
        )


def file_system(path: Path, mounts: Path = MOUNTS) -> tuple[Path, str]:
    """The mount point and type of the file system that holds `path`; ("/", "") where the system has no such list."""
    real = path.resolve()
    best, kind = Path("/"), ""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return best, kind
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks and backslashes are written in octal there: "\040".
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        # Of several on one point the last is on top.
        if real.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[2]
    return best, kind


def remember_socket_folder(home: Path, folder: Path) -> None:
    """Note where the broker's socket is, for the next start if this run is killed."""
    (home / "broker.socket").write_text(f"{folder}\n")


def forget_socket_folder(home: Path) -> None:
    """Remove the noted folder with the socket, if it is still there and ours."""
    note = home / "broker.socket"
    try:
        folder = Path(note.read_text().strip())
    except OSError:
        return
    if folder.name.startswith("trainyard-") and folder.is_dir() and folder.stat().st_uid == os.getuid():
        shutil.rmtree(folder, ignore_errors=True)
    note.unlink(missing_ok=True)

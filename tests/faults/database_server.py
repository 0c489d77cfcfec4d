"""A PostgreSQL of the run's own, as a program that can be killed and started again."""

import ctypes
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import _readable, postgres_folder

PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


@dataclass(frozen=True)
class Postgres:
    """Where its data are and how it is started."""

    command: list[str]
    options: dict[str, Any]
    port: int

    @property
    def url(self) -> str:
        """As SQLAlchemy wants it, past every proxy."""
        return self.through(self.port)

    def through(self, port: int) -> str:
        """The URL by another port, a proxy's."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"

    def answers(self) -> bool:
        """Whether it takes connections now."""
        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def make_postgres(folder: Path, port: int) -> Postgres | None:
    """Make a cluster in `folder`; None where there is no PostgreSQL. Nothing is started."""
    programs = postgres_folder()
    if programs is None:
        return None
    # The kernel ends it with the thread that starts it; the harness may be killed as anything else.
    options: dict[str, Any] = {"cwd": folder, "preexec_fn": _end_with_parent}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root, and nobody may not be able to read where the wheel is installed.
        folder.chmod(0o755)
        programs = _readable(programs, folder)
        options |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        (folder / "data").mkdir(mode=0o700)
        shutil.chown(folder / "data", "nobody", "nogroup")
    data = str(folder / "data")
    made = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--no-instructions"]
    subprocess.run([programs / "initdb", "-D", data, *made], check=True, stdout=subprocess.DEVNULL, **options)
    # Only processes are killed here, never the machine: what was written to the kernel is there.
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Postgres([str(programs / "postgres"), "-D", data, "-p", str(port), *arguments], options, port)


def _end_with_parent() -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)

"""Shifts the clock of the process that imports it, as Python does at its start for a folder on PYTHONPATH.

The folder FAULTS_CLOCKS has a file for the API's processes and one for the workers', each a float64: by how many
seconds the clock is wrong just now. Only wall clocks are shifted; no machine steps its monotonic one.
"""

import ctypes
import datetime
import gc
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from typing import Any


def shift(folder: str, name: str) -> None:
    """Let `time.time`, `time.time_ns` and `datetime.now` read a clock that is wrong by what the file says."""
    with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123 - pathlib would slow every start
        wrong = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    read = struct.Struct("d").unpack_from
    true_time, true_time_ns, kind = time.time, time.time_ns, datetime.datetime
    moment = kind.fromtimestamp

    def shifted_time() -> float:
        return true_time() + float(read(wrong)[0])

    def shifted_now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return moment(shifted_time(), tz)

    def shifted_utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return moment(shifted_time(), datetime.UTC).replace(tzinfo=None)

    time.time = shifted_time
    time.time_ns = lambda: true_time_ns() + int(read(wrong)[0] * 1e9)
    replace_methods(kind, {"now": shifted_now, "utcnow": shifted_utcnow})


def replace_methods(kind: type, methods: dict[str, Callable[..., Any]]) -> None:
    """Give a built-in class other class methods; a subclass in its place would not be what C code makes and expects."""
    (attributes,) = [found for found in gc.get_referents(kind.__dict__) if isinstance(found, dict)]
    attributes |= {name: classmethod(method) for name, method in methods.items()}
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


if "FAULTS_CLOCKS" in os.environ:
    words = " ".join(sys.orig_argv)
    for sign, clock in (("uvicorn", "api"), ("celery", "worker")):
        if sign in words:
            shift(os.environ["FAULTS_CLOCKS"], clock)

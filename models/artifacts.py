"""Where artifacts and checkpoints live: one folder or bucket, named by an fsspec URL."""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec


@dataclass(frozen=True)
class Stored:
    """One file that was written."""

    key: str
    size: int
    sha256: str


class ArtifactStore:
    """Files by key, such as `jobs/job_01.../1/model.onnx`; a key is complete or absent, never half-written."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)
        # On a folder of this machine a file is made durable and renamed into place; a bucket's put is atomic already.
        self._folder = Path(self._root) if "file" in _protocols(self._fs) else None

    def write(self, key: str, data: bytes) -> Stored:
        """Store `data` durably under `key`, in place of what was there."""
        if self._folder is None:
            self._fs.pipe_file(f"{self._root}/{key}", data)
        else:
            _write_durably(self._folder / key, data)
        return Stored(key, len(data), hashlib.sha256(data).hexdigest())

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes under `key`, or those from `start` up to but without `end`.

        Raises:
            FileNotFoundError: nothing is stored there.
        """
        data: bytes = self._fs.cat_file(f"{self._root}/{key}", start=start, end=end)
        return data

    def keys(self, prefix: str) -> list[str]:
        """Every key below `prefix`, sorted."""
        try:
            found = self._fs.find(f"{self._root}/{prefix}")
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(f"{self._root}/") for path in found if not path.endswith(".part"))

    def delete(self, prefix: str) -> None:
        """Remove everything below `prefix`; nothing there is fine."""
        path = f"{self._root}/{prefix}"
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)


def drop_checkpoints(store: ArtifactStore, job_id: str, attempts: int) -> None:
    """Remove the checkpoints of a job that ended; the weights of kept epochs stay as long as the job."""
    for attempt in range(1, attempts + 1):
        store.delete(f"jobs/{job_id}/{attempt}/checkpoints")


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _write_durably(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name must survive a power cut too
    finally:
        os.close(folder)

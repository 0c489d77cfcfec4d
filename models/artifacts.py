"""Where artifacts and checkpoints live: one folder or bucket, named by an fsspec URL."""

import errno
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

S3_PROTOCOLS = frozenset({"s3", "s3a"})
# A store that is away should be known to be within seconds.
S3_CONFIG = {"connect_timeout": 2, "read_timeout": 10, "retries": {"total_max_attempts": 2}}
# How long something may take to be sent, and to that the time of its bytes at the slowest pace that is put up with.
SEND_SECONDS, SLOWEST = 20.0, 250_000
# Every key begins with it.
SIGN = "jobs"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
log = logging.getLogger(__name__)


class StoreUnavailable(OSError):
    """The store does not answer, or not to us: a sentence for users, without key or path; its cause has the details.

    `needed` is the number of bytes that were to be written.
    """

    needed = 1


class StoreFull(StoreUnavailable):
    """There is no room for what was to be written."""


class Corrupted(Exception):
    """What lies under a key is not what was stored there."""


@dataclass(frozen=True)
class Stored:
    """One file that was written."""

    key: str
    size: int
    sha256: str


class ArtifactStore:
    """Files by key, such as `jobs/job_01.../1/model.onnx`; a key is complete or absent, never half-written.

    Its methods may be called from any thread, but not on both sides of a fork. Each raises `StoreUnavailable` when the
    store is away, has no such bucket, or refuses; nothing is remembered of that, so the next call may succeed.

    Args:
        url: an fsspec URL.
        make: whether to make the folder where there is none. Who may have files there does not: a disk that is not
            mounted must not be taken for an empty store (`models.new_store`).

    Raises:
        ValueError: the URL is of a kind that cannot be used here; the sentence says what to do.
    """

    def __init__(self, url: str, make: bool = True) -> None:
        self._fs, root = _file_system(url)
        self._root = root.rstrip("/")
        # On a folder of this machine a file is made durable and renamed into place; a bucket's put is atomic already.
        self._folder = Path(self._root) if "file" in _protocols(self._fs) else None
        if make:
            self.make_folder()

    def make_folder(self) -> None:
        """Make the folder, where the store is one, with what tells it from the bare place of a disk to be mounted."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / SIGN).mkdir(parents=True, exist_ok=True)

    def write(self, key: str, data: bytes) -> Stored:
        """Store `data` durably under `key`, in place of what was there. Raises StoreFull where there is no room."""
        try:
            with self._answering():
                if self._folder is None:
                    self._put(f"{self._root}/{key}", data)
                else:
                    self._require_folder()
                    _write_durably(self._folder / key, data)
        except StoreUnavailable as error:
            error.needed = len(data)
            raise
        return Stored(key, len(data), hashlib.sha256(data).hexdigest())

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes under `key`, or those from `start` up to but without `end`.

        Raises:
            FileNotFoundError: nothing is stored there.
        """
        with self._answering():
            data: bytes = self._fs.cat_file(f"{self._root}/{key}", start=start, end=end)
        return data

    def read_verified(self, key: str, sha256: str) -> bytes:
        """The bytes under `key`, which are those that were stored.

        Raises:
            FileNotFoundError: nothing is stored there.
            Corrupted: they are others; `sha256` is the hexadecimal sum on record.
        """
        data = self.read(key)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupted("The file is not what was stored: its checksum differs.")
        return data

    @property
    def folder(self) -> Path | None:
        """The folder of this machine in which everything is; None for a bucket."""
        return self._folder

    def keys(self, prefix: str, *, unfinished: bool = False) -> list[str]:
        """Every key below `prefix`, or `prefix` itself, sorted; with `unfinished` also what was never written whole."""
        with self._answering():
            found = self._find(f"{self._root}/{prefix}")
        keys = (path.removeprefix(f"{self._root}/") for path in found)
        return sorted(key for key in keys if unfinished or not key.endswith(".part"))

    def delete(self, prefix: str) -> None:
        """Remove everything below `prefix`, or `prefix` itself; nothing there is fine."""
        path = f"{self._root}/{prefix}"
        with self._answering():
            if self._folder is not None:
                self._require_folder()
                _remove(Path(path))
            else:
                # One by one: of many at once s3fs does not say which it was not allowed to remove.
                for found in self._find(path):
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(found)

    def discard(self, prefix: str) -> bool:
        """Delete what nobody needs: when the store is away it stays there, and the log says so. Whether it is gone."""
        try:
            self.delete(prefix)
        except StoreUnavailable as error:
            log.warning("%s is left over: %s (%r)", prefix, error, error.__cause__)
            return False
        return True

    def answers(self, size: int = 1) -> bool:
        """Whether a file of `size` bytes can be written and removed now."""
        key = f"jobs/probe-{secrets.token_hex(8)}"
        try:
            self.write(key, bytes(size))
            self.delete(key)
        except StoreUnavailable:
            return False
        return True

    def _put(self, path: str, data: bytes) -> None:
        """Have a bucket store `data`, and give it up when that takes too long.

        The timeouts of S3_CONFIG are for answers: a server that takes no bytes would be waited for for ever.
        """
        limit = {"timeout": SEND_SECONDS + len(data) / SLOWEST} if getattr(self._fs, "async_impl", False) else {}
        self._fs.pipe_file(path, data, **limit)

    def _find(self, path: str) -> list[str]:
        self._require_folder()
        try:
            found: list[str] = self._fs.find(path)
        except FileNotFoundError as error:
            if _says_no_bucket(error):
                raise
            return []
        return found

    def _require_folder(self) -> None:
        if self._is_gone():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._root)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn whatever a file system raises when it is away into StoreUnavailable."""
        try:
            yield
        except StoreUnavailable:
            raise
        except FileNotFoundError as error:
            if self._is_gone() or _says_no_bucket(error):
                raise StoreUnavailable("The folder or bucket of the artifacts is not there.") from error
            raise
        except PermissionError as error:
            raise StoreUnavailable("The artifact store refuses access.") from error
        except OSError as error:
            if error.errno in FULL:
                raise StoreFull("The artifact store is full.") from error
            raise StoreUnavailable("The artifact store does not answer.") from error
        except Exception as error:
            if self._folder is not None:
                raise
            # Each kind of bucket has errors of its own that are no OSError, as botocore has for a refused connection.
            raise StoreUnavailable("The artifact store does not answer.") from error

    def _is_gone(self) -> bool:
        return self._folder is not None and not (self._folder / SIGN).is_dir()


def drop_checkpoints(store: ArtifactStore, job_id: str, attempts: int) -> None:
    """Remove the checkpoints of a job that ended; the weights of kept epochs stay as long as the job."""
    for attempt in range(1, attempts + 1):
        if not store.discard(f"jobs/{job_id}/{attempt}/checkpoints"):
            break


def check_artifacts_url(url: str) -> None:
    """Raise ValueError, with what to do about it, when files cannot be kept at such a URL."""
    protocol = fsspec.core.split_protocol(url)[0] or "file"
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        wanted = "`pip install 'trainyard[s3]'`" if protocol in S3_PROTOCOLS else str(error)
        raise ValueError(f"TRAINYARD_ARTIFACTS_URL needs a package that is missing: {wanted}. {_of(url)}") from None
    except ValueError:
        raise ValueError(
            f"TRAINYARD_ARTIFACTS_URL must be of a kind that fsspec knows, such as file:// or s3://. {_of(url)}"
        ) from None


def _of(url: str) -> str:
    """Only how it begins: there may be a key in it."""
    return f"Received: {url.partition('://')[0][:40]}://..."


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of `url`, made anew, which remembers no listing: several processes write."""
    check_artifacts_url(url)
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    is_s3 = fsspec.core.split_protocol(url)[0] in S3_PROTOCOLS
    if is_s3:
        options["config_kwargs"] = S3_CONFIG | fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    fs, root = fsspec.core.url_to_fs(url, **options)
    if is_s3:
        # botocore tries again already.
        fs.retries = 1
    return fs, root


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _says_no_bucket(error: FileNotFoundError) -> bool:
    answer = getattr(error.__cause__, "response", None) or {}
    return bool(answer.get("Error", {}).get("Code") == "NoSuchBucket")


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


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

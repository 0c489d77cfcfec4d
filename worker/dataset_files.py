"""The files of a data set: where they lie, how they are read and verified, and how they are downloaded."""

import contextlib
import gzip
import hashlib
import logging
import os
import socket
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

import numpy as np
import numpy.typing as npt

from models.datasets import DatasetFacts, IdxFile, Part

Arrays = dict[Part, npt.NDArray[np.uint8]]

SETTING: Final = "TRAINYARD_DATASETS_DIR"
CACHE: Final = "Keras's cache"
ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"  # where keras.datasets fetches from
REPLACE: Final = "Put the original file there, or remove this one so that the next place is searched."
SILENCE_SECONDS = 30.0  # a download that stays silent for so long has failed
KINDS = {0x801: "labels", 0x803: "images"}  # IDX: unsigned bytes in one dimension, in three

log = logging.getLogger(__name__)


class DatasetUnavailable(Exception):
    """The data set is missing or not what it should be. The message says what to do and shows no path of the server."""


class _Wrong(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


def keras_cache() -> Path:
    """The folder in which Keras keeps the data sets that it fetched; KERAS_HOME moves it."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets"


def locate(facts: DatasetFacts, folder: Path) -> tuple[Path, ...]:
    """The files of `facts` under `folder`: all in the order of `facts.files`, or the one npz archive, or none.

    IDX files, gzipped or not, lie in a folder named after the data set (`fashion-mnist` or `fashion_mnist`); an
    archive may also lie in `folder` itself.
    """
    if len(found := _idx_files(facts, folder)) == len(facts.files):
        return tuple(found.values())
    homes = (folder, folder / facts.folder, folder / facts.name)
    archive = _existing(home / name for home in homes for name in facts.archives)
    return (archive,) if archive else ()


def how_to_provide(facts: DatasetFacts, datasets_dir: Path) -> str:
    """What to do when `facts` is in no place and must not be downloaded."""
    found = _idx_files(facts, datasets_dir)
    absent = ", ".join(file.name for file in facts.files if file.name not in found)
    return (
        f"{facts.name} is not on this worker, and TRAINYARD_OFFLINE forbids downloading it. Put {absent} (gzipped or "
        f"not) into the folder {facts.folder} of {SETTING}{', beside what is there' if found else ''}, or unset "
        f"TRAINYARD_OFFLINE. The data set digits needs no files."
    )


def read(facts: DatasetFacts, paths: tuple[Path, ...], place: str, remedy: str = REPLACE) -> Arrays:
    """The arrays in `paths` as `locate` gave them: images (n, 28, 28), labels (n,), verified.

    Raises DatasetUnavailable when a file is not the known one; its message calls the folder `place` and ends with
    `remedy`.
    """
    arrays: Arrays = {}
    for file, path in zip(facts.files, paths if len(paths) > 1 else paths * len(facts.files), strict=True):
        read_one = _read_archived if path.suffix == ".npz" else _read_idx
        try:
            arrays[file.part] = read_one(facts, file, path)
        except _Wrong as wrong:
            raise DatasetUnavailable(f"{facts.name}: {path.name} in {place} {wrong}. {remedy}") from wrong
    return arrays


def download(facts: DatasetFacts) -> Arrays:
    """Fetch `facts` with Keras's downloader, verify it, and only then put it into Keras's cache.

    Raises DatasetUnavailable when it cannot be fetched or kept, or is not what it should be.
    """
    from keras.utils import get_file

    cache = keras_cache()
    remedy = (
        "Submit the job again when the worker reaches the internet, or put the files into the folder "
        f"{facts.folder} of {SETTING}. The data set digits needs none."
    )
    log.info("downloading %s", facts.name)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Keras writes straight to the final name; two workers at once, or a kill, would leave half a file there.
        with tempfile.TemporaryDirectory(prefix=".trainyard-", dir=cache) as fetched, _unattended():
            for name in facts.downloads:
                place = Path(fetched, name)
                get_file(place.name, origin=ORIGIN + place.name, cache_dir=fetched, cache_subdir=str(Path(name).parent))
            arrays = read(facts, locate(facts, Path(fetched)), "the download", remedy)
            for name in facts.downloads:
                (cache / name).parent.mkdir(exist_ok=True)
                Path(fetched, name).replace(cache / name)
    except DatasetUnavailable:
        raise
    except Exception as error:  # Keras raises plain Exception for a failed fetch
        if isinstance(error.__context__, HTTPError):
            error.__context__.close()  # Keras leaves the connection open
        log.warning("the download of %s failed: %r", facts.name, error)
        # The whole text of an OSError names the file.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DatasetUnavailable(f"{facts.name} could not be downloaded ({reason}). {remedy}") from error
    return arrays


def _idx_files(facts: DatasetFacts, folder: Path) -> dict[str, Path]:
    """Those of `facts.files` that lie under `folder`, by name."""
    homes = (folder / facts.folder, folder / facts.name)
    found = {
        file.name: _existing(home / name for home in homes for name in (file.name, f"{file.name}.gz"))
        for file in facts.files
    }
    return {name: path for name, path in found.items() if path}


def _existing(paths: Iterable[Path]) -> Path | None:
    for path in paths:
        with contextlib.suppress(OSError):  # a folder that may not be read has nothing for us
            if path.is_file():
                return path
    return None


def _read_idx(facts: DatasetFacts, file: IdxFile, path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file: a magic number, the length of each dimension, all big-endian 32 bits, then the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except EOFError:
        raise _Wrong("is cut off") from None
    except gzip.BadGzipFile:
        raise _Wrong("is not a gzip file, or is damaged") from None
    except (OSError, zlib.error) as error:
        raise _Wrong(f"cannot be read ({getattr(error, 'strerror', None) or 'damaged'})") from None
    shape = _shape(facts, file)
    header = _header(shape)
    if len(content) < len(header):
        raise _Wrong(f"is only {len(content)} bytes long")
    magic, count = struct.unpack_from(">2I", content)
    wanted, *_ = struct.unpack_from(">I", header)
    if magic != wanted:
        holds = f"IDX {KINDS[magic]}" if magic in KINDS else f"no IDX data (magic number {magic})"
        raise _Wrong(f"holds {holds} where {KINDS[wanted]} belong")
    if count != file.count:
        raise _Wrong(f"holds {count:,} {KINDS[wanted]} instead of {file.count:,}")
    _verify(file, content)
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _read_archived(facts: DatasetFacts, file: IdxFile, path: Path) -> npt.NDArray[np.uint8]:
    """One array of an npz archive as Keras has it; it must be what the IDX file of the same part holds."""
    try:
        if not zipfile.is_zipfile(path):
            raise _Wrong("is not an npz archive, or is cut off")
        with np.load(path, allow_pickle=False) as archive:
            array = archive[file.part]
    except KeyError:
        raise _Wrong(f"has no array {file.part}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _Wrong(f"cannot be read ({getattr(error, 'strerror', None) or 'damaged'})") from None
    shape = _shape(facts, file)
    if array.shape != shape or array.dtype != np.uint8:
        raise _Wrong(f"has {file.part} as {array.dtype} {array.shape} instead of uint8 {shape}")
    _verify(file, _header(shape) + array.tobytes())
    return array


def _shape(facts: DatasetFacts, file: IdxFile) -> tuple[int, ...]:
    return (file.count, *facts.shape[:2]) if file.part.startswith("x") else (file.count,)


def _header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of the IDX file whose content has `shape`."""
    return struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)


def _verify(file: IdxFile, content: bytes) -> None:
    digest = hashlib.md5(content, usedforsecurity=False)
    if digest.hexdigest() != file.md5:
        raise _Wrong(
            f"is not the original: the MD5 of {file.name} unpacked is {digest.hexdigest()} instead of {file.md5}"
        )


@contextlib.contextmanager
def _unattended() -> Iterator[None]:
    """No progress bar into the log, and an end to waiting for a server that says nothing."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        socket.setdefaulttimeout(before)

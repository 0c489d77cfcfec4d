"""Data for tests: where the real sets are, and tiny made-up ones in the same file formats."""

import gzip
import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.datasets import DatasetFacts, IdxFile, Part

Array = npt.NDArray[np.uint8]

_noise = np.random.default_rng(0).integers(0, 256, (48, 28, 28)).astype(np.uint8)
TINY_ARRAYS: Mapping[Part, Array] = {
    "x_train": _noise[:40],
    "y_train": (np.arange(40) % 4).astype(np.uint8),
    "x_test": _noise[40:],
    "y_test": (np.arange(8) % 4).astype(np.uint8),
}
TINY_NAMES: Mapping[Part, str] = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def real_datasets_dir() -> Path | None:
    """The folder of TRAINYARD_DATASETS_DIR, else shared/datasets beside the repository; None without MNIST there."""
    named = os.environ.get("TRAINYARD_DATASETS_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "datasets"
    return folder if (folder / "mnist").is_dir() else None


def needs_real_datasets() -> pytest.MarkDecorator:
    """Skips a test, by name, where the real data is not at hand."""
    return pytest.mark.skipif(
        real_datasets_dir() is None,
        reason="needs real data: set TRAINYARD_DATASETS_DIR to a folder with mnist/ and fashion-mnist/",
    )


def idx(array: Array) -> bytes:
    """An IDX file of unsigned bytes (magic number, the length of each dimension, content)."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def tiny_facts() -> DatasetFacts:
    """A data set of four classes like MNIST in form, of 40 and 8 images, its files in a folder `tiny-set`."""
    files = [
        IdxFile(part, TINY_NAMES[part], len(array), hashlib.md5(idx(array), usedforsecurity=False).hexdigest())
        for part, array in TINY_ARRAYS.items()
    ]
    return DatasetFacts(
        name="tiny_set",
        title="Tiny",
        description="Made up.",
        licence="none",
        shape=(28, 28, 1),
        train_size=40,
        test_size=8,
        train_counts=(10, 10, 10, 10),
        classes=("a", "b", "c", "d"),
        recipe="plain",
        folder="tiny-set",
        files=tuple(files),
        downloads=tuple(f"tiny-set/{file.name}.gz" for file in files),
    )


def write_tiny_idx(folder: Path, gzipped: bool = True) -> None:
    """Write the four files of the tiny data set into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in TINY_ARRAYS.items():
        if gzipped:
            (folder / f"{TINY_NAMES[part]}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / TINY_NAMES[part]).write_bytes(idx(array))


def write_tiny_npz(path: Path, **changed: npt.NDArray[np.generic]) -> None:
    """Write the tiny data set as one archive, with some arrays `changed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {str(part): array for part, array in TINY_ARRAYS.items()} | changed
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=True, **arrays)

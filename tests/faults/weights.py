"""What a job learned, as numbers that can be compared bit for bit."""

import io
import zipfile

import h5py  # type: ignore[import-untyped]
import numpy as np


def weights_in(keras_file: bytes) -> dict[str, np.ndarray]:
    """Every array of a `.keras` file by its place; beside them the file has a date and names that differ."""
    found: dict[str, np.ndarray] = {}

    def take(place: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[place] = item[()]

    with zipfile.ZipFile(io.BytesIO(keras_file)) as archive, archive.open("model.weights.h5") as file:
        h5py.File(io.BytesIO(file.read())).visititems(take)
    return found


def difference(one: bytes, other: bytes) -> float | None:
    """The largest difference of two models' weights, 0.0 when all bits agree; None for networks of other shapes."""
    mine, theirs = weights_in(one), weights_in(other)
    if {place: a.shape for place, a in mine.items()} != {place: a.shape for place, a in theirs.items()}:
        return None
    if all(a.tobytes() == theirs[place].tobytes() for place, a in mine.items()):
        return 0.0
    return max(float(np.abs(a.astype(float) - theirs[place]).max(initial=0.0)) for place, a in mine.items())

"""Which data a job works with: finds and loads a data set, keeps it in memory, and selects the job's images from it."""

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.datasets import DATASETS, DatasetFacts, validation_images
from models.pictures import fit_digit
from worker.dataset_files import (
    CACHE,
    SETTING,
    Arrays,
    DatasetUnavailable,
    download,
    how_to_provide,
    keras_cache,
    locate,
    read,
)

__all__ = ["Dataset", "DatasetUnavailable", "Split", "Whereabouts", "find", "load", "scaling_of", "select"]

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

NO_SKLEARN = "digits comes with scikit-learn, which this worker lacks: install scikit-learn there."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Whether a data set can be used here; `detail` says where it is or what to do about it, without paths."""

    status: Literal["here", "fetchable", "missing"]
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A whole data set, read-only: images uint8 of shape (n, 28, 28, 1), labels int64 of shape (n,)."""

    x_train: Pixels
    y_train: Labels
    x_test: Pixels
    y_test: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What one job works with, in shapes as of Dataset; labels count from 0 in the order of the chosen classes."""

    x_train: Pixels
    y_train: Labels
    x_val: Pixels | None
    y_val: Labels | None
    x_test: Pixels
    y_test: Labels


def find(facts: DatasetFacts, datasets_dir: Path, offline: bool) -> Whereabouts:
    """Where `facts` would be loaded from, without reading it: `datasets_dir`, then Keras's cache, then a download."""
    if not facts.files:
        if importlib.util.find_spec("sklearn"):
            return Whereabouts("here", "comes with scikit-learn")
        return Whereabouts("missing", NO_SKLEARN)
    for folder, place in ((datasets_dir, SETTING), (keras_cache(), CACHE)):
        if locate(facts, folder):
            return Whereabouts("here", f"in {place}")
    if facts.downloadable and not offline:
        return Whereabouts("fetchable", "downloaded by Keras when a job first needs it")
    return Whereabouts("missing", how_to_provide(facts, datasets_dir))


@lru_cache(maxsize=2)
def load(name: str, datasets_dir: Path, offline: bool) -> Dataset:
    """The data set `name` from the first place of `find` that has it; the two used last stay in memory.

    Counts and checksums are verified. Raises DatasetUnavailable when no place has it, a file is not the known one, or
    the download fails. A wrong file in `datasets_dir` is an error; one in Keras's cache is downloaded again.
    """
    facts = DATASETS[name]
    arrays = _read_known_files(facts, datasets_dir, offline) if facts.files else _draw_sklearn_digits()
    shape = (-1, *facts.shape)
    dataset = Dataset(
        x_train=arrays["x_train"].reshape(shape),
        y_train=arrays["y_train"].astype(np.int64),
        x_test=arrays["x_test"].reshape(shape),
        y_test=arrays["y_test"].astype(np.int64),
    )
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        array.setflags(write=False)
    return dataset


def select(
    dataset: Dataset,
    *,
    classes: Sequence[int] | None = None,
    validation: float | Literal["test", "none"] = "none",
    train_size: int | None = None,
    seed: int = 0,
) -> Split:
    """The images that one job trains on, validates with and is tested on.

    First only `classes` are kept, in training and test set alike, and their labels become 0, 1, ... in the order
    given. Then a part `validation` (0.1: a tenth) of the training images is split off; "test" validates with the test
    set. Of the rest, `train_size` are trained on. Which ones follows from `seed`, every class in its share; the
    chosen images keep the order of the data set. Raises ValueError when there are fewer images than `train_size`.
    """
    x_train, y_train = _only(classes, dataset.x_train, dataset.y_train)
    x_test, y_test = _only(classes, dataset.x_test, dataset.y_test)
    x_val: Pixels | None = None
    y_val: Labels | None = None
    if validation == "test":
        x_val, y_val = x_test, y_test
    split = 0.0 if isinstance(validation, str) else validation
    if not 0 <= split < 1:
        raise ValueError(f"validation must be at least 0 and less than 1. Received: validation={validation}")
    held_back = validation_images(len(y_train), split)
    size = len(y_train) - held_back if train_size is None else train_size
    if not 0 < size <= len(y_train) - held_back:
        raise ValueError(
            f"train_size must be from 1 to {len(y_train) - held_back}, the training images of the chosen classes "
            f"without those for validation. Received: train_size={train_size}"
        )
    if size < len(y_train):
        order = _stratified_order(y_train, seed)
        if held_back:
            chosen = np.sort(order[:held_back])
            x_val, y_val = x_train[chosen], y_train[chosen]
        chosen = np.sort(order[held_back : held_back + size])
        x_train, y_train = x_train[chosen], y_train[chosen]
    return Split(x_train, y_train, x_val, y_val, x_test, y_test)


def scaling_of(kind: Literal["unit", "standard", "none"], x_train: Pixels) -> tuple[float, float]:
    """Scale and offset of the Rescaling layer, so that its output is `pixel * scale + offset`.

    `unit` maps 0..255 to 0..1; `standard` gives the pixels of `x_train` mean 0 and standard deviation 1, over all
    pixels together; `none` leaves them as they are.
    """
    if kind == "unit":
        return 1 / 255, 0.0
    if kind == "none":
        return 1.0, 0.0
    # Counted in parts: bincount makes eight bytes of every pixel.
    parts = np.array_split(x_train.reshape(-1), max(1, x_train.size // 1_000_000))
    counts = np.sum([np.bincount(part, minlength=256) for part in parts], axis=0)
    values = np.arange(256)
    mean = float(values @ counts) / x_train.size
    spread = float((values - mean) ** 2 @ counts / x_train.size) ** 0.5 or 1.0
    return 1 / spread, -mean / spread


def _only(classes: Sequence[int] | None, x: Pixels, y: Labels) -> tuple[Pixels, Labels]:
    if classes is None:
        return x, y
    new_labels = np.full(256, -1, np.int64)
    new_labels[list(classes)] = np.arange(len(classes))
    kept = new_labels[y] >= 0
    return x[kept], new_labels[y[kept]]


def _stratified_order(y: Labels, seed: int) -> npt.NDArray[np.intp]:
    """A random order of the images in which the first m, for every m, have each class in its share, give or take two.

    Each image of a class with n images draws its place from an interval of its own, [r/n, (r+1)/n).
    """
    random = np.random.default_rng([seed, *b"split"])  # apart from the stream that shuffles the epochs
    places = np.empty(len(y))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        places[members] = (random.permutation(len(members)) + random.random(len(members))) / len(members)
    return np.argsort(places, kind="stable")


def _read_known_files(facts: DatasetFacts, datasets_dir: Path, offline: bool) -> Arrays:
    if paths := locate(facts, datasets_dir):
        return read(facts, paths, SETTING)
    if paths := locate(facts, keras_cache()):
        try:
            return read(facts, paths, CACHE)
        except DatasetUnavailable as error:
            if offline:
                raise
            log.warning("%s It is downloaded again.", error)
    elif offline:
        raise DatasetUnavailable(how_to_provide(facts, datasets_dir))
    return download(facts)


def _draw_sklearn_digits() -> Arrays:
    """scikit-learn's 8x8 digits as 28x28: enlarged eightfold (bicubic), then cut and centred as predict does it.

    The test set is every fifth image of each digit in the order of the data, so neither set changes between runs.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetUnavailable(NO_SKLEARN) from error
    small, labels = load_digits(return_X_y=True)
    ink = (small / 16).astype(np.float32).reshape(-1, 8, 8)  # 16 is full ink
    images = np.stack([_draw(digit) for digit in ink])
    labels = labels.astype(np.uint8)
    test = np.zeros(len(labels), bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return {"x_train": images[~test], "y_train": labels[~test], "x_test": images[test], "y_test": labels[test]}


def _draw(ink: npt.NDArray[np.float32]) -> Pixels:
    large = Image.fromarray(ink).resize((64, 64), Image.Resampling.BICUBIC)
    return np.rint(fit_digit(np.clip(np.asarray(large), 0, 1))).astype(np.uint8)

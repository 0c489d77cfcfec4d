"""Which data a job works with: finds, loads or computes a data set, and selects the job's examples from it."""

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
import numpy.typing as npt
from PIL import Image

from models import synthetic
from models.datasets import DATASETS, DatasetFacts
from models.pictures import fit_digit
from models.spec import JobSpec
from models.spec.data import Dataset as DatasetSpec
from models.spec.data import (
    FoldValidation,
    ImageDataset,
    PolynomialDataset,
    SpiralDataset,
    TestValidation,
    Validation,
    chosen_classes,
    held_out,
    is_regression,
)
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

__all__ = [
    "Dataset",
    "DatasetUnavailable",
    "Split",
    "Whereabouts",
    "examples_of",
    "find",
    "load",
    "scaling_of",
    "select",
    "split_for",
]

Examples = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Pixels = npt.NDArray[np.uint8]

NO_SKLEARN = "digits comes with scikit-learn, which this worker lacks: install scikit-learn there."
NO_SKLEARN_FOLDS = "Folds are cut by scikit-learn, which this worker lacks: install scikit-learn there."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Whether a data set can be used here; `detail` says where it is or what to do about it, without paths."""

    status: Literal["here", "fetchable", "missing"]
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A whole data set, read-only.

    Images are uint8 (n, 28, 28, 1), features float32 (n, d). Labels are int64 (n,), or for a regression values,
    float32 (n, 1).
    """

    x_train: Examples
    y_train: Labels
    x_test: Examples
    y_test: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What one job works with, in shapes as of Dataset; labels count from 0 in the order of the chosen classes."""

    x_train: Examples
    y_train: Labels
    x_val: Examples | None
    y_val: Labels | None
    x_test: Examples
    y_test: Labels

    def sha256(self) -> str:
        """A checksum of everything: examples and labels of the three parts, their types, shapes and order."""
        sum_ = hashlib.sha256()
        for field in fields(self):
            part = getattr(self, field.name)
            if part is not None:
                sum_.update(f"{field.name} {part.dtype} {part.shape}".encode())
                sum_.update(np.ascontiguousarray(part).data)
        return sum_.hexdigest()


def split_for(spec: JobSpec, datasets_dir: Path, offline: bool) -> Split:
    """The examples that a job of `spec`, which must be valid, works with. Raises DatasetUnavailable as `load` does."""
    wanted = spec.dataset
    return select(
        examples_of(wanted, datasets_dir, offline),
        classes=chosen_classes(wanted),
        validation=wanted.validation,
        train_size=wanted.train_size,
        seed=spec.seed,
        regression=is_regression(wanted),
    )


def examples_of(wanted: DatasetSpec, datasets_dir: Path, offline: bool) -> Dataset:
    """The whole data set that a spec names: loaded, or computed by `models.synthetic`."""
    match wanted:
        case ImageDataset(name=name):
            return load(name, datasets_dir, offline)
        case SpiralDataset(samples=samples, n_classes=n_classes, seed=seed):
            return _sealed(*synthetic.spiral(samples, n_classes, seed), *synthetic.spiral(samples, n_classes, seed + 1))
        case PolynomialDataset(degree=degree, samples=samples, noise=noise, seed=seed):
            return _sealed(*synthetic.polynomial(degree, samples, noise, seed), *synthetic.polynomial_test(degree))
        case _:
            assert_never(wanted)


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
    return _sealed(
        arrays["x_train"].reshape(shape),
        arrays["y_train"].astype(np.int64),
        arrays["x_test"].reshape(shape),
        arrays["y_test"].astype(np.int64),
    )


def _sealed(x_train: Examples, y_train: Labels, x_test: Examples, y_test: Labels) -> Dataset:
    for array in (x_train, y_train, x_test, y_test):
        array.setflags(write=False)
    return Dataset(x_train, y_train, x_test, y_test)


def select(
    dataset: Dataset,
    *,
    classes: Sequence[int] | None = None,
    validation: Validation = "none",
    train_size: int | None = None,
    seed: int = 0,
    regression: bool = False,
) -> Split:
    """The examples that one job trains on, validates with and is tested on.

    First only `classes` are kept, in training and test set alike, and their labels become 0, 1, ... in the order
    given. Then some of the training examples are held back for `validation`, or the test set is taken for it. Of the
    rest, `train_size` are trained on. Which ones follows from `seed`, every class in its share; the chosen examples
    keep the order of the data set. Raises ValueError when there are fewer examples than `train_size`.
    """
    x_train, y_train = _only(classes, dataset.x_train, dataset.y_train)
    x_test, y_test = _only(classes, dataset.x_test, dataset.y_test)
    held_back = held_out(len(y_train), validation)
    most = len(y_train) - held_back
    size = most if train_size is None else train_size
    if not 0 < size <= most:
        raise ValueError(
            f"train_size must be from 1 to {most}, the training examples of the chosen classes "
            f"without those for validation. Received: train_size={train_size}"
        )
    x_val: Examples | None = None
    y_val: Labels | None = None
    if isinstance(validation, TestValidation):
        x_val, y_val = x_test, y_test
    if size < len(y_train):
        order = _order(y_train, seed, regression)
        if isinstance(validation, FoldValidation):
            held = _fold(validation, y_train, seed, regression)
            order = order[~np.isin(order, held)]
        else:
            held, order = np.sort(order[:held_back]), order[held_back:]
        if held_back:
            x_val, y_val = x_train[held], y_train[held]
        chosen = np.sort(order[:size])
        x_train, y_train = x_train[chosen], y_train[chosen]
    return Split(x_train, y_train, x_val, y_val, x_test, y_test)


def scaling_of(wanted: DatasetSpec, x_train: Examples) -> tuple[float, float]:
    """Scale and offset of the Rescaling layer, so that its output is `input * scale + offset`.

    For images, `unit` maps 0..255 to 0..1; `standard` gives the pixels of `x_train` mean 0 and standard deviation 1,
    over all pixels together; `none` leaves them as they are. A polynomial's inputs get mean 0 and deviation 1 with
    `standardize`. Everything else stays as it is: (1.0, 0.0).
    """
    match wanted:
        case ImageDataset(scaling="unit"):
            return 1 / 255, 0.0
        case ImageDataset(scaling="standard"):
            mean, spread = _mean_and_spread(x_train)
        case PolynomialDataset(standardize=True):
            mean, spread = float(x_train.mean(dtype=np.float64)), float(x_train.std(dtype=np.float64))
        case _:
            return 1.0, 0.0
    spread = spread or 1.0
    return 1 / spread, -mean / spread


def _mean_and_spread(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    # Counted in parts: bincount makes eight bytes of every pixel.
    parts = np.array_split(pixels.reshape(-1), max(1, pixels.size // 1_000_000))
    counts = np.sum([np.bincount(part, minlength=256) for part in parts], axis=0)
    values = np.arange(256)
    mean = float(values @ counts) / pixels.size
    return mean, float((values - mean) ** 2 @ counts / pixels.size) ** 0.5


def _fold(validation: FoldValidation, y: Labels, seed: int, regression: bool) -> Indices:
    """The examples of one fold, in order: scikit-learn's shuffled KFold, for classes StratifiedKFold."""
    try:
        from sklearn.model_selection import KFold, StratifiedKFold
    except ImportError as error:
        raise DatasetUnavailable(NO_SKLEARN_FOLDS) from error
    kind = KFold if regression else StratifiedKFold
    folds = kind(validation.folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y)
    held: Indices = [held for _, held in folds][validation.fold]
    return held


def _only(classes: Sequence[int] | None, x: Examples, y: Labels) -> tuple[Examples, Labels]:
    if classes is None:
        return x, y
    new_labels = np.full(256, -1, np.int64)
    new_labels[list(classes)] = np.arange(len(classes))
    kept = new_labels[y] >= 0
    return x[kept], new_labels[y[kept]]


def _order(y: Labels, seed: int, regression: bool) -> Indices:
    """A random order of the examples in which the first m, for every m, have each class in its share, give or take two.

    Each example of a class with n examples draws its place from an interval of its own, [r/n, (r+1)/n). In a
    regression all are of one class.
    """
    random = np.random.default_rng([seed, *b"split"])  # apart from the stream that shuffles the epochs
    classes = np.zeros(len(y), np.int64) if regression else y
    places = np.empty(len(y))
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        # NumPy's generator, seeded: an order of examples, no secret.
        places[members] = (random.permutation(len(members)) + random.random(len(members))) / len(members)  # nosec B311
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

"""Loading or computing whole data sets, and the examples that one job works with."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets import DATASETS, trainable_images
from models.spec.data import (
    FoldValidation,
    ImageDataset,
    PolynomialDataset,
    SpiralDataset,
    SplitValidation,
    TestValidation,
    Validation,
    held_out,
)
from tests.factories.datasets import needs_real_datasets, real_datasets_dir
from worker.data import Dataset, examples_of, find, load, scaling_of, select

NOWHERE = Path("/nowhere")


def made_up(labels: list[int]) -> Dataset:
    """A data set whose every image tells, in its first two pixels, which one it is."""
    x = np.zeros((len(labels), 28, 28, 1), np.uint8)
    x[:, 0, 0, 0] = np.arange(len(labels)) // 256
    x[:, 0, 1, 0] = np.arange(len(labels)) % 256
    y = np.array(labels, np.int64)
    return Dataset(x, y, x[::2], y[::2])


def numbers(x: np.ndarray | None) -> list[int]:
    """Which images of a made-up data set these are."""
    assert x is not None
    return [int(image[0, 0, 0]) * 256 + int(image[0, 1, 0]) for image in x]


def test_importing_it_is_cheap() -> None:
    heavy = "import sys, worker.data; print([m for m in ('tensorflow', 'keras', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digits_need_no_file_and_no_network() -> None:
    facts = DATASETS["digits"]
    assert find(facts, NOWHERE, offline=True).status == "here"
    dataset = load("digits", NOWHERE, True)
    assert dataset.x_train.shape == (facts.train_size, 28, 28, 1)
    assert dataset.x_test.shape == (facts.test_size, 28, 28, 1)
    assert dataset.x_train.dtype == np.uint8
    assert tuple(np.bincount(dataset.y_train)) == facts.train_counts


def test_digits_look_like_mnist() -> None:
    x = load("digits", NOWHERE, True).x_train[..., 0]
    assert (x.max(axis=(1, 2)) == 255).all()
    inked = x > 0
    for inked_lines in (inked.any(axis=1), inked.any(axis=2)):
        assert inked_lines.sum(axis=1).max() <= 20
    rows = np.arange(28)
    weight = x.sum(axis=(1, 2), dtype=float)
    assert (abs((x.sum(axis=2) @ rows) / weight - 14).max()) < 1.5
    assert (abs((x.sum(axis=1) @ rows) / weight - 14).max()) < 1.5


def test_digits_can_be_told_apart() -> None:
    """The nearest training image has the right label for more than 95 % of the test images."""
    dataset = load("digits", NOWHERE, True)
    train = dataset.x_train.reshape(-1, 784).astype(np.float32)
    test = dataset.x_test.reshape(-1, 784).astype(np.float32)
    distances = (train**2).sum(axis=1) - 2 * test @ train.T
    assert (dataset.y_train[distances.argmin(axis=1)] == dataset.y_test).mean() > 0.95


def test_what_is_loaded_stays_and_cannot_be_changed() -> None:
    dataset = load("digits", NOWHERE, True)
    assert load("digits", NOWHERE, True) is dataset
    with pytest.raises(ValueError, match="read-only"):
        dataset.x_train[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        dataset.y_test[0] = 0


@needs_real_datasets()
@pytest.mark.parametrize(
    ("name", "mean", "spread", "first_test_label"),
    [("mnist", 0.1307, 0.3081, 7), ("fashion_mnist", 0.2860, 0.3530, 9)],
)
def test_real_data(name: str, mean: float, spread: float, first_test_label: int) -> None:
    folder, facts = real_datasets_dir(), DATASETS[name]
    assert folder
    assert find(facts, folder, offline=True).status == "here"
    dataset = load(name, folder, True)
    assert dataset.x_train.shape == (60_000, 28, 28, 1)
    assert dataset.x_test.shape == (10_000, 28, 28, 1)
    assert tuple(np.bincount(dataset.y_train)) == facts.train_counts
    assert dataset.y_test[0] == first_test_label
    scale, offset = scaling_of(images(scaling="standard"), dataset.x_train)
    assert 1 / scale / 255 == pytest.approx(spread, abs=5e-5)
    assert -offset / scale / 255 == pytest.approx(mean, abs=5e-5)


@needs_real_datasets()
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_bound_that_the_spec_uses_is_the_number_that_training_gets(name: str) -> None:
    folder = real_datasets_dir()
    assert folder
    validation = SplitValidation(split=0.15)
    split = select(load(name, folder, True), classes=[8, 3, 5], validation=validation)
    count = trainable_images(DATASETS[name], [8, 3, 5])
    assert len(split.x_train) == count - held_out(count, validation)


def test_everything_is_kept_when_nothing_is_asked() -> None:
    dataset = made_up([0, 1, 2] * 5)
    split = select(dataset)
    assert split.x_train is dataset.x_train
    assert split.y_test is dataset.y_test
    assert split.x_val is None
    assert split.y_val is None


def test_a_checksum_stands_for_every_example_and_its_place() -> None:
    dataset = made_up([0, 1, 2] * 5)
    split = select(dataset, validation=SplitValidation(split=0.2), seed=1)
    assert split.sha256() == select(dataset, validation=SplitValidation(split=0.2), seed=1).sha256()
    other = split.x_train.copy()
    other[-1, -1, -1, 0] ^= 1
    different = [
        split,
        select(dataset, validation=SplitValidation(split=0.2), seed=2),
        select(dataset),
        replace(split, x_train=other),
        replace(split, y_test=split.y_test[::-1]),
        replace(split, y_test=split.y_test.astype(np.float32)),
    ]
    assert len({each.sha256() for each in different}) == len(different)


def test_classes_are_relabelled_in_their_order() -> None:
    dataset = made_up([0, 1, 2, 3] * 5)
    split = select(dataset, classes=[3, 1], validation=TestValidation(test=True))
    assert numbers(split.x_train) == [n for n in range(20) if n % 4 in (1, 3)]
    assert list(split.y_train) == [1, 0] * 5
    assert set(numbers(split.x_test)) <= set(range(0, 20, 2))
    assert split.x_val is split.x_test
    assert split.y_val is split.y_test


validations = st.just("none") | st.floats(0.01, 0.9).map(lambda split: SplitValidation(split=split))


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=300),
    validation=validations,
    part=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**32),
)
def test_no_image_is_used_twice_and_none_is_lost(
    labels: list[int], validation: Validation, part: float, seed: int
) -> None:
    dataset = made_up(labels)
    whole = select(dataset, validation=validation, seed=seed)
    kept = numbers(whole.x_train) + (numbers(whole.x_val) if whole.x_val is not None else [])
    assert sorted(kept) == list(range(len(labels)))
    assert whole.y_train.tolist() == [labels[n] for n in numbers(whole.x_train)]
    if whole.y_val is not None:
        assert whole.y_val.tolist() == [labels[n] for n in numbers(whole.x_val)]

    train_size = max(1, int(part * len(whole.x_train)))
    fewer = select(dataset, validation=validation, train_size=train_size, seed=seed)
    assert len(fewer.x_train) == len(fewer.y_train) == train_size
    assert set(numbers(fewer.x_train)) <= set(numbers(whole.x_train))
    assert all(a < b for a, b in pairwise(numbers(fewer.x_train)))
    if whole.x_val is not None:
        assert numbers(fewer.x_val) == numbers(whole.x_val)


@given(
    counts=st.lists(st.integers(1, 80), min_size=2, max_size=6), part=st.floats(0.05, 0.95), seed=st.integers(0, 1000)
)
def test_every_class_gets_its_share(counts: list[int], part: float, seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    size = max(1, round(part * len(labels)))
    split = select(made_up(labels), train_size=size, seed=seed)
    got = np.bincount(split.y_train, minlength=len(counts))
    assert (abs(got - size * np.array(counts) / len(labels)) <= 2).all()


def test_the_seed_decides_which_images() -> None:
    dataset = made_up([0, 1, 2, 3] * 50)
    once, again = (select(dataset, validation=SplitValidation(split=0.2), train_size=60, seed=7) for _ in range(2))
    assert numbers(once.x_train) == numbers(again.x_train)
    assert numbers(once.x_val) == numbers(again.x_val)
    other = select(dataset, validation=SplitValidation(split=0.2), train_size=60, seed=8)
    assert numbers(once.x_train) != numbers(other.x_train)
    assert numbers(once.x_val) != numbers(other.x_val)


@pytest.mark.parametrize("train_size", [0, -1, 91, 10**12])
def test_a_train_size_that_cannot_be(train_size: int) -> None:
    with pytest.raises(ValueError, match=rf"from 1 to 90.*Received: train_size={train_size}"):
        select(made_up([0, 1] * 50), validation=SplitValidation(split=0.1), train_size=train_size)


@given(
    counts=st.lists(st.integers(20, 60), min_size=2, max_size=4),
    folds=st.integers(2, 20),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_folds_of_a_seed_share_nothing_and_miss_nothing(counts: list[int], folds: int, seed: int) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    dataset = made_up(labels)
    held: list[int] = []
    for fold in range(folds):
        validation = FoldValidation(fold=fold, folds=folds)
        split = select(dataset, validation=validation, seed=seed)
        assert split.y_val is not None
        assert len(split.y_val) == held_out(len(labels), validation)
        assert (abs(np.bincount(split.y_val, minlength=len(counts)) - np.array(counts) / folds) <= 1).all()
        assert sorted(numbers(split.x_train) + numbers(split.x_val)) == list(range(len(labels)))
        assert split.y_val.tolist() == [labels[n] for n in numbers(split.x_val)]
        held += numbers(split.x_val)
    assert sorted(held) == list(range(len(labels)))


def test_a_part_of_what_a_fold_leaves() -> None:
    dataset, validation = made_up([0, 1, 2] * 40), FoldValidation(fold=3, folds=5)
    whole = select(dataset, validation=validation, seed=3)
    fewer = select(dataset, validation=validation, train_size=30, seed=3)
    assert numbers(fewer.x_val) == numbers(whole.x_val)
    assert len(fewer.x_train) == 30
    assert set(numbers(fewer.x_train)) < set(numbers(whole.x_train))
    other = select(dataset, validation=validation, seed=4)
    assert numbers(other.x_val) != numbers(whole.x_val)


def test_a_regression_is_split_whatever_its_values() -> None:
    dataset = examples_of(PolynomialDataset(name="polynomial", samples=50), NOWHERE, True)
    held = []
    for fold in range(4):
        split = select(dataset, validation=FoldValidation(fold=fold, folds=4), regression=True)
        assert split.y_val is not None
        held += split.y_val[:, 0].tolist()
    assert sorted(held) == sorted(dataset.y_train[:, 0].tolist())
    split = select(dataset, validation=SplitValidation(split=0.2), train_size=30, regression=True)
    assert (len(split.x_train), split.y_val is not None and split.y_val.shape) == (30, (10, 1))


def test_what_is_computed_is_in_the_form_of_what_is_loaded() -> None:
    spiral = examples_of(SpiralDataset(name="spiral", samples=20, n_classes=4, seed=5), NOWHERE, True)
    assert spiral.x_train.shape == spiral.x_test.shape == (80, 2)
    assert (str(spiral.x_train.dtype), str(spiral.y_train.dtype)) == ("float32", "int64")
    assert set(spiral.y_test.tolist()) == {0, 1, 2, 3}
    following = examples_of(SpiralDataset(name="spiral", samples=20, n_classes=4, seed=6), NOWHERE, True)
    assert np.array_equal(spiral.x_test, following.x_train)
    polynomial = examples_of(PolynomialDataset(name="polynomial", samples=7), NOWHERE, True)
    assert (polynomial.x_train.shape, polynomial.y_train.shape) == ((7, 1), (7, 1))
    assert (polynomial.y_test.shape, str(polynomial.y_test.dtype)) == ((200, 1), "float32")
    with pytest.raises(ValueError, match="read-only"):
        spiral.x_train[0] = 0


def images(**fields: str) -> ImageDataset:
    return ImageDataset.model_validate({"name": "mnist", **fields})


def test_scaling() -> None:
    x = np.random.default_rng(0).integers(0, 200, (3000, 28, 28, 1)).astype(np.uint8)
    scale, offset = scaling_of(images(scaling="standard"), x)
    scaled = x * scale + offset
    assert scaled.mean() == pytest.approx(0, abs=1e-9)
    assert scaled.std() == pytest.approx(1, abs=1e-9)
    assert scaling_of(images(), x) == (1 / 255, 0.0)
    assert scaling_of(images(scaling="none"), x) == (1.0, 0.0)


def test_scaling_of_features() -> None:
    x = np.random.default_rng(0).uniform(0, 10, (30, 1)).astype(np.float32)
    scale, offset = scaling_of(PolynomialDataset(name="polynomial"), x)
    assert (x * scale + offset).mean() == pytest.approx(0, abs=1e-6)
    assert (x * scale + offset).std() == pytest.approx(1, abs=1e-6)
    assert scaling_of(PolynomialDataset(name="polynomial", standardize=False), x) == (1.0, 0.0)
    assert scaling_of(SpiralDataset(name="spiral"), x) == (1.0, 0.0)


def test_scaling_of_images_that_are_all_the_same() -> None:
    assert scaling_of(images(scaling="standard"), np.full((2, 28, 28, 1), 9, np.uint8)) == (1.0, -9.0)

"""The facts about data sets agree with each other, and so does the arithmetic on them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets import DATASETS, DatasetFacts, trainable_images, validation_images


@pytest.mark.parametrize("facts", DATASETS.values(), ids=lambda facts: facts.name)
def test_facts_agree(facts: DatasetFacts) -> None:
    assert DATASETS[facts.name] is facts
    assert len(set(facts.classes)) == len(facts.classes) == len(facts.train_counts) == 10
    assert sum(facts.train_counts) == facts.train_size
    assert facts.shape == (28, 28, 1)
    sizes = {file.part: file.count for file in facts.files}
    for part, size in sizes.items():
        assert size == (facts.train_size if part.endswith("train") else facts.test_size)
    assert len({file.md5 for file in facts.files}) == len(facts.files)


def test_what_every_user_relies_on() -> None:
    assert set(DATASETS) == {"mnist", "fashion_mnist", "digits"}
    assert DATASETS["fashion_mnist"].classes[9] == "Ankle boot"
    assert [facts.recipe for facts in DATASETS.values()] == ["digit", "plain", "digit"]
    assert not DATASETS["digits"].downloadable
    assert DATASETS["mnist"].downloadable


@given(st.integers(1, 100_000), st.floats(0.0, 1.0, exclude_min=True, exclude_max=True))
def test_a_validation_split_leaves_something_on_both_sides(count: int, split: float) -> None:
    held_back = validation_images(count, split)
    assert 0 <= held_back < count
    assert held_back >= min(1, count - 1)
    assert abs(held_back - count * split) <= 1


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [("mnist", None, 60_000), ("mnist", [3, 8], 11_982), ("fashion_mnist", [9], 6_000), ("digits", None, 1_442)],
)
def test_how_many_images_there_are_to_train_on(name: str, classes: list[int] | None, expected: int) -> None:
    assert trainable_images(DATASETS[name], classes) == expected

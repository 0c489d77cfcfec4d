"""The data sets of a spec: defaults, what follows from them, and mistakes with their place."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from models.spec import SpecError, data, parse_spec, summarize
from models.spec.data import (
    Dataset,
    class_labels_of,
    class_names_of,
    dataset_named,
    is_regression,
    recipe_of,
    shape_of,
    split_sizes,
    train_count,
)
from models.spec.network import last_activation
from tests.models.spec.data_strategies import datasets
from tests.models.spec.network_strategies import Body

NAMES = "mnist, fashion_mnist, digits, spiral, polynomial"
IMAGES_ONLY = [("classes", [0, 1]), ("scaling", "unit"), ("augmentation", None)]


def of(**fields: Any) -> Dataset:
    return parse_spec({"dataset": fields, "metrics": []}).dataset


def test_a_name_is_enough() -> None:
    assert dataset_named("spiral").model_dump(mode="json") == {
        "name": "spiral",
        "samples": 100,
        "n_classes": 3,
        "seed": 0,
        "validation": "none",
        "train_size": None,
    }
    assert dataset_named("polynomial").model_dump(mode="json") == {
        "name": "polynomial",
        "degree": 3,
        "samples": 15,
        "noise": 0.3,
        "seed": 0,
        "standardize": True,
        "validation": {"test": True},
        "train_size": None,
    }
    assert dataset_named("mnist").model_dump(mode="json") == {
        "name": "mnist",
        "validation": {"split": 0.1},
        "train_size": None,
        "classes": None,
        "scaling": "unit",
        "augmentation": None,
    }


def test_what_follows_from_the_spiral() -> None:
    spiral = of(name="spiral", n_classes=4, samples=30)
    assert (shape_of(spiral), recipe_of(spiral), is_regression(spiral)) == ((2,), None, False)
    assert (class_labels_of(spiral), class_names_of(spiral)) == ([0, 1, 2, 3], ["0", "1", "2", "3"])
    assert (train_count(spiral), data.test_count(spiral), split_sizes(spiral)) == (120, 120, (120, 0))


def test_what_follows_from_the_polynomial() -> None:
    polynomial = of(name="polynomial", samples=20)
    assert (shape_of(polynomial), recipe_of(polynomial), is_regression(polynomial)) == ((1,), None, True)
    assert (class_labels_of(polynomial), class_names_of(polynomial)) == ([], [])
    assert split_sizes(polynomial) == (20, 200)


def test_a_preset_ends_in_what_the_data_need() -> None:
    spiral = parse_spec({"dataset": "spiral"})
    assert summarize(spiral).layers[-1].output_shape == (3,)
    polynomial = parse_spec({"dataset": "polynomial"})
    assert (summarize(polynomial).layers[-1].output_shape, polynomial.loss.type) == ((1,), "mean_squared_error")
    assert last_activation(polynomial.nodes) == "linear"


@pytest.mark.parametrize(
    ("validation", "sizes"),
    [
        ({"fold": 0, "folds": 7}, (257, 43)),
        ({"fold": 6, "folds": 7}, (258, 42)),
        ({"split": 0.25}, (225, 75)),
        ({"test": True}, (300, 300)),
        ("none", (300, 0)),
    ],
)
def test_how_many_examples_train_and_validate(validation: Any, sizes: tuple[int, int]) -> None:
    assert split_sizes(of(name="spiral", validation=validation)) == sizes


@given(datasets())
def test_sizes_make_sense_and_the_normalised_form_is_stable(body: Body) -> None:
    dataset = of(**body)
    training, validation = split_sizes(dataset)
    assert 0 < training <= train_count(dataset)
    assert validation >= 0
    assert of(**dataset.model_dump(mode="json")) == dataset
    assert np.prod(shape_of(dataset)) in (784, 2, 1)


BAD: list[tuple[Any, str, str]] = [
    ("spirl", "/dataset", "unknown_value"),
    ({"name": "spirl"}, "/dataset/name", "unknown_value"),
    ({"name": None}, "/dataset/name", "unknown_value"),
    ({"name": ["spiral"]}, "/dataset/name", "unknown_value"),
    ({"samples": 3}, "/dataset/name", "missing"),
    ({"name": "spiral", "sampels": 3}, "/dataset/sampels", "unknown_key"),
    *(({"name": "spiral", key: value}, f"/dataset/{key}", "unknown_key") for key, value in IMAGES_ONLY),
    *(({"name": "polynomial", key: value}, f"/dataset/{key}", "unknown_key") for key, value in IMAGES_ONLY),
    ({"name": "mnist", "seed": 3}, "/dataset/seed", "unknown_key"),
    ({"name": "mnist", "samples": 3}, "/dataset/samples", "unknown_key"),
    ({"name": "spiral", "degree": 3}, "/dataset/degree", "unknown_key"),
    ({"name": "spiral", "samples": 1}, "/dataset/samples", "too_small"),
    ({"name": "spiral", "samples": 10_001}, "/dataset/samples", "too_large"),
    ({"name": "spiral", "samples": 10.0}, "/dataset/samples", "wrong_type"),
    ({"name": "spiral", "n_classes": 1}, "/dataset/n_classes", "too_small"),
    ({"name": "spiral", "n_classes": 11}, "/dataset/n_classes", "too_large"),
    ({"name": "spiral", "n_classes": True}, "/dataset/n_classes", "wrong_type"),
    ({"name": "spiral", "seed": -1}, "/dataset/seed", "too_small"),
    ({"name": "spiral", "seed": 2**31 - 1}, "/dataset/seed", "too_large"),
    ({"name": "spiral", "train_size": 301}, "/dataset/train_size", "too_large"),
    ({"name": "spiral", "train_size": 241, "validation": {"fold": 1, "folds": 5}}, "/dataset/train_size", "too_large"),
    ({"name": "polynomial", "degree": 0}, "/dataset/degree", "too_small"),
    ({"name": "polynomial", "degree": 11}, "/dataset/degree", "too_large"),
    ({"name": "polynomial", "degree": 2.5}, "/dataset/degree", "wrong_type"),
    ({"name": "polynomial", "noise": -0.1}, "/dataset/noise", "too_small"),
    ({"name": "polynomial", "noise": float("nan")}, "/dataset/noise", "not_finite"),
    ({"name": "polynomial", "standardize": "yes"}, "/dataset/standardize", "wrong_type"),
    ({"name": "mnist", "validation": {"fold": 5, "folds": 5}}, "/dataset/validation/fold", "too_large"),
    ({"name": "mnist", "validation": {"fold": -1, "folds": 5}}, "/dataset/validation/fold", "too_small"),
    ({"name": "mnist", "validation": {"fold": 0, "folds": 1}}, "/dataset/validation/folds", "too_small"),
    ({"name": "mnist", "validation": {"fold": 0, "folds": 21}}, "/dataset/validation/folds", "too_large"),
    ({"name": "mnist", "validation": {"fold": 0}}, "/dataset/validation/folds", "missing"),
    ({"name": "mnist", "validation": {"folds": 5}}, "/dataset/validation/fold", "missing"),
    ({"name": "mnist", "validation": {"folds": 5, "split": 0.1}}, "/dataset/validation", "invalid"),
    ({"name": "spiral", "samples": 4, "validation": {"fold": 0, "folds": 5}}, "/dataset/validation/folds", "too_large"),
    (
        {"name": "polynomial", "samples": 4, "validation": {"fold": 0, "folds": 5}},
        "/dataset/validation/folds",
        "too_large",
    ),
    ({"name": "mnist", "augmentation": 0.1}, "/dataset/augmentation", "wrong_type"),
    ({"name": "mnist", "augmentation": {"rotate": 0.1}}, "/dataset/augmentation/rotate", "unknown_key"),
    ({"name": "mnist", "augmentation": {"rotation": 0.51}}, "/dataset/augmentation/rotation", "too_large"),
    ({"name": "mnist", "augmentation": {"translation": -0.1}}, "/dataset/augmentation/translation", "too_small"),
    ({"name": "mnist", "augmentation": {"zoom": "0.1"}}, "/dataset/augmentation/zoom", "wrong_type"),
    ({"name": "mnist", "augmentation": {"noise": 1.5}}, "/dataset/augmentation/noise", "too_large"),
]


@pytest.mark.parametrize(("dataset", "pointer", "code"), BAD, ids=[f"{n}{row[1]}" for n, row in enumerate(BAD)])
def test_a_bad_data_set_is_answered_with_its_place(dataset: Any, pointer: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"dataset": dataset})
    found = caught.value.problems
    assert [(problem.pointer, problem.code) for problem in found] == [(pointer, code)]
    assert "Received: " in found[0].detail


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("spirl", f'dataset must be one of {NAMES} (did you mean spiral?). Received: dataset="spirl"'),
        ({}, f"name is missing: give one of {NAMES}. Received: nothing"),
        (
            {"name": "spiral", "sampels": 3},
            "sampels is not a known key (did you mean samples?). Received: sampels=3",
        ),
        (
            {"name": "spiral", "classes": [0, 1]},
            "classes is not a known key (did you mean n_classes?). Received: classes=[0, 1]",
        ),
    ],
)
def test_the_sentence_says_what_there_is(dataset: Any, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"dataset": dataset})
    assert [problem.detail for problem in caught.value.problems] == [sentence]


def test_a_regression_has_no_class_to_weigh() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"dataset": "polynomial", "metrics": [], "class_weight": {"0": 2.0}})
    assert [problem.pointer for problem in caught.value.problems] == ["/class_weight"]


def test_a_spec_stored_before_there_was_augmentation_still_holds() -> None:
    stored = {"name": "digits", "validation": {"split": 0.1}, "train_size": None, "classes": None, "scaling": "unit"}
    assert of(**stored) == dataset_named("digits")

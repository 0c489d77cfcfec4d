"""Outputs become answers in the form of the HTTP contract."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from api.inference.answers import answer
from api.inference.recipe import Seen

DIGITS = [str(digit) for digit in range(10)]


def test_several_classes() -> None:
    outputs = np.full((2, 10), 0.002, np.float32)
    outputs[0, 7] = outputs[1, 0] = 0.982
    answers = answer(outputs, list(range(10)), DIGITS)
    assert [(one["label"], one["class_name"], one["probability"]) for one in answers] == [
        (7, "7", 0.982),
        (0, "0", 0.982),
    ]
    assert answers[0]["probabilities"] == [0.002] * 7 + [0.982] + [0.002] * 2
    assert set(answers[0]) == {"label", "class_name", "probability", "probabilities"}
    json.dumps(answers)


def test_a_subset_of_the_classes_answers_with_the_original_labels() -> None:
    answers = answer(np.array([[0.25, 0.75]], np.float32), [3, 8], ["3", "8"])
    assert answers == [{"label": 8, "class_name": "8", "probability": 0.75, "probabilities": [0.25, 0.75]}]


@pytest.mark.parametrize(("output", "label", "probability"), [(0.75, 8, 0.75), (0.125, 3, 0.875)])
def test_one_sigmoid_output_is_two_probabilities(output: float, label: int, probability: float) -> None:
    [only] = answer(np.array([[output]], np.float32), [3, 8], ["three", "eight"])
    assert (only["label"], only["probability"]) == (label, probability)
    assert only["class_name"] == {3: "three", 8: "eight"}[label]
    assert only["probabilities"] == [1 - output, output]


def test_regression_answers_a_value() -> None:
    assert answer(np.array([[1.5], [-2]], np.float32), [], []) == [{"value": 1.5}, {"value": -2.0}]


def test_what_was_seen_is_shown() -> None:
    pixels = np.arange(784, dtype=np.float32).reshape(28, 28) % 256
    seen = Seen(pixels, ["inverted"], ["too small"])
    [only] = answer(np.eye(10, dtype=np.float32)[:1], list(range(10)), DIGITS, [seen])
    shown = only["seen"]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["png"])))), pixels)
    assert (shown["steps"], shown["warnings"]) == (["inverted"], ["too small"])
    json.dumps(only)


def test_numbers_that_do_not_agree_are_an_error() -> None:
    with pytest.raises(ValueError, match="3, 10 and 10"):
        answer(np.zeros((1, 3), np.float32), list(range(10)), DIGITS)

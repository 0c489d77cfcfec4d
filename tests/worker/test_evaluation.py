"""Confusion matrix, precision, recall, f1 and the worst mistakes, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from worker.evaluation import classes_of, evaluate_classes


def test_it_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(4), 200).astype(np.float32)
    truth = rng.integers(0, 4, 200)
    found = evaluate_classes(outputs, truth, [0, 1, 2, 3], list("abcd"))
    predicted = outputs.argmax(axis=1)
    assert found["confusion_matrix"] == confusion_matrix(truth, predicted).tolist()
    expected = precision_recall_fscore_support(truth, predicted)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [entry[name] for entry in found["classes"]] == pytest.approx(values.tolist())
    worst = found["worst_mistakes"]
    assert len(worst) == 20
    assert [entry["probability"] for entry in worst] == sorted((e["probability"] for e in worst), reverse=True)
    assert all(truth[e["index"]] == e["label"] != e["predicted"] == predicted[e["index"]] for e in worst)


def test_one_sigmoid_unit_means_the_second_class() -> None:
    outputs = np.array([[0.9], [0.2], [0.5], [0.1]], np.float32)
    assert classes_of(outputs).tolist() == [1, 0, 1, 0]
    found = evaluate_classes(outputs, np.array([1, 0, 0, 1]), [3, 8], ["3", "8"])
    assert found["confusion_matrix"] == [[1, 1], [1, 1]]
    assert [(e["index"], e["label"], e["predicted"]) for e in found["worst_mistakes"]] == [(3, 8, 3), (2, 3, 8)]
    assert found["worst_mistakes"][0]["probability"] == pytest.approx(0.9)


def test_a_class_that_never_occurs_has_no_precision() -> None:
    found = evaluate_classes(np.array([[1.0, 0.0]]), np.array([0]), [3, 8], ["3", "8"])
    assert found["classes"][1] == {
        "label": 8,
        "class_name": "8",
        "precision": None,
        "recall": None,
        "f1": None,
        "support": 0,
    }

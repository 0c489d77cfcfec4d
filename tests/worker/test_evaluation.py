"""What is said of a trained model: a classifier and a regression, against scikit-learn and NumPy."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, r2_score

from worker.evaluation import classes_of, evaluate_classes, evaluate_values


def test_it_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(4), 200).astype(np.float32)
    truth = rng.integers(0, 4, 200)
    found = evaluate_classes(outputs, truth, [0, 1, 2, 3], list("abcd"))
    predicted = outputs.argmax(axis=1)
    assert found["kind"] == "classification"
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


def test_residuals_of_a_regression() -> None:
    random = np.random.default_rng(3)
    x = np.linspace(0, 10, 501)[:, None]
    truth = np.sin(x)
    predicted = truth + random.normal(0.5, 0.2, truth.shape)
    found = evaluate_values(predicted, truth, x)
    residuals = (truth - predicted)[:, 0]
    assert found["kind"] == "regression"
    assert found["r2"] == pytest.approx(r2_score(truth, predicted))
    told = found["residuals"]
    assert (told["mean"], told["standard_deviation"]) == pytest.approx((residuals.mean(), residuals.std()))
    assert (told["quantiles"]["0"], told["quantiles"]["0.5"], told["quantiles"]["1"]) == pytest.approx(
        (residuals.min(), np.median(residuals), residuals.max())
    )
    edges, counts = told["histogram"]["edges"], told["histogram"]["counts"]
    assert sum(counts) == 501
    assert (edges[0], edges[-1], len(edges)) == (residuals.min(), residuals.max(), len(counts) + 1)
    shown = found["examples"]
    assert (len(shown), shown[0]["x"], shown[-1]["x"]) == (200, 0.0, 10.0)
    gaps = np.diff([example["x"] for example in shown])
    assert gaps.max() <= 0.061
    assert shown[7]["predicted"] == pytest.approx(predicted[np.flatnonzero(x[:, 0] == shown[7]["x"])[0], 0])


def test_a_truth_that_does_not_vary_has_no_share_explained() -> None:
    found = evaluate_values(np.array([[1.0], [2.0]]), np.array([[3.0], [3.0]]), np.array([[0.0], [1.0]]))
    assert found["r2"] is None
    assert [example["truth"] for example in found["examples"]] == [3.0, 3.0]

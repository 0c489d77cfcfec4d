"""What a trained model does on its test set: the confusion matrix of a classifier, the residuals of a regression."""

from typing import Any

import numpy as np

WORST = 20
MOST_EXAMPLES = 200
BINS = 20
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def classes_of(outputs: np.ndarray) -> np.ndarray:
    """The class each row of `outputs` (n, k) means: the largest, or for one sigmoid unit (n, 1) 1 from a half on."""
    predicted: np.ndarray = (outputs[:, 0] >= 0.5).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return predicted


def evaluate_classes(outputs: np.ndarray, truth: np.ndarray, labels: list[int], names: list[str]) -> dict[str, Any]:
    """Confusion matrix (rows: true class), precision, recall and f1 by class, and the worst mistakes.

    Args:
        outputs: probabilities (n, k), or (n, 1) for a sigmoid unit.
        truth: positions (n,) of the true classes in `labels`.
        labels: the data set's own label of each class.
        names: the name of each class.

    A precision or recall without any case is null.
    """
    predicted = classes_of(outputs)
    count = len(labels)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    by_class = []
    for n, (label, name) in enumerate(zip(labels, names, strict=True)):
        hits, answered, present = int(confusion[n, n]), int(confusion[:, n].sum()), int(confusion[n].sum())
        by_class.append(
            {
                "label": label,
                "class_name": name,
                "precision": hits / answered if answered else None,
                "recall": hits / present if present else None,
                "f1": 2 * hits / (answered + present) if answered + present else None,
                "support": present,
            }
        )
    return {
        "kind": "classification",
        "confusion_matrix": confusion.tolist(),
        "classes": by_class,
        "worst_mistakes": _worst(outputs, predicted, truth, labels),
    }


def evaluate_values(outputs: np.ndarray, truth: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """Residuals (truth less prediction), the share of variance explained, and examples evenly spread over the test set.

    Args:
        outputs: predicted values (n, 1).
        truth: values (n, 1).
        x: the one feature (n, 1) that they were predicted from.

    `r2` is 1 - sum of squared residuals / sum of squared deviations of the truth from its mean; null when the truth
    does not vary. Quantiles are keyed by their share.
    """
    predicted, true = outputs[:, 0].astype(np.float64), truth[:, 0].astype(np.float64)
    residuals = true - predicted
    counts, edges = np.histogram(residuals, bins=BINS)
    varied = float(np.sum((true - true.mean()) ** 2))
    shown = np.unique(np.linspace(0, len(true) - 1, min(MOST_EXAMPLES, len(true))).round().astype(np.int64))
    return {
        "kind": "regression",
        "residuals": {
            "mean": float(residuals.mean()),
            "standard_deviation": float(residuals.std()),
            "quantiles": {f"{share:g}": float(np.quantile(residuals, share)) for share in QUANTILES},
            "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        },
        "r2": 1 - float(np.sum(residuals**2)) / varied if varied else None,
        "examples": [
            {"x": float(x[n, 0]), "truth": float(true[n]), "predicted": float(predicted[n])} for n in shown.tolist()
        ],
    }


def _worst(outputs: np.ndarray, predicted: np.ndarray, truth: np.ndarray, labels: list[int]) -> list[dict[str, Any]]:
    """The wrong answers given with the most confidence; `index` counts the test set from 0."""
    sure = np.maximum(outputs[:, 0], 1 - outputs[:, 0]) if outputs.shape[1] == 1 else outputs.max(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST]
    return [
        {
            "index": int(n),
            "label": labels[truth[n]],
            "predicted": labels[predicted[n]],
            "probability": round(float(sure[n]), 6),
        }
        for n in worst
    ]

"""What a trained classifier does on its test set: the confusion matrix and what follows from it."""

from typing import Any

import numpy as np

WORST = 20


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
        "confusion_matrix": confusion.tolist(),
        "classes": by_class,
        "worst_mistakes": _worst(outputs, predicted, truth, labels),
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

"""From a model's outputs to the answer that a client reads."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from api.inference.recipe import Seen

Float32 = npt.NDArray[np.float32]

DIGITS = 7  # what float32 is good for


def answer(
    outputs: Float32, labels: Sequence[int], class_names: Sequence[str], seen: Sequence[Seen] | None = None
) -> list[dict[str, Any]]:
    """One answer for each row of `outputs`, shape (n, k), in the form of the HTTP contract.

    `labels` and `class_names` run parallel, one for each class of the model in the order of its outputs: a model
    of the classes [3, 8] has labels [3, 8] and answers 3 or 8. One sigmoid output stands for two classes: it is the
    probability of the second. No labels at all means regression. `seen`, when given, is shown with each answer.
    """
    if not labels:
        # The shortest decimal that means the same float32.
        answers: list[dict[str, Any]] = [{"value": float(str(value))} for value in outputs[:, 0]]
    else:
        answers = _classified(outputs, labels, class_names)
    if seen is not None:
        for one, what in zip(answers, seen, strict=True):
            one["seen"] = show(what)
    return answers


def _classified(outputs: Float32, labels: Sequence[int], class_names: Sequence[str]) -> list[dict[str, Any]]:
    if outputs.shape[1] == 1 and len(labels) == 2:
        outputs = np.concatenate([1 - outputs, outputs], axis=1)
    if not outputs.shape[1] == len(labels) == len(class_names):
        raise ValueError(
            "outputs, labels and class_names should agree in number. "
            f"Received: {outputs.shape[1]}, {len(labels)} and {len(class_names)}"
        )
    return [
        {
            "label": labels[best],
            "class_name": class_names[best],
            "probability": probabilities[best],
            "probabilities": probabilities,
        }
        for best, probabilities in zip(outputs.argmax(axis=1).tolist(), _rounded(outputs), strict=True)
    ]


def _rounded(values: Float32) -> Any:
    return np.round(values.astype(np.float64), DIGITS).tolist()


def show(seen: Seen) -> dict[str, Any]:
    """`seen` as JSON has it: the pixels as a PNG file in base64, the steps and the warnings."""
    file = io.BytesIO()
    Image.fromarray(np.rint(seen.pixels).astype(np.uint8)).save(file, "PNG")
    return {
        "png": base64.b64encode(file.getvalue()).decode("ascii"),
        "steps": list(seen.steps),
        "warnings": list(seen.warnings),
    }

"""The examples that a job which does not train puts through its network, with labels as the loss wants them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.spec import JobSpec, output_kind
from worker.data import Split


class Batch(NamedTuple):
    """Raw inputs float32 (n, ...), and labels as `models.spec.output_kind` says."""

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]


def draw_batch(spec: JobSpec, split: Split, examples: int) -> Batch:
    """`examples` of the training examples, or all if there are fewer; which ones follows from the seed."""
    count = len(split.x_train)
    # The computed data sets are in the order of their classes.
    chosen = np.random.default_rng([spec.seed, *b"batch"]).permutation(count)[:examples]
    return Batch(split.x_train[chosen].astype(np.float32), _labels(spec, split.y_train[chosen]))


def _labels(spec: JobSpec, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    kind = output_kind(spec)
    if kind.labels == "integer":
        return y
    if kind.labels == "one_hot":
        return np.eye(kind.outputs, dtype=np.float32)[y]
    return y.astype(np.float32).reshape(len(y), -1)

"""How labels go into the loss of a valid spec, and what the outputs of its network mean."""

from typing import Literal

from pydantic import BaseModel

from models.spec.data import class_labels_of, is_regression, shape_of
from models.spec.job import JobSpec
from models.spec.network import last_activation
from models.spec.shapes import trace
from models.spec.training import (
    BinaryCrossentropy,
    CategoricalHinge,
    Hinge,
    SparseCategoricalCrossentropy,
    wants_scores,
)

Labels = Literal["one_hot", "integer", "binary", "value"]


class OutputKind(BaseModel):
    """How labels go into the loss, and what the network's outputs mean."""

    outputs: int
    """Width of the last layer."""
    labels: Labels
    """As the loss wants them: rows of 0 and 1, positions in `class_labels`, one column of 0 and 1, or of values."""
    serving_activation: Literal["softmax", "sigmoid"] | None
    """What the served network adds after the last layer, where that gives scores and not probabilities."""
    class_labels: list[int]
    """The data set's own labels in the order of the outputs; one output means the second. None for a regression."""


def class_labels(spec: JobSpec) -> list[int]:
    """The data set's own labels in the order of the network's outputs; none for a regression."""
    return class_labels_of(spec.dataset)


def output_kind(spec: JobSpec) -> OutputKind:
    """How the outputs of `spec`, which must be valid, are to be read."""
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    outputs = layers[-1].output_shape[0]
    return OutputKind(
        outputs=outputs,
        labels=_labels(spec, outputs),
        serving_activation=_added(spec, outputs),
        class_labels=class_labels(spec),
    )


def _labels(spec: JobSpec, outputs: int) -> Labels:
    if is_regression(spec.dataset):
        return "value"
    if isinstance(spec.loss, SparseCategoricalCrossentropy):
        return "integer"
    return "binary" if outputs == 1 else "one_hot"


def _added(spec: JobSpec, outputs: int) -> Literal["softmax", "sigmoid"] | None:
    if not wants_scores(spec.loss):
        return None
    if isinstance(spec.loss, Hinge | CategoricalHinge) and last_activation(spec.nodes) in ("softmax", "sigmoid"):
        return None
    return "sigmoid" if outputs == 1 or isinstance(spec.loss, BinaryCrossentropy) else "softmax"

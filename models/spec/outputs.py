"""How labels go into the loss of a valid spec, and what the outputs of its network mean."""

from typing import Literal, assert_never

from pydantic import BaseModel

from models.spec.data import class_labels_of, shape_of
from models.spec.job import JobSpec
from models.spec.shapes import trace
from models.spec.training import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy


class OutputKind(BaseModel):
    """How labels go into the loss, and what the network's outputs mean."""

    outputs: int
    """Width of the last layer."""
    labels: Literal["one_hot", "integer", "binary"]
    """As the loss wants them: rows of 0 and 1, positions in `class_labels`, or one column of 0 and 1."""
    serving_activation: Literal["softmax", "sigmoid"] | None
    """What the served network adds after the last layer, where the loss is from logits."""
    class_labels: list[int]
    """The data set's own labels in the order of the outputs; one output means the second."""


def class_labels(spec: JobSpec) -> list[int]:
    """The data set's own labels in the order of the network's outputs."""
    return class_labels_of(spec.dataset)


def output_kind(spec: JobSpec) -> OutputKind:
    """How the outputs of `spec`, which must be valid, are to be read."""
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    outputs, labels = layers[-1].output_shape[0], class_labels(spec)
    activation: Literal["softmax", "sigmoid"] | None = None
    kind: Literal["one_hot", "integer", "binary"] = "binary" if outputs == 1 else "one_hot"
    match spec.loss:
        case SparseCategoricalCrossentropy(from_logits=from_logits):
            kind, activation = "integer", "softmax" if from_logits else None
        case CategoricalCrossentropy(type=name, from_logits=True):
            activation = "sigmoid" if name == "binary_crossentropy" else "softmax"
        case CategoricalCrossentropy() | MeanSquaredError():
            pass
        case _:
            assert_never(spec.loss)
    return OutputKind(outputs=outputs, labels=kind, serving_activation=activation, class_labels=labels)

"""From a spec's loss to Keras's."""

from typing import assert_never

import keras

from models.spec import JobSpec
from models.spec.training import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    Huber,
    KlDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)


def build_loss(spec: JobSpec) -> keras.losses.Loss:
    """The loss; its labels come as `models.spec.output_kind` says."""
    match spec.loss:
        case MeanSquaredError():
            return keras.losses.MeanSquaredError()
        case MeanAbsoluteError():
            return keras.losses.MeanAbsoluteError()
        case Huber(delta=delta):
            return keras.losses.Huber(delta)
        case KlDivergence():
            return keras.losses.KLDivergence()
        case CategoricalCrossentropy(from_logits=from_logits, label_smoothing=smoothing):
            return keras.losses.CategoricalCrossentropy(from_logits, smoothing)
        case SparseCategoricalCrossentropy(from_logits=from_logits):
            return keras.losses.SparseCategoricalCrossentropy(from_logits)
        case BinaryCrossentropy(from_logits=from_logits, label_smoothing=smoothing):
            return keras.losses.BinaryCrossentropy(from_logits, smoothing)
        case Hinge():
            return keras.losses.Hinge()
        case CategoricalHinge():
            return keras.losses.CategoricalHinge()
        case _:
            assert_never(spec.loss)

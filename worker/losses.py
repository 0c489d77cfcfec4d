"""From a spec's loss and metrics to Keras's."""

from typing import assert_never

import keras

from models.spec import JobSpec, output_kind
from models.spec.training import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy


def build_loss(spec: JobSpec) -> keras.losses.Loss:
    """The loss; its labels come as `models.spec.output_kind` says."""
    match spec.loss:
        case CategoricalCrossentropy(type="categorical_crossentropy") as loss:
            return keras.losses.CategoricalCrossentropy(
                from_logits=loss.from_logits, label_smoothing=loss.label_smoothing
            )
        case CategoricalCrossentropy() as loss:
            return keras.losses.BinaryCrossentropy(from_logits=loss.from_logits, label_smoothing=loss.label_smoothing)
        case SparseCategoricalCrossentropy(from_logits=from_logits):
            return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        case MeanSquaredError():
            return keras.losses.MeanSquaredError()
        case _:
            assert_never(spec.loss)


def build_metrics(spec: JobSpec) -> list[keras.metrics.Metric]:
    """Fresh metrics, named as in the spec, for labels as `models.spec.output_kind` says."""
    kind = output_kind(spec)
    metrics = []
    for name in spec.metrics:
        match kind.labels:
            case "integer":
                metrics.append(keras.metrics.SparseCategoricalAccuracy(name=name))
            case "one_hot":
                metrics.append(keras.metrics.CategoricalAccuracy(name=name))
            case "binary":
                # A probability of one half is a logit of zero.
                threshold = 0.0 if kind.serving_activation else 0.5
                metrics.append(keras.metrics.BinaryAccuracy(name=name, threshold=threshold))
            case _:
                assert_never(kind.labels)
    return metrics

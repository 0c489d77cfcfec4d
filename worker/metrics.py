"""From a spec's metrics to Keras's, for labels and outputs as loss and network give them."""

from typing import Any, assert_never

import keras
import numpy as np
import tensorflow as tf

from models.spec import JobSpec, OutputKind, output_kind
from models.spec.training import Metric, TopKCategoricalAccuracy, metric_name

HALF = 0.5


def build_metrics(spec: JobSpec) -> list[keras.metrics.Metric]:
    """Fresh metrics, each under its name in the spec, for labels as `models.spec.output_kind` says.

    precision, recall, f1 and auc are means over the classes (macro), a class that was never predicted or never occurs
    counting 0; with one output they are of the second class, as Keras has it. They and the errors compare one-hot
    labels, or the column of labels, with what would be served.
    """
    kind = output_kind(spec)
    return [_build(metric, kind) for metric in spec.metrics]


def _build(metric: Metric, kind: OutputKind) -> keras.metrics.Metric:
    name = metric_name(metric)
    if isinstance(metric, TopKCategoricalAccuracy):
        if kind.labels == "integer":
            return keras.metrics.SparseTopKCategoricalAccuracy(metric.k, name)
        return keras.metrics.TopKCategoricalAccuracy(metric.k, name)
    match metric:
        case "accuracy":
            return _accuracy(kind, name)
        case "precision":
            inner = keras.metrics.Precision(HALF) if kind.outputs == 1 else MacroPrecision()
        case "recall":
            inner = keras.metrics.Recall(HALF) if kind.outputs == 1 else MacroRecall()
        case "f1":
            inner = keras.metrics.F1Score("macro", HALF if kind.outputs == 1 else None)
        case "auc":
            several = kind.outputs > 1
            inner = keras.metrics.AUC(multi_label=several, num_labels=kind.outputs if several else None)
        case "mean_absolute_error":
            inner = keras.metrics.MeanAbsoluteError()
        case "mean_squared_error":
            inner = keras.metrics.MeanSquaredError()
        case _:
            assert_never(metric)
    return ServedMetric(inner, kind, name)


def _accuracy(kind: OutputKind, name: str) -> keras.metrics.Metric:
    match kind.labels:
        case "integer":
            return keras.metrics.SparseCategoricalAccuracy(name)
        case "one_hot":
            return keras.metrics.CategoricalAccuracy(name)
        case "binary":
            # A probability of one half is a score of zero.
            return keras.metrics.BinaryAccuracy(name, threshold=0.0 if kind.serving_activation else HALF)
        case "value":
            raise ValueError("accuracy needs classes.")
        case _:
            assert_never(kind.labels)


class MacroPrecision(keras.metrics.FBetaScore):
    """The mean over classes of right answers / answers, from the sums that Keras's FBetaScore keeps."""

    def result(self) -> Any:
        return _mean_share(self.true_positives, self.false_positives)


class MacroRecall(keras.metrics.FBetaScore):
    """The mean over classes of right answers / occurrences, from the sums that Keras's FBetaScore keeps."""

    def result(self) -> Any:
        return _mean_share(self.true_positives, self.false_negatives)


def _mean_share(hits: Any, misses: Any) -> Any:
    return tf.reduce_mean(tf.math.divide_no_nan(hits.value, hits.value + misses.value))


class ServedMetric(keras.metrics.Metric):
    """A metric of Keras's that is given one-hot labels, and outputs as they would be served.

    Args:
        metric: what is measured.
        kind: how labels and outputs come.
        name: in the logs.
    """

    def __init__(self, metric: keras.metrics.Metric, kind: OutputKind, name: str) -> None:
        super().__init__(name=name)
        self._metric, self._kind = metric, kind
        # Some make their variables at the first update, which inside a compiled loop would be too late.
        zeros = np.zeros((1, kind.outputs), np.float32)
        metric.update_state(zeros, zeros)
        metric.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Labels as `kind` says, outputs (n, outputs)."""
        if self._kind.labels == "integer":
            y_true = tf.one_hot(tf.cast(y_true, tf.int32), self._kind.outputs)
        match self._kind.serving_activation:
            case "softmax":
                y_pred = tf.nn.softmax(y_pred)
            case "sigmoid":
                y_pred = tf.nn.sigmoid(y_pred)
        self._metric.update_state(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        """One number."""
        return self._metric.result()

    def reset_state(self) -> None:
        """Forget what was measured."""
        self._metric.reset_state()

"""The engine: Keras's own `fit`, with the data resident and each step a chunk of many batches.

Stock `fit` spends most of a small network's epoch between the batches. Here the model holds the images as constants,
`fit` is fed matrices of indices, and one compiled call trains on all their rows. Loss, metrics, optimizer, dropout and
callbacks stay Keras's own (docs/decisions/0004-chunked-fit.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.spec import JobSpec, output_kind, summarize
from worker.data import Split
from worker.losses import build_loss
from worker.metrics import build_metrics
from worker.network import build_network
from worker.optimizers import build_optimizer

# A chunk is the time between two looks at what the user wants; the rate is a cautious guess for two cores.
CHUNK_SECONDS = 0.15
OPERATIONS_PER_SECOND = 5e10
CHUNK_BATCHES = 512
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Chunks:
    """How an epoch of `examples` is cut: matrices of at most `rows` batches, then the partial batch if any."""

    examples: int
    batch_size: int
    rows: int

    @property
    def batches(self) -> int:
        """Batches an epoch, the partial one included."""
        return ceil(self.examples / self.batch_size)

    def first_batch(self, matrix: int) -> int:
        """The number in its epoch, from 0, of the first batch of a matrix."""
        return min(matrix * self.rows, self.examples // self.batch_size)

    @property
    def count(self) -> int:
        """Matrices an epoch."""
        full, rest = divmod(self.examples, self.batch_size)
        return ceil(full / self.rows) + (rest > 0)

    def cut(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """The matrices of `order`, an int32 vector of `examples` indices: (rows, batch_size), then (1, rest)."""
        full = self.examples // self.batch_size
        matrix = order[: full * self.batch_size].reshape(full, self.batch_size)
        for start in range(0, full, self.rows):
            yield matrix[start : start + self.rows]
        if full * self.batch_size < self.examples:
            yield order[full * self.batch_size :].reshape(1, -1)


class ResidentModel(keras.Model):
    """A network together with the data it learns from and is measured on.

    Args:
        network: takes images (n, 28, 28, 1) of float32 pixels, or features (n, d).
        split: the data; the measured part is validation first, then test.
        labels: `integer`, `one_hot`, `binary` or, for a regression, `value`: how the loss wants them.
        outputs: width of one-hot labels.
        class_weights: one weight a class, or None.
        scheduled: whether each batch takes its learning rate from `rates`, which hold those of the next matrix.
    """

    def __init__(
        self,
        network: keras.Model,
        split: Split,
        labels: str,
        outputs: int,
        class_weights: np.ndarray | None,
        scheduled: bool = False,
    ) -> None:
        super().__init__(name="resident")
        self.network = network
        self._labels = labels
        self._outputs = outputs
        self._class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self._train = (tf.constant(split.x_train), _held(split.y_train))
        parts = [(split.x_val, split.y_val), (split.x_test, split.y_test)]
        self.rates = tf.Variable(tf.zeros(CHUNK_BATCHES), trainable=False) if scheduled else None
        examples, truth = zip(*[part for part in parts if part[0] is not None], strict=True)
        self._measured = (tf.constant(np.concatenate(examples)), _held(np.concatenate(truth)))

    def call(self, images: Any, training: bool | None = None) -> Any:
        """The network's outputs."""
        return self.network(images, training=training)

    def train_step(self, rows: Any) -> dict[str, Any]:
        """Train on each row of indices in turn, in one compiled loop; the metrics are those of the epoch so far."""
        step = super().train_step
        rates = None if self.rates is None else self.rates.value()

        def one_batch(n: Any) -> tuple[Any]:
            if rates is not None:
                self.optimizer.learning_rate.assign(rates[n])
            step(self._batch(self._train, rows[n], weighted=True))
            return (n + 1,)

        tf.while_loop(lambda n: n < tf.shape(rows)[0], one_batch, (tf.constant(0),), parallel_iterations=1)
        return self.get_metrics_result()

    def test_step(self, rows: Any) -> dict[str, Any]:
        """Measure each row of indices in turn."""
        step = super().test_step

        def one_batch(n: Any) -> tuple[Any]:
            step(self._batch(self._measured, rows[n], weighted=False))
            return (n + 1,)

        tf.while_loop(lambda n: n < tf.shape(rows)[0], one_batch, (tf.constant(0),), parallel_iterations=1)
        return self.get_metrics_result()

    def _batch(self, data: tuple[Any, Any], row: Any, weighted: bool) -> tuple[Any, ...]:
        examples, truth = (tf.gather(part, row) for part in data)
        examples = tf.cast(examples, tf.float32)
        if self._labels == "one_hot":
            labels = tf.one_hot(truth, self._outputs)
        elif self._labels == "binary":
            labels = tf.cast(truth[:, None], tf.float32)
        else:
            labels = truth
        if not weighted or self._class_weights is None:
            return examples, labels
        return examples, labels, tf.gather(self._class_weights, truth)


def _held(labels: np.ndarray) -> tf.Tensor:
    """Classes as int32, the values of a regression as they are."""
    return tf.constant(labels, tf.int32 if labels.dtype == np.int64 else tf.float32)


def build_model(spec: JobSpec, split: Split, scaling: tuple[float, float]) -> ResidentModel:
    """The spec's network, compiled and built, with its data."""
    keras.utils.set_random_seed(spec.seed)
    kind = output_kind(spec)
    weights = None
    if spec.class_weight is not None:
        weights = np.ones(len(kind.class_labels), np.float32)
        for label, weight in spec.class_weight.items():
            weights[kind.class_labels.index(int(label))] = weight
    scheduled = not isinstance(spec.optimizer.learning_rate, float)
    model = ResidentModel(build_network(spec, scaling), split, kind.labels, kind.outputs, weights, scheduled)
    model.build((None, *split.x_train.shape[1:]))
    model.compile(optimizer=build_optimizer(spec), loss=build_loss(spec), metrics=build_metrics(spec))
    model.optimizer.build(model.trainable_variables)
    return model


def chunks_for(spec: JobSpec, examples: int) -> Chunks:
    """Chunks short enough that what the user wants is noticed within half a second."""
    batch_size = examples if spec.batch_size == "full" else min(spec.batch_size, examples)
    # Forward and backward pass, two operations a multiply-add.
    operations = 6 * max(summarize(spec).multiply_adds, 1) * batch_size
    rows = int(CHUNK_SECONDS * OPERATIONS_PER_SECOND / operations)
    return Chunks(examples, batch_size, max(1, min(rows, CHUNK_BATCHES)))


def training_rows(chunks: Chunks, seed: int, first_epoch: int) -> tf.data.Dataset:
    """Matrices of indices for every epoch from `first_epoch` (from 0) on, shuffled by (seed, epoch) alone."""

    def generate() -> Iterator[np.ndarray]:
        epoch = first_epoch
        while True:
            order = np.random.default_rng((seed, epoch)).permutation(chunks.examples).astype(np.int32)
            yield from chunks.cut(order)
            epoch += 1

    return tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec((None, None), tf.int32))


def measured_rows(start: int, examples: int) -> tf.data.Dataset:
    """Matrices of indices for `examples` measured examples from `start` on, in order.

    Keras begins it anew after every epoch, so it is made of what begins quickly: a generator, or tf.data's tuning of
    itself, would cost tens of milliseconds each time.
    """
    order = np.arange(start, start + examples, dtype=np.int32)
    first, *rest = Chunks(examples, min(EVALUATION_BATCH, examples), rows=CHUNK_BATCHES).cut(order)
    rows = tf.data.Dataset.from_tensors(first)
    for matrix in rest:
        rows = rows.concatenate(tf.data.Dataset.from_tensors(matrix))
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return rows.map(_of_any_shape).with_options(options)


def _of_any_shape(matrix: tf.Tensor) -> tf.Tensor:
    """The matrix as one of unknown shape, so that every number of examples is measured by the same traced function."""
    return tf.raw_ops.PlaceholderWithDefault(input=matrix, shape=[None, None])

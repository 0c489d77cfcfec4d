"""Which examples are trained on when: an epoch cut into batches, and batches into chunks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import tensorflow as tf

from models.spec import JobSpec, summarize
from models.spec.layers.recurrent import GRU, LSTM, SimpleRNN

MOST_BATCHES = 2048
EVALUATION_BATCH = 1000
# Of a measured batch, so that a slow network too looks at what the user wants between two of them.
MEASURED_MULTIPLY_ADDS = 15e9
RECURRENT_SLOWNESS = 10


@dataclass(frozen=True)
class Chunks:
    """How an epoch of `examples` is cut: chunks of `rows` batches each, the last one with the partial batch if any.

    A chunk travels as a matrix of `capacity` rows, of which the first ones count. So programs compiled for it, and
    thereby the numbers that come out, do not depend on how long a chunk is.

    Attributes:
        cuts: steps, batches from 0 over the whole run, at which a chunk has to begin whatever its length.
    """

    examples: int
    batch_size: int
    rows: int
    cuts: tuple[int, ...] = ()

    @property
    def whole(self) -> int:
        """Batches of the full size in an epoch."""
        return self.examples // self.batch_size

    @property
    def rest(self) -> int:
        """Examples of the partial batch."""
        return self.examples % self.batch_size

    @property
    def batches(self) -> int:
        """Batches an epoch, the partial one included."""
        return self.whole + (self.rest > 0)

    @property
    def capacity(self) -> int:
        """The most batches of a chunk; it follows from the data alone."""
        return min(self.whole, MOST_BATCHES)

    @property
    def count(self) -> int:
        """Chunks an epoch; one that has fewer cuts than another ends with empty ones."""
        epochs = {step // self.batches for step in self.cuts}
        return max((len(self._starts(epoch)) for epoch in epochs), default=0) or ceil(self.whole / self.rows)

    @property
    def signature(self) -> tuple[tf.TensorSpec, ...]:
        """Of a chunk: indices (capacity, batch_size), how many rows count; indices (rest,), and 1 where they do too."""
        matrix = tf.TensorSpec((self.capacity, self.batch_size), tf.int32)
        return matrix, tf.TensorSpec((), tf.int32), tf.TensorSpec((self.rest,), tf.int32), tf.TensorSpec((), tf.int32)

    def of_rows(self, rows: int) -> "Chunks":
        """The same epoch in chunks of about equal length, of at most so many batches."""
        count = ceil(self.whole / max(1, min(rows, self.capacity)))
        return replace(self, rows=ceil(self.whole / count))

    def starts(self, epoch: int) -> list[int]:
        """The number in the epoch (from 0), from 0, of the first batch of each chunk; of empty chunks `batches`."""
        starts = self._starts(epoch)
        return starts + [self.batches] * (self.count - len(starts))

    def cut(self, order: np.ndarray, epoch: int = 0) -> Iterator[tuple[np.ndarray, int, np.ndarray, int]]:
        """The chunks of `order`, an int32 vector of `examples` indices, as `signature` says."""
        matrix = order[: self.whole * self.batch_size].reshape(self.whole, self.batch_size)
        rest = order[self.whole * self.batch_size :]
        starts = self.starts(epoch)
        for start, end in zip(starts, [*starts[1:], self.batches], strict=True):
            taken = matrix[start:end]
            padded = np.zeros((self.capacity, self.batch_size), np.int32)
            padded[: len(taken)] = taken
            ending = self.rest > 0 and start < end == self.batches
            yield padded, len(taken), rest, int(ending)

    def _starts(self, epoch: int) -> list[int]:
        cuts = (step - epoch * self.batches for step in self.cuts)
        return sorted({*range(0, self.whole, self.rows), *(step for step in cuts if 0 < step < self.whole)})


def training_chunks(chunks: Chunks, seed: int, first_epoch: int) -> tf.data.Dataset:
    """The chunks of every epoch from `first_epoch` (from 0) on, shuffled by (seed, epoch) alone."""

    def generate() -> Iterator[tuple[np.ndarray, int, np.ndarray, int]]:
        epoch = first_epoch
        while True:
            order = np.random.default_rng((seed, epoch)).permutation(chunks.examples).astype(np.int32)
            yield from chunks.cut(order, epoch)
            epoch += 1

    return tf.data.Dataset.from_generator(generate, output_signature=chunks.signature)


def rehearsal_chunks(chunks: Chunks, batches: int) -> tf.data.Dataset:
    """One chunk that nobody learns from, with so many batches; with none it only has programs compiled."""
    matrix = np.arange(chunks.capacity * chunks.batch_size, dtype=np.int32).reshape(chunks.capacity, chunks.batch_size)
    chunk = (matrix, np.int32(batches), np.arange(chunks.rest, dtype=np.int32), np.int32(0))
    return tf.data.Dataset.from_tensors(chunk)


@dataclass(frozen=True)
class Measured:
    """Examples to be measured, from `start` on and in order, in matrices of at most `rows` batches."""

    start: int
    examples: int
    rows: int = MOST_BATCHES
    batch_size: int = EVALUATION_BATCH

    @property
    def steps(self) -> int:
        """Matrices in one measurement."""
        return len(self._cut())

    def data(self) -> tf.data.Dataset:
        """The matrices again and again; each measurement takes `steps` of them.

        Keras begins the data anew after every epoch, so they are made of what begins quickly: a generator, tf.data's
        tuning of itself, or an end that Keras meets, would cost milliseconds to tens of milliseconds each time.
        """
        first, *rest = self._cut()
        data = tf.data.Dataset.from_tensors(first)
        for matrix in rest:
            data = data.concatenate(tf.data.Dataset.from_tensors(matrix))
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return data.map(_of_any_shape).repeat().with_options(options)

    def _cut(self) -> list[np.ndarray]:
        order = np.arange(self.start, self.start + self.examples, dtype=np.int32)
        batch_size = min(self.batch_size, self.examples)
        whole = self.examples // batch_size * batch_size
        batches = order[:whole].reshape(-1, batch_size)
        matrices = [batches[at : at + self.rows] for at in range(0, len(batches), self.rows)]
        return [*matrices, order[whole:].reshape(1, -1)] if whole < self.examples else matrices


def measured_batch_of(spec: JobSpec) -> int:
    """How many examples are measured at a time: fewer for large and for recurrent networks.

    It follows from the spec alone, since sums of other parts have other last bits.
    """
    slowness = RECURRENT_SLOWNESS if any(isinstance(node.layer, SimpleRNN | LSTM | GRU) for node in spec.nodes) else 1
    few = int(MEASURED_MULTIPLY_ADDS / (slowness * max(1, summarize(spec).multiply_adds)))
    return max(1, min(few, EVALUATION_BATCH))


def _of_any_shape(matrix: tf.Tensor) -> tf.Tensor:
    """The matrix as one of unknown shape, so that every number of examples is measured by the same traced function."""
    return tf.raw_ops.PlaceholderWithDefault(input=matrix, shape=[None, None])

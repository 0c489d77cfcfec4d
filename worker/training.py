"""The engine: Keras's own `fit`, with the data resident and each step a chunk of many batches.

Stock `fit` spends most of a small network's epoch between the batches. Here the model holds the images as constants,
`fit` is fed chunks of indices, and one call trains on all their batches. Loss, metrics, optimizer, dropout and
callbacks stay Keras's own (docs/decisions/0004-chunked-fit.md). What XLA compiles is the plan's to say (worker.plan).
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.spec import JobSpec, output_kind
from models.spec.schedules import rate_at
from models.spec.training import LearningRate
from worker.chunks import EVALUATION_BATCH, MOST_BATCHES, Chunks, Measured, measured_batch_of, training_chunks
from worker.data import Split
from worker.losses import build_loss
from worker.metrics import build_metrics
from worker.network import build_network
from worker.optimizers import build_optimizer
from worker.plan import PLAIN, Plan
from worker.steering import Course, Steering


class ResidentModel(keras.Model):
    """A network together with the data it learns from and is measured on.

    Args:
        network: takes images (n, 28, 28, 1) of float32 pixels, or features (n, d).
        split: the data; the measured part is validation first, then test.
        labels: `integer`, `one_hot`, `binary` or, for a regression, `value`: how the loss wants them.
        outputs: width of one-hot labels.
        class_weights: one weight a class, or None.
        learning_rate: a number or a schedule, which `fit` follows: each batch takes its own rate from `rates`, which
            hold those of the next chunk.
        compiled: whether XLA makes one program of a whole chunk.
        measured_batch: examples that are measured at a time.
    """

    def __init__(
        self,
        network: keras.Model,
        split: Split,
        labels: str,
        outputs: int,
        class_weights: np.ndarray | None,
        learning_rate: LearningRate,
        compiled: bool = False,
        measured_batch: int = EVALUATION_BATCH,
    ) -> None:
        super().__init__(name="resident")
        self.network = network
        self.measured_batch = measured_batch
        self._labels = labels
        self._outputs = outputs
        self._class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self._train = (tf.constant(split.x_train), _held(split.y_train))
        parts = [(split.x_val, split.y_val), (split.x_test, split.y_test)]
        self.learning_rate = learning_rate
        first = float(rate_at(learning_rate, np.array(0)))
        self.rates = tf.Variable(tf.fill([MOST_BATCHES + 1], first), trainable=False)
        examples, truth = zip(*[part for part in parts if part[0] is not None], strict=True)
        self._measured = (tf.constant(np.concatenate(examples)), _held(np.concatenate(truth)))
        self._program = tf.function(self._train_batches, jit_compile=True) if compiled else None

    def call(self, images: Any, training: bool | None = None) -> Any:
        """The network's outputs."""
        return self.network(images, training=training)

    def train_step(self, chunk: tuple[Any, Any, Any, Any]) -> dict[str, Any]:
        """Train on each batch of a chunk (`Chunks.signature`) in turn; the metrics are those of the epoch so far."""
        rows, count, rest, ending = chunk
        if self._program is not None:
            self._program(rows, count)
            if rest.shape[0]:
                # Outside of the program: one of another shape would take as long again to compile.
                _repeat(ending, lambda _: self._train_batch(rest, count))
        elif rest.shape[0]:
            # One loop for both sizes, since tracing a step takes a quarter of a second.
            _repeat(count + ending, lambda n: self._train_batch(tf.cond(n < count, lambda: rows[n], lambda: rest), n))
        else:
            self._train_batches(rows, count)
        return self.get_metrics_result()

    def test_step(self, rows: Any) -> dict[str, Any]:
        """Measure each row of indices in turn."""
        step = super().test_step
        _repeat(tf.shape(rows)[0], lambda n: step(self._batch(self._measured, rows[n], weighted=False)))
        return self.get_metrics_result()

    @property
    def examples(self) -> int:
        """How many there are to train on."""
        return int(self._train[0].shape[0])

    def training_batch(self, row: Any) -> tuple[Any, ...]:
        """Inputs, labels and, if classes have weights, those of the training examples with the indices in `row`."""
        return self._batch(self._train, row, weighted=True)

    def _train_batches(self, rows: Any, count: Any) -> None:
        _repeat(count, lambda n: self._train_batch(rows[n], n))

    def _train_batch(self, row: Any, n: Any) -> None:
        self.optimizer.learning_rate.assign(self.rates[n])
        super().train_step(self.training_batch(row))

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


def _repeat(times: Any, step: Callable[[Any], Any]) -> None:
    """Call `step` with 0, 1, ... in one loop of the graph."""

    def body(n: Any) -> tuple[Any]:
        step(n)
        return (n + 1,)

    tf.while_loop(lambda n: n < times, body, (tf.constant(0),), parallel_iterations=1)


def _compile_update(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> None:
    """Let XLA make one program of the optimizer's own update, which is a dozen passes over all weights without it."""
    apply = optimizer.apply_gradients

    @tf.function(jit_compile=True)
    def program(*gradients: tf.Tensor) -> None:
        exact = [tf.cast(gradient, variable.dtype) for gradient, variable in zip(gradients, variables, strict=True)]
        apply(list(zip(exact, variables, strict=True)))

    optimizer.apply_gradients = lambda pairs: program(*(_before_cast(gradient) for gradient, _ in pairs))


def _before_cast(gradient: tf.Tensor) -> tf.Tensor:
    """A gradient as it was in bfloat16: the program then reads half as much, and the cast is no pass of its own."""
    operation = gradient.op
    is_cast = operation.type == "Cast" and operation.inputs[0].dtype == tf.bfloat16
    return operation.inputs[0] if is_cast else gradient


def _held(labels: np.ndarray) -> tf.Tensor:
    """Classes as int32, the values of a regression as they are."""
    return tf.constant(labels, tf.int32 if labels.dtype == np.int64 else tf.float32)


def build_model(spec: JobSpec, split: Split, scaling: tuple[float, float], plan: Plan = PLAIN) -> ResidentModel:
    """The spec's network, compiled and built, with its data, to be trained as the plan says."""
    spec = spec.model_copy(update={"precision": plan.precision})
    keras.utils.set_random_seed(spec.seed)
    kind = output_kind(spec)
    weights = None
    if spec.class_weight is not None:
        weights = np.ones(len(kind.class_labels), np.float32)
        for label, weight in spec.class_weight.items():
            weights[kind.class_labels.index(int(label))] = weight
    network = build_network(spec, scaling, pooled=plan.device == "cpu")
    model = ResidentModel(
        network,
        split,
        kind.labels,
        kind.outputs,
        weights,
        spec.optimizer.learning_rate,
        compiled=plan.xla == "chunk",
        measured_batch=measured_batch_of(spec),
    )
    model.build((None, *split.x_train.shape[1:]))
    model.compile(optimizer=build_optimizer(spec), loss=build_loss(spec), metrics=build_metrics(spec))
    model.optimizer.build(model.trainable_variables)
    if plan.xla == "update":
        _compile_update(model.optimizer, model.trainable_variables)
    return model


def fit(
    model: ResidentModel,
    chunks: Chunks,
    *,
    seed: int,
    epochs: int,
    done: int = 0,
    validated: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Keras's `fit` over chunks: from the epoch after `done` to `epochs`, which count from 1.

    Args:
        seed: of the order of the examples, together with the epoch.
        epochs: the most; a `Steering` among the callbacks may end the training before.
        validated: how many of the measured examples are for validation; None for no validation.
    """
    measured = None
    if validated is not None:
        # An example is measured in a third of the time that it trains in, or less.
        rows = chunks.rows * chunks.batch_size // model.measured_batch
        measured = Measured(0, validated, max(1, rows), model.measured_batch)
    steered = any(isinstance(callback, Steering) for callback in callbacks)
    steering = [] if steered else [Steering(chunks, Course(model.learning_rate, epochs))]
    return model.fit(
        training_chunks(chunks, seed, done),
        epochs=epochs,
        initial_epoch=done,
        steps_per_epoch=chunks.count,
        validation_data=None if measured is None else measured.data(),
        validation_steps=None if measured is None else measured.steps,
        shuffle=False,
        callbacks=[*steering, *callbacks],
        verbose=0,
    )

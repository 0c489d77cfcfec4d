"""A network and its loss in float64, without anything random, as functions of its weights."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.spec import JobSpec
from worker.kinds.batch import Batch
from worker.layers import in_float64
from worker.losses import build_loss
from worker.network import build_network

MOVED_BY = 0.01
"""Standard deviation by which weights that all begin with one value are moved."""
_NOISE = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise,
    keras.layers.RandomRotation,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
)


class ExactLoss:
    """The loss of a spec's network over one batch, penalties included, computed in float64 throughout.

    Dropout, noise and augmentation are left out, since a difference of two losses says nothing when chance moves them.
    Batch normalisation uses the statistics of the batch, as in training: its gradient through mean and variance is
    what is worth a check. Weights that all begin with one value, as zero biases do, are moved by N(0, 0.01), from the
    seed: at a bias of exactly zero, relu over a black background sits on its kink.
    """

    def __init__(self, spec: JobSpec, scaling: tuple[float, float], batch: Batch) -> None:
        drawn = build_network(spec, scaling)
        self._network = keras.models.clone_model(drawn, clone_function=_exact)
        self._network.set_weights(drawn.get_weights())
        loss = build_loss(spec)
        # A Keras loss computes in float32 unless it is made for another type.
        self._loss = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
        self._inputs, self._labels = tf.constant(batch.inputs), tf.constant(batch.labels)
        self.variables: list[keras.Variable] = list(self._network.trainable_variables)
        self._move_equal_ones(spec.seed)
        self.value = tf.function(self._value)

    def gradients(self) -> list[np.ndarray]:
        """The back-propagated gradient of each variable, float64."""
        with tf.GradientTape() as tape:
            value = self._value()
        sources = [variable.value for variable in self.variables]
        slopes = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(slope).numpy() for slope in slopes]

    def at(self, variable: keras.Variable, index: tuple[int, ...], shift: float) -> float:
        """The loss with one weight moved by `shift`, which is then moved back."""
        stored = variable.value
        here = stored[index].numpy()
        stored.scatter_nd_update([index], [here + shift])
        value = float(self.value())
        stored.scatter_nd_update([index], [here])
        return value

    def _value(self) -> Any:
        predicted = self._network(self._inputs, training=True)
        return self._loss(self._labels, predicted) + sum(self._network.losses)

    def _move_equal_ones(self, seed: int) -> None:
        random = np.random.default_rng([seed, *b"moved"])
        for variable in self.variables:
            values = variable.numpy()
            if np.all(values == values.flat[0]):
                variable.assign(values + MOVED_BY * random.standard_normal(values.shape))


def _exact(layer: Any) -> Any:
    if isinstance(layer, _NOISE):
        return keras.layers.Identity(name=layer.name, dtype="float64")
    return in_float64(layer)

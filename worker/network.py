"""From a spec to Keras: the network that trains, its float32 twin that serves, loss and metrics.

Layers are named by type and number (`dense_1`, `dense_2`, as `models.spec.names_of` has it); the scaling of pixels is
`rescaling`, and a softmax or sigmoid added for serving is `probabilities`. The twin lacks layers that act in training
only, but the others keep their names.
"""

from typing import Any, Literal, assert_never

import keras
import numpy as np
import tensorflow as tf

from models.datasets import DATASETS
from models.spec import JobSpec, names_of, output_kind
from models.spec.activations import Activation, LeakyRelu, PlainActivation
from models.spec.initializers import (
    Constant,
    Initializer,
    Orthogonal,
    PlainInitializer,
    RandomNormal,
    RandomUniform,
    VarianceScaling,
)
from models.spec.network import (
    ActivationLayer,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
)
from models.spec.training import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy

ACTIVATIONS = {
    "linear": keras.activations.linear,
    "sigmoid": keras.activations.sigmoid,
    "tanh": keras.activations.tanh,
    "relu": keras.activations.relu,
    "elu": keras.activations.elu,
    "selu": keras.activations.selu,
    "softplus": keras.activations.softplus,
    "swish": keras.activations.silu,
    "gelu": keras.activations.gelu,
    "softmax": keras.activations.softmax,
}
SEEDED = {
    "glorot_normal": keras.initializers.GlorotNormal,
    "glorot_uniform": keras.initializers.GlorotUniform,
    "he_normal": keras.initializers.HeNormal,
    "he_uniform": keras.initializers.HeUniform,
    "lecun_normal": keras.initializers.LecunNormal,
    "lecun_uniform": keras.initializers.LecunUniform,
}
# What a layer draws random numbers for; the position makes its seed.
ROLES = ("kernel", "bias", "dropout")
Role = Literal["kernel", "bias", "dropout"]


def policy_of(spec: JobSpec) -> str:
    """The dtype policy of training; `auto` is mixed_bfloat16 where the job trains on a GPU, else float32."""
    if spec.precision != "auto":
        return spec.precision
    on_gpu = spec.device != "cpu" and bool(tf.config.list_physical_devices("GPU"))
    return "mixed_bfloat16" if on_gpu else "float32"


def build_network(
    spec: JobSpec, scaling: tuple[float, float], *, serving: bool = False, seed: int | None = None
) -> keras.Sequential:
    """The network of `spec`: float32 pixels (n, 28, 28, 1) from 0 to 255 in, (n, outputs) out in float32.

    Args:
        scaling: scale and offset of the pixels, pixel * scale + offset.
        serving: build the twin for inference: float32 throughout, without layers that act in training only, and with
            softmax or sigmoid at the end where the loss is from logits.
        seed: instead of the spec's. The same seed gives the same weights.
    """
    seed = spec.seed if seed is None else seed
    policy = "float32" if serving else policy_of(spec)
    scale, offset = scaling
    network = keras.Sequential([keras.Input(DATASETS[spec.dataset.name].shape, dtype="float32", name="image")])
    if scaling != (1.0, 0.0):
        network.add(keras.layers.Rescaling(scale, offset, dtype="float32", name="rescaling"))
    last = len(spec.layers) - 1
    for n, (name, layer) in enumerate(zip(names_of(spec.layers), spec.layers, strict=True)):
        if serving and isinstance(layer, Dropout):
            continue
        # The loss needs the range of float32.
        network.add(_Builder(seed, n, "float32" if n == last else policy).build(layer, name))
    added = output_kind(spec).serving_activation if serving else None
    if added:
        network.add(keras.layers.Activation(added, dtype="float32", name="probabilities"))
    return network


def copy_weights(source: keras.Model, twin: keras.Model) -> None:
    """Give each layer of `twin` the weights of the layer of the same name in `source`."""
    for layer in twin.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


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


class _Builder:
    """Builds the layer at one place of a network, with the seeds of that place."""

    def __init__(self, seed: int, place: int, policy: str) -> None:
        self._seed, self._place, self._policy = seed, place, policy

    def build(self, layer: Layer, name: str) -> keras.layers.Layer:
        common: dict[str, Any] = {"name": name, "dtype": self._policy}
        match layer:
            case Dense():
                return keras.layers.Dense(layer.units, **self._weighted(layer), **common)
            case Conv2D():
                return keras.layers.Conv2D(
                    layer.filters,
                    layer.kernel_size,
                    strides=layer.strides,
                    padding=layer.padding,
                    **self._weighted(layer),
                    **common,
                )
            case MaxPooling2D():
                return keras.layers.MaxPooling2D(layer.pool_size, layer.strides, layer.padding, **common)
            case AveragePooling2D():
                return keras.layers.AveragePooling2D(layer.pool_size, layer.strides, layer.padding, **common)
            case Flatten():
                return keras.layers.Flatten(**common)
            case Dropout(rate=rate):
                return keras.layers.Dropout(rate, seed=self._seed_of("dropout"), **common)
            case BatchNormalization():
                return keras.layers.BatchNormalization(**layer.model_dump(exclude={"type"}), **common)
            case ActivationLayer(activation=activation):
                return keras.layers.Activation(self._activation(activation), **common)
            case _:
                assert_never(layer)

    def _weighted(self, layer: Dense | Conv2D) -> dict[str, Any]:
        return {
            "activation": self._activation(layer.activation),
            "use_bias": layer.use_bias,
            "kernel_initializer": self._initializer(layer.kernel_initializer, "kernel"),
            "bias_initializer": self._initializer(layer.bias_initializer, "bias"),
        }

    def _activation(self, activation: Activation) -> Any:
        match activation:
            case PlainActivation(type=name):
                return ACTIVATIONS[name]
            case LeakyRelu(negative_slope=slope):
                # A layer, since a function with an argument bound could not be saved.
                return keras.layers.LeakyReLU(negative_slope=slope, dtype=self._policy)
            case _:
                assert_never(activation)

    def _initializer(self, initializer: Initializer, role: Role) -> keras.initializers.Initializer:
        seed = self._seed_of(role)
        match initializer:
            case PlainInitializer(type="zeros"):
                return keras.initializers.Zeros()
            case PlainInitializer(type="ones"):
                return keras.initializers.Ones()
            case PlainInitializer(type=name):
                return SEEDED[name](seed=seed)
            case RandomNormal(type="random_normal", mean=mean, stddev=stddev):
                return keras.initializers.RandomNormal(mean, stddev, seed=seed)
            case RandomNormal(mean=mean, stddev=stddev):
                return keras.initializers.TruncatedNormal(mean, stddev, seed=seed)
            case RandomUniform(minval=minval, maxval=maxval):
                return keras.initializers.RandomUniform(minval, maxval, seed=seed)
            case VarianceScaling(scale=scale, mode=mode, distribution=distribution):
                return keras.initializers.VarianceScaling(scale, mode, distribution, seed=seed)
            case Constant(value=value):
                return keras.initializers.Constant(value)
            case Orthogonal(gain=gain):
                return keras.initializers.Orthogonal(gain, seed=seed)
            case _:
                assert_never(initializer)

    def _seed_of(self, role: Role) -> int:
        """Seeds apart from each other, however close those of two jobs are."""
        return int(np.random.SeedSequence([self._seed, self._place, ROLES.index(role)]).generate_state(1)[0] >> 1)

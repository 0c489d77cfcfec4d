"""From a layer of a spec to Keras's: arguments, activation, initial values."""

from typing import Any, Literal, assert_never

import keras
import numpy as np

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
from models.spec.layers import (
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


class LayerBuilder:
    """Builds the Keras layer at one place of a network, with the seeds of that place."""

    def __init__(self, seed: int, place: int, policy: str) -> None:
        self._seed, self._place, self._policy = seed, place, policy

    def build(self, layer: Layer, name: str) -> keras.layers.Layer:
        """The Keras layer that `layer` describes."""
        built = self._build(layer, name)
        built.trainable = getattr(layer, "trainable", True)
        return built

    def _build(self, layer: Layer, name: str) -> keras.layers.Layer:
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
                return keras.layers.BatchNormalization(**layer.model_dump(exclude={"type", "trainable"}), **common)
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

"""From a layer of a spec to Keras's: arguments, activation, initial values, penalties."""

from typing import Any, assert_never

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
    GRU,
    LSTM,
    ActivationLayer,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling2D,
    Layer,
    LayerNormalization,
    MaxPooling2D,
    Merge,
    Reshape,
    SeparableConv2D,
    SimpleRNN,
    SpatialDropout2D,
)
from models.spec.regularizers import L1, L1L2, L2, Regularizer
from worker.pooled import ConvolutionBeforePooling, PoolingAfterConvolution

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
EXACTLY = {"dtype": "float64", "dropout": 0.0, "recurrent_dropout": 0.0}
# What a layer draws random numbers for; the position makes its seed, so a new role goes to the end.
ROLES = ("kernel", "bias", "dropout", "recurrent", "depthwise", "pointwise")


def in_float64(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The same layer without its weights, computing in float64, layers inside it too, and without dropout in a cell."""
    return type(layer).from_config(_exactly(layer.get_config()))


def _exactly(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: EXACTLY.get(key, _exactly(value)) for key, value in config.items()}
    return [_exactly(entry) for entry in config] if isinstance(config, list) else config


class LayerBuilder:
    """Builds the Keras layer at one place of a network, with the seeds of that place."""

    def __init__(self, seed: int, place: int, policy: str) -> None:
        self._seed, self._place, self._policy = seed, place, policy

    def build(self, layer: Layer | Merge, name: str) -> keras.layers.Layer:
        """The Keras layer that `layer` describes."""
        return self._frozen_or_not(layer, self._build(layer, name))

    def build_before_pooling(self, layer: Conv2D, name: str) -> ConvolutionBeforePooling:
        """The convolution that `layer` describes, for a pooling that `build_after` makes."""
        return self._frozen_or_not(layer, ConvolutionBeforePooling(**self._all_arguments(layer, name)))

    def build_after(self, convolution: Any, layer: MaxPooling2D, name: str) -> PoolingAfterConvolution:
        """The pooling that `layer` describes, behind a convolution that `build_before_pooling` made."""
        return PoolingAfterConvolution(convolution, **self._all_arguments(layer, name))

    def _frozen_or_not(self, layer: Layer | Merge, built: keras.layers.Layer) -> Any:
        built.trainable = getattr(layer, "trainable", True)
        return built

    def _build(self, layer: Layer | Merge, name: str) -> keras.layers.Layer:
        arguments = self._all_arguments(layer, name)
        match layer:
            case Dense():
                return keras.layers.Dense(**arguments)
            case Conv2D():
                return keras.layers.Conv2D(**arguments)
            case DepthwiseConv2D():
                return keras.layers.DepthwiseConv2D(**arguments)
            case SeparableConv2D():
                return keras.layers.SeparableConv2D(**arguments)
            case MaxPooling2D():
                return keras.layers.MaxPooling2D(**arguments)
            case AveragePooling2D():
                return keras.layers.AveragePooling2D(**arguments)
            case GlobalAveragePooling2D():
                return keras.layers.GlobalAveragePooling2D(**arguments)
            case Flatten():
                return keras.layers.Flatten(**arguments)
            case Reshape():
                return keras.layers.Reshape(**arguments)
            case Dropout():
                return keras.layers.Dropout(**arguments, seed=self._seed_of("dropout"))
            case SpatialDropout2D():
                return keras.layers.SpatialDropout2D(**arguments, seed=self._seed_of("dropout"))
            case GaussianNoise():
                return keras.layers.GaussianNoise(**arguments, seed=self._seed_of("dropout"))
            case BatchNormalization():
                return keras.layers.BatchNormalization(**arguments)
            case LayerNormalization():
                return keras.layers.LayerNormalization(**arguments)
            case ActivationLayer():
                return keras.layers.Activation(**arguments)
            case SimpleRNN():
                built = keras.layers.SimpleRNN(**arguments, seed=self._seed_of("dropout"))
                built.activity_regularizer = arguments["activity_regularizer"]  # Keras 3.15 takes it and forgets it
                return built
            case LSTM():
                return keras.layers.LSTM(**arguments, seed=self._seed_of("dropout"))
            case GRU():
                return keras.layers.GRU(**arguments, seed=self._seed_of("dropout"))
            case Add():
                return keras.layers.Add(**arguments)
            case Concatenate():
                return keras.layers.Concatenate(**arguments)
            case _:
                assert_never(layer)

    def _all_arguments(self, layer: Layer | Merge, name: str) -> dict[str, Any]:
        """The fields of `layer`, which bear Keras's names, as Keras takes them; and its name and policy."""
        names = type(layer).model_fields.keys() - {"type", "trainable"}
        given = {field: self._argument(field, getattr(layer, field)) for field in names}
        return {**given, "name": name, "dtype": self._policy}

    def _argument(self, name: str, value: Any) -> Any:
        if isinstance(value, Activation):
            return self._activation(value)
        if isinstance(value, Initializer):
            return self._initializer(value, name.removesuffix("_initializer"))
        return _regularizer(value) if isinstance(value, Regularizer) else value

    def _activation(self, activation: Activation) -> Any:
        match activation:
            case PlainActivation(type=name):
                return ACTIVATIONS[name]
            case LeakyRelu(negative_slope=slope):
                # A layer, since a function with an argument bound could not be saved.
                return keras.layers.LeakyReLU(negative_slope=slope, dtype=self._policy)
            case _:
                assert_never(activation)

    def _initializer(self, initializer: Initializer, role: str) -> keras.initializers.Initializer:
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

    def _seed_of(self, role: str) -> int:
        """Seeds apart from each other, however close those of two jobs are."""
        return int(np.random.SeedSequence([self._seed, self._place, ROLES.index(role)]).generate_state(1)[0] >> 1)


def _regularizer(wanted: Regularizer) -> keras.regularizers.Regularizer:
    """The Keras regularizer that `wanted` describes."""
    match wanted:
        case L1(l1=l1):
            return keras.regularizers.L1(l1)
        case L2(l2=l2):
            return keras.regularizers.L2(l2)
        case L1L2(l1=l1, l2=l2):
            return keras.regularizers.L1L2(l1, l2)
        case _:
            assert_never(wanted)

"""Activation functions as a spec names them; arguments and defaults are those of `keras.activations`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import Part, shorthand

PlainActivationName = Literal[
    "linear", "sigmoid", "tanh", "relu", "elu", "selu", "softplus", "swish", "gelu", "softmax"
]


class PlainActivation(Part):
    """An activation without arguments; softmax is over the last axis."""

    type: PlainActivationName
    """Its name."""


class LeakyRelu(Part):
    """max(x, negative_slope * x)."""

    type: Literal["leaky_relu"] = "leaky_relu"
    negative_slope: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Slope below zero."""


Activation = PlainActivation | LeakyRelu
LINEAR = PlainActivation(type="linear")
SIGMOID = PlainActivation(type="sigmoid")
TANH = PlainActivation(type="tanh")

_ByType = Annotated[Activation, Field(discriminator="type")]
ActivationField = Annotated[
    _ByType,
    BeforeValidator(shorthand, json_schema_input_type=PlainActivationName | Literal["leaky_relu", "silu"] | _ByType),
]

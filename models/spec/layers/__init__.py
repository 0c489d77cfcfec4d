"""The layers a network is made of. A new one is a class here, with its shape rule, and a case in worker/layers.py."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field

from models.spec.base import shorthand
from models.spec.layers.core import (
    ActivationLayer,
    BatchNormalization,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    LayerNormalization,
    Reshape,
)
from models.spec.layers.images import (
    AveragePooling2D,
    Conv2D,
    DepthwiseConv2D,
    GlobalAveragePooling2D,
    MaxPooling2D,
    SeparableConv2D,
    SpatialDropout2D,
)
from models.spec.layers.merges import Add, Concatenate
from models.spec.layers.recurrent import GRU, LSTM, SimpleRNN

Layer = (
    Dense
    | Conv2D
    | DepthwiseConv2D
    | SeparableConv2D
    | MaxPooling2D
    | AveragePooling2D
    | GlobalAveragePooling2D
    | Flatten
    | Reshape
    | Dropout
    | SpatialDropout2D
    | GaussianNoise
    | BatchNormalization
    | LayerNormalization
    | ActivationLayer
    | SimpleRNN
    | LSTM
    | GRU
)
Merge = Add | Concatenate


def _names(union: Any) -> Any:
    """The names that are short for a layer whose fields all have defaults."""
    parts: tuple[type[BaseModel], ...] = get_args(union)
    plain = [part for part in parts if not any(field.is_required() for field in part.model_fields.values())]
    return Literal[tuple(part.model_fields["type"].default for part in plain)]


_LayerByType = Annotated[Layer, Field(discriminator="type")]
_AnyByType = Annotated[Layer | Merge, Field(discriminator="type")]
LayerField = Annotated[_LayerByType, BeforeValidator(shorthand, json_schema_input_type=_names(Layer) | _LayerByType)]
AnyLayerField = Annotated[
    _AnyByType, BeforeValidator(shorthand, json_schema_input_type=_names(Layer | Merge) | _AnyByType)
]

__all__ = [
    "GRU",
    "LSTM",
    "ActivationLayer",
    "Add",
    "AnyLayerField",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "Layer",
    "LayerField",
    "LayerNormalization",
    "MaxPooling2D",
    "Merge",
    "Reshape",
    "SeparableConv2D",
    "SimpleRNN",
    "SpatialDropout2D",
]

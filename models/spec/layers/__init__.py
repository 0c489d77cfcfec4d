"""The layers a network is made of. A new one is a class here, with its shape rule, and a case in worker/layers.py."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import shorthand
from models.spec.layers.core import ActivationLayer, BatchNormalization, Dense, Dropout, Flatten
from models.spec.layers.images import AveragePooling2D, Conv2D, MaxPooling2D

Layer = Dense | Conv2D | MaxPooling2D | AveragePooling2D | Flatten | Dropout | BatchNormalization | ActivationLayer
_ByType = Annotated[Layer, Field(discriminator="type")]
_DefaultsSuffice = Literal["max_pooling2d", "average_pooling2d", "flatten", "batch_normalization"]
LayerField = Annotated[_ByType, BeforeValidator(shorthand, json_schema_input_type=_DefaultsSuffice | _ByType)]

__all__ = [
    "ActivationLayer",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LayerField",
    "MaxPooling2D",
]

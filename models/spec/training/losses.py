"""What is minimised: losses with the names, arguments and defaults of Keras."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import Part, shorthand

Smoothing = Annotated[float, Field(ge=0, le=1)]


class MeanSquaredError(Part):
    """Mean of squared differences: from values, from one-hot labels, or from 0 and 1 with a single output."""

    type: Literal["mean_squared_error"] = "mean_squared_error"


class MeanAbsoluteError(Part):
    """Mean of absolute differences."""

    type: Literal["mean_absolute_error"] = "mean_absolute_error"


class Huber(Part):
    """Half the squared difference where it is small, beyond `delta` growing like the absolute one."""

    type: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Where the square ends."""


class KlDivergence(Part):
    """Kullback-Leibler divergence of the predicted probabilities from one-hot labels."""

    type: Literal["kl_divergence"] = "kl_divergence"


class CategoricalCrossentropy(Part):
    """Cross-entropy over classes, from one-hot labels."""

    type: Literal["categorical_crossentropy"] = "categorical_crossentropy"
    from_logits: bool = False
    """Whether the network ends in raw scores; what is served then gets the softmax added."""
    label_smoothing: Smoothing = 0.0
    """How far labels move towards the middle."""


class SparseCategoricalCrossentropy(Part):
    """Cross-entropy over classes, from integer labels."""

    type: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"
    from_logits: bool = False
    """Whether the network ends in raw scores; what is served then gets the softmax added."""


class BinaryCrossentropy(Part):
    """Cross-entropy over each output by itself: over one for two classes, or over one a class."""

    type: Literal["binary_crossentropy"] = "binary_crossentropy"
    from_logits: bool = False
    """Whether the network ends in raw scores; what is served then gets the sigmoid added."""
    label_smoothing: Smoothing = 0.0
    """How far labels move towards the middle."""


class Hinge(Part):
    """max(1 - y * score, 0) over each output by itself, y being -1 or 1; what is served are probabilities."""

    type: Literal["hinge"] = "hinge"


class CategoricalHinge(Part):
    """max(largest wrong score - right score + 1, 0); what is served are probabilities."""

    type: Literal["categorical_hinge"] = "categorical_hinge"


Loss = (
    MeanSquaredError
    | MeanAbsoluteError
    | Huber
    | KlDivergence
    | CategoricalCrossentropy
    | SparseCategoricalCrossentropy
    | BinaryCrossentropy
    | Hinge
    | CategoricalHinge
)
LossName = Literal[
    "mean_squared_error",
    "mse",
    "mean_absolute_error",
    "mae",
    "huber",
    "kl_divergence",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "hinge",
    "categorical_hinge",
]
_LossByType = Annotated[Loss, Field(discriminator="type")]
LossField = Annotated[_LossByType, BeforeValidator(shorthand, json_schema_input_type=LossName | _LossByType)]

REGRESSION_LOSSES = ("mean_squared_error", "mean_absolute_error", "huber")
"""Losses that measure a distance, so that they fit values as well as labels."""

SINGLE_OUTPUT_LOSSES = (*REGRESSION_LOSSES, "binary_crossentropy", "hinge")
"""Losses by which one output can tell two classes apart."""


def wants_scores(loss: Loss) -> bool:
    """Whether `loss` is meant for raw scores, so that the network should end in no activation."""
    match loss:
        case Hinge() | CategoricalHinge():
            return True
        case CategoricalCrossentropy() | SparseCategoricalCrossentropy() | BinaryCrossentropy():
            return loss.from_logits
        case _:
            return False

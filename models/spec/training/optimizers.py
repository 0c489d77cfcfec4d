"""How the loss is minimised: optimizers with the names, arguments and defaults of Keras 3."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import Part, shorthand
from models.spec.training.schedules import LearningRateField

Share = Annotated[float, Field(ge=0, lt=1)]
Momentum = Annotated[float, Field(ge=0, le=1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Clip = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1e6)]


class Clipping(Part):
    """What every optimizer can do besides: decay of the weights, and bounds on gradients, at most one of them."""

    type: str  # Each optimizer says which; here so that it stays the first field.
    weight_decay: Decay | None = None
    """The share of each weight, times the learning rate, that every step takes away; null for none."""
    clipnorm: Clip | None = None
    """Largest norm of each weight's gradient."""
    clipvalue: Clip | None = None
    """Largest absolute value of each entry."""
    global_clipnorm: Clip | None = None
    """Largest norm of all gradients together."""


class Sgd(Clipping):
    """Gradient descent, with momentum when wanted."""

    type: Literal["sgd"] = "sgd"
    learning_rate: LearningRateField = 0.01
    """Step size, or how it changes."""
    momentum: Momentum = 0.0
    """Share of the last step that is kept."""
    nesterov: bool = False
    """Whether the gradient is looked up ahead."""


class Adagrad(Clipping):
    """Adagrad."""

    type: Literal["adagrad"] = "adagrad"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    """First value of the sum of squares."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""


class Adadelta(Clipping):
    """Adadelta."""

    type: Literal["adadelta"] = "adadelta"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes; the original paper has 1."""
    rho: Share = 0.95
    """Decay of the means of squares."""
    epsilon: Epsilon = 1e-7
    """Added to both means."""


class RmsProp(Clipping):
    """RMSprop."""

    type: Literal["rmsprop"] = "rmsprop"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    rho: Share = 0.9
    """Decay of the mean squared gradient."""
    momentum: Momentum = 0.0
    """Share of the last step that is kept."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""
    centered: bool = False
    """Whether the mean gradient is subtracted."""


class Adam(Clipping):
    """Adam."""

    type: Literal["adam"] = "adam"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    beta_1: Share = 0.9
    """Decay of the mean gradient."""
    beta_2: Share = 0.999
    """Decay of the mean squared gradient."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""
    amsgrad: bool = False
    """Whether the divisor never shrinks."""


class AdamW(Clipping):
    """Adam with decoupled weight decay."""

    type: Literal["adamw"] = "adamw"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    weight_decay: Decay = 0.004
    """The share of each weight, times the learning rate, that every step takes away."""
    beta_1: Share = 0.9
    """Decay of the mean gradient."""
    beta_2: Share = 0.999
    """Decay of the mean squared gradient."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""
    amsgrad: bool = False
    """Whether the divisor never shrinks."""


class Adamax(Clipping):
    """Adam with the largest gradient in place of the mean square."""

    type: Literal["adamax"] = "adamax"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    beta_1: Share = 0.9
    """Decay of the mean gradient."""
    beta_2: Share = 0.999
    """Decay of the largest gradient."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""


class Nadam(Clipping):
    """Adam with Nesterov's momentum."""

    type: Literal["nadam"] = "nadam"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    beta_1: Share = 0.9
    """Decay of the mean gradient."""
    beta_2: Share = 0.999
    """Decay of the mean squared gradient."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""


class Ftrl(Clipping):
    """Follow the regularized leader."""

    type: Literal["ftrl"] = "ftrl"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes."""
    learning_rate_power: Annotated[float, Field(ge=-10, le=0)] = -0.5
    """How the step shrinks with the sum of squares."""
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    """First value of the sum of squares."""
    l1_regularization_strength: Strength = 0.0
    """Pulls weights to exactly 0."""
    l2_regularization_strength: Strength = 0.0
    """Keeps weights small."""
    l2_shrinkage_regularization_strength: Strength = 0.0
    """Keeps weights small, by a penalty on the gradient."""
    beta: Strength = 0.0
    """Beta of the paper."""


class Lion(Clipping):
    """Lion: steps of equal size, in the direction of the gradient's sign."""

    type: Literal["lion"] = "lion"
    learning_rate: LearningRateField = 0.001
    """Step size, or how it changes; a tenth to a third of what Adam wants."""
    beta_1: Annotated[float, Field(gt=0, le=1)] = 0.9
    """How the gradient and its mean mix for a step."""
    beta_2: Share = 0.99
    """Decay of the mean gradient."""


Optimizer = Sgd | Adagrad | Adadelta | RmsProp | Adam | AdamW | Adamax | Nadam | Ftrl | Lion
OptimizerName = Literal["sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "adamax", "nadam", "ftrl", "lion"]
_OptimizerByType = Annotated[Optimizer, Field(discriminator="type")]
OptimizerField = Annotated[
    _OptimizerByType, BeforeValidator(shorthand, json_schema_input_type=OptimizerName | _OptimizerByType)
]

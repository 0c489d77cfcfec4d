"""The part of a spec that says how to learn: loss, optimizer and what watches the training. Keras's names, defaults."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import Part, canonical, shorthand

LearningRate = Annotated[float, Field(gt=0, le=10_000)]
Share = Annotated[float, Field(ge=0, lt=1)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
Clip = Annotated[float, Field(gt=0)]


class CategoricalCrossentropy(Part):
    """Cross-entropy over classes, or over each output by itself (`binary_crossentropy`)."""

    type: Literal["categorical_crossentropy", "binary_crossentropy"]
    from_logits: bool = False
    """Whether the network ends in raw scores; what is served then gets the softmax or sigmoid added."""
    label_smoothing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far labels move towards the middle."""


class SparseCategoricalCrossentropy(Part):
    """Cross-entropy over classes, from integer labels."""

    type: Literal["sparse_categorical_crossentropy"] = "sparse_categorical_crossentropy"
    from_logits: bool = False
    """Whether the network ends in raw scores; what is served then gets the softmax added."""


class MeanSquaredError(Part):
    """Mean of squared differences from one-hot labels, or from 0 and 1 with a single output."""

    type: Literal["mean_squared_error"] = "mean_squared_error"


Loss = CategoricalCrossentropy | SparseCategoricalCrossentropy | MeanSquaredError
LossName = Literal[
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
    "mse",
]
_LossByType = Annotated[Loss, Field(discriminator="type")]
LossField = Annotated[_LossByType, BeforeValidator(shorthand, json_schema_input_type=LossName | _LossByType)]


class Clipping(Part):
    """Bounds on gradients, of which at most one may be set."""

    type: str  # Each optimizer says which; here so that it stays the first field.
    clipnorm: Clip | None = None
    """Largest norm of each weight's gradient."""
    clipvalue: Clip | None = None
    """Largest absolute value of each entry."""
    global_clipnorm: Clip | None = None
    """Largest norm of all gradients together."""


class Sgd(Clipping):
    """Gradient descent, with momentum when wanted."""

    type: Literal["sgd"] = "sgd"
    learning_rate: LearningRate = 0.01
    """Step size."""
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the last step that is kept."""
    nesterov: bool = False
    """Whether the gradient is looked up ahead."""


class Adam(Clipping):
    """Adam."""

    type: Literal["adam"] = "adam"
    learning_rate: LearningRate = 0.001
    """Step size."""
    beta_1: Share = 0.9
    """Decay of the mean gradient."""
    beta_2: Share = 0.999
    """Decay of the mean squared gradient."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""
    amsgrad: bool = False
    """Whether the divisor never shrinks."""


class RmsProp(Clipping):
    """RMSprop."""

    type: Literal["rmsprop"] = "rmsprop"
    learning_rate: LearningRate = 0.001
    """Step size."""
    rho: Share = 0.9
    """Decay of the mean squared gradient."""
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the last step that is kept."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""
    centered: bool = False
    """Whether the mean gradient is subtracted."""


class Adagrad(Clipping):
    """Adagrad."""

    type: Literal["adagrad"] = "adagrad"
    learning_rate: LearningRate = 0.001
    """Step size."""
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    """First value of the sum of squares."""
    epsilon: Epsilon = 1e-7
    """Added to the divisor."""


Optimizer = Sgd | Adam | RmsProp | Adagrad
OptimizerName = Literal["sgd", "adam", "rmsprop", "adagrad"]
_OptimizerByType = Annotated[Optimizer, Field(discriminator="type")]
OptimizerField = Annotated[
    _OptimizerByType, BeforeValidator(shorthand, json_schema_input_type=OptimizerName | _OptimizerByType)
]

Metric = Annotated[Literal["accuracy"], BeforeValidator(canonical, json_schema_input_type=Literal["accuracy", "acc"])]
Monitor = Annotated[str, Field(max_length=64, examples=["val_loss", "val_accuracy", "loss", "accuracy"])]
Patience = Annotated[int, Field(ge=0, le=100_000)]


class EarlyStopping(Part):
    """Stop when a figure no longer gets better."""

    monitor: Monitor = "val_loss"
    """The figure; losses should fall, everything else should rise."""
    patience: Patience = 0
    """Epochs without an improvement that are borne."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """The smallest change that counts."""
    restore_best_weights: bool = False
    """Whether the weights of the best epoch are kept rather than the last."""


class ReduceOnPlateau(Part):
    """Lower the learning rate when a figure no longer gets better: the arguments of Keras's ReduceLROnPlateau."""

    monitor: Monitor = "val_loss"
    """The figure."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What the rate is multiplied by."""
    patience: Patience = 10
    """Epochs without an improvement that are borne."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether better is lower or higher; `auto` goes by the figure's name."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0001
    """The smallest change that counts."""
    cooldown: Patience = 0
    """Epochs to wait after a change."""
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    """The rate never goes below."""

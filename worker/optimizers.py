"""From a spec's optimizer to Keras's."""

from typing import assert_never

import keras
import numpy as np

from models.spec import JobSpec
from models.spec.schedules import rate_at
from models.spec.training import (
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lion,
    Nadam,
    Optimizer,
    RmsProp,
    Sgd,
)


def build_optimizer(spec: JobSpec) -> keras.optimizers.Optimizer:
    """A fresh optimizer; under mixed_float16 one that scales the loss, since small gradients would become zero.

    Its learning rate is a plain number, that of the first batch: a schedule is worker.schedules's to follow.
    """
    arguments = spec.optimizer.model_dump(exclude={"type", "learning_rate"})
    first = float(rate_at(spec.optimizer.learning_rate, np.array(0)))
    optimizer = _class_of(spec.optimizer)(learning_rate=first, **arguments)
    if spec.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _class_of(optimizer: Optimizer) -> type[keras.optimizers.Optimizer]:
    match optimizer:
        case Sgd():
            return keras.optimizers.SGD
        case Adagrad():
            return keras.optimizers.Adagrad
        case Adadelta():
            return keras.optimizers.Adadelta
        case RmsProp():
            return keras.optimizers.RMSprop
        case Adam():
            return keras.optimizers.Adam
        case AdamW():
            return keras.optimizers.AdamW
        case Adamax():
            return keras.optimizers.Adamax
        case Nadam():
            return keras.optimizers.Nadam
        case Ftrl():
            return keras.optimizers.Ftrl
        case Lion():
            return keras.optimizers.Lion
        case _:
            assert_never(optimizer)

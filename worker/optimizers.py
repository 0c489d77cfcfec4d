"""From a spec's optimizer to Keras's."""

from typing import assert_never

import keras

from models.spec import JobSpec
from models.spec.training import Adagrad, Adam, Optimizer, RmsProp, Sgd
from worker.network import policy_of


def build_optimizer(spec: JobSpec) -> keras.optimizers.Optimizer:
    """A fresh optimizer; under mixed_float16 one that scales the loss, since small gradients would become zero."""
    arguments = spec.optimizer.model_dump(exclude={"type"})
    optimizer = _class_of(spec.optimizer)(**arguments)
    if policy_of(spec) == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _class_of(optimizer: Optimizer) -> type[keras.optimizers.Optimizer]:
    match optimizer:
        case Sgd():
            return keras.optimizers.SGD
        case Adam():
            return keras.optimizers.Adam
        case RmsProp():
            return keras.optimizers.RMSprop
        case Adagrad():
            return keras.optimizers.Adagrad
        case _:
            assert_never(optimizer)

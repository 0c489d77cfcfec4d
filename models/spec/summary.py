"""What a valid spec amounts to, in numbers: layers, parameters, memory, steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import assert_never

import numpy as np
from pydantic import BaseModel

from models.spec.data import shape_of, split_sizes
from models.spec.job import JobSpec
from models.spec.kinds import KINDS_WITHOUT_NETWORK
from models.spec.schedules import curve_steps, rate_at
from models.spec.shapes import LayerSummary, trace
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

# Measured: what a worker takes that is warm and has no job (TensorFlow 2.21, Keras 3.15, Linux).
TENSORFLOW_MB = 700
# Measured with dense networks of 6 and 19 million parameters: 260 at the peak, which is while the ONNX file is made.
WRITING_BYTES = 200


class LearningRatePoint(BaseModel):
    """The learning rate of a step; steps count batches from 0 over the whole run."""

    step: int
    learning_rate: float


class Summary(BaseModel):
    """A spec in numbers, worked out without TensorFlow."""

    layers: list[LayerSummary]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    """Of matrix products and convolutions, for one example forward."""
    memory_bytes: int
    """An estimate of what training holds: data, weights, gradients, optimizer, activations of a batch."""
    steps_per_epoch: int
    learning_rate: list[LearningRatePoint]
    """The curve in at most 200 points, the first and last step among them; two for a rate that stays."""


@dataclass(frozen=True)
class Memory:
    """What training holds, in bytes, by what it is for; TensorFlow itself and its workspace come on top."""

    data: int
    """Images (one a pixel) and labels (8) of training and validation."""
    weights: int
    """4 for each parameter, for each trainable one's gradient, and for each number the optimizer keeps."""
    activations: int
    """For a batch twice the outputs of all layers (values and their gradients) at 4, or 2 under mixed precision."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.weights + self.activations


def summarize(spec: JobSpec) -> Summary:
    """The numbers of `spec`, which must be valid."""
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    return Summary(
        layers=layers,
        parameters=sum(layer.parameters for layer in layers),
        trainable_parameters=sum(layer.trainable_parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        memory_bytes=memory_of(spec, layers).total,
        steps_per_epoch=steps_per_epoch(spec),
        learning_rate=_curve(spec),
    )


def memory_of(spec: JobSpec, layers: Sequence[LayerSummary]) -> Memory:
    """What training the network of `spec`, which has these layers, holds."""
    shape = shape_of(spec.dataset)
    training, validation = split_sizes(spec.dataset)
    width = 2 if spec.precision.startswith("mixed") else 4
    activations = 4 * prod(shape) + 2 * width * sum(prod(layer.output_shape) for layer in layers)
    parameters = sum(layer.parameters for layer in layers)
    trainable = sum(layer.trainable_parameters for layer in layers)
    return Memory(
        data=(training + validation) * (prod(shape) + 8),
        weights=4 * (parameters + trainable * (1 + _slots(spec.optimizer))),
        activations=batch_size_of(spec) * activations,
    )


def memory_mb(spec: JobSpec) -> int | None:
    """About how much memory (in 1,000,000 bytes) a worker needs for `spec`, TensorFlow included.

    None where that is not known: for kinds without a network of their own, and on a GPU, whose memory is another.
    """
    if spec.kind in KINDS_WITHOUT_NETWORK or spec.device == "gpu":
        return None
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    whole = memory_of(spec, layers).total + writing_bytes(spec, layers)
    return min(TENSORFLOW_MB + whole // 1_000_000, 2**31 - 1)  # the most a column holds


def writing_bytes(spec: JobSpec, layers: Sequence[LayerSummary]) -> int:
    """What it takes to write the model that `spec` ends with in its formats, beside what training holds."""
    return WRITING_BYTES * sum(layer.parameters for layer in layers) if spec.kind == "train" else 0


def steps_per_epoch(spec: JobSpec) -> int:
    """Batches an epoch of `spec`, the partial one at the end included; its data part must be valid."""
    training, _ = split_sizes(spec.dataset)
    return ceil(training / batch_size_of(spec))


def batch_size_of(spec: JobSpec) -> int:
    """Examples in a batch of `spec`, at most all there are; its data part must be valid."""
    training, _ = split_sizes(spec.dataset)
    return training if spec.batch_size == "full" else min(spec.batch_size, training)


def _curve(spec: JobSpec) -> list[LearningRatePoint]:
    rate = spec.optimizer.learning_rate
    steps = curve_steps(rate, steps_per_epoch(spec) * spec.epochs)
    return [
        LearningRatePoint(step=step, learning_rate=value)
        for step, value in zip(steps, rate_at(rate, np.array(steps)).tolist(), strict=True)
    ]


def _slots(optimizer: Optimizer) -> int:
    """Numbers that Keras's optimizer keeps for each trainable parameter."""
    match optimizer:
        case Sgd(momentum=momentum):
            return int(momentum > 0)
        case Adam(amsgrad=amsgrad) | AdamW(amsgrad=amsgrad):
            return 2 + amsgrad
        case RmsProp(momentum=momentum, centered=centered):
            return 1 + (momentum > 0) + centered
        case Adagrad() | Lion():
            return 1
        case Adadelta() | Adamax() | Nadam() | Ftrl():
            return 2
        case _:
            assert_never(optimizer)

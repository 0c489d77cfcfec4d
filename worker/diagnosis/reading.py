"""The figures of a job in relation to something: its loss to that of guessing, its rate to the usual one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, log, prod
from typing import NamedTuple, assert_never

import numpy as np

from models.diagnoses import LayerSigns
from models.spec import JobSpec
from models.spec.data import class_labels_of, is_regression, shape_of
from models.spec.layers import Layer, Merge
from models.spec.network import INPUT, Graph, Layers, Node, Preset
from models.spec.schedules import rate_at
from models.spec.shapes import trace
from models.spec.summary import steps_per_epoch
from models.spec.training import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    Huber,
    KlDivergence,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from worker.diagnosis.history import EpochSigns


class Rates(NamedTuple):
    """Learning rates of an optimizer, its momentum taken into account."""

    usual: float
    """One to begin with."""
    highest: float
    """Beyond it hardly any network learns."""


# The usual ones are Keras's defaults but for four. Adadelta's paper has 1 (https://arxiv.org/abs/1212.5701) where Keras
# has 0.001; Adagrad and Ftrl are slow with it; Lion wants a tenth to a third of Adam's
# (https://arxiv.org/abs/2302.06675).
RATES = {
    "sgd": Rates(0.01, 2.0),
    "adagrad": Rates(0.01, 1.0),
    "adadelta": Rates(1.0, 50.0),
    "ftrl": Rates(0.05, 5.0),
    "lion": Rates(0.0003, 0.005),
}
ADAPTIVE = Rates(0.001, 0.02)


# Of the way from guessing to perfect, or of the loss; and epochs before anything is said of how the loss falls.
HARDLY, WAITED = 0.2, 3


class Narrowest(NamedTuple):
    """The place where the fewest numbers carry all that the network knows of an example."""

    layer: str
    size: int


@dataclass(frozen=True)
class Reading:
    """One job as far as it has come; what takes long to work out is only worked out when it is asked for."""

    spec: JobSpec
    history: Sequence[EpochSigns]

    @property
    def now(self) -> EpochSigns:
        """The latest epoch."""
        return self.history[-1]

    @cached_property
    def steps(self) -> int:
        """Batches that were trained on: with large ones an epoch may be a single step."""
        return self.now.epoch * steps_per_epoch(self.spec)

    @cached_property
    def layers(self) -> Sequence[LayerSigns]:
        """What was seen of the layers last; none where nobody looked yet."""
        return next((each.layers for each in reversed(self.history) if each.layers), ())

    @property
    def looked(self) -> int:
        """The epoch of that look; 0 for none."""
        return next((each.epoch for each in reversed(self.history) if each.layers), 0)

    @cached_property
    def guessing(self) -> float | None:
        """The loss of who answers every example with the shares of the classes, taken as equal.

        None where that cannot be told: of a regression, and where penalties or class weights are in the loss.
        """
        if is_regression(self.spec.dataset) or self.spec.class_weight is not None or _has_penalties(self.spec):
            return None
        return _loss_of_guessing(self.spec.loss, 1 / self.classes)

    @cached_property
    def classes(self) -> int:
        """How many classes there are; 0 in a regression."""
        return len(class_labels_of(self.spec.dataset))

    @cached_property
    def skill(self) -> float | None:
        """What the network can do now, from 0, which is guessing, to 1; the best that any figure says.

        None in a regression, and where neither accuracy nor a loss that can be related to guessing is known.
        """
        known = [self.skill_in(prefix) for prefix in ("", "val_")]
        return max((each for each in known if each is not None), default=None)

    def skill_in(self, prefix: str) -> float | None:
        """The same for training figures (""), or those of validation ("val_")."""
        metrics, found = self.now.metrics, []
        accuracy, loss = metrics.get(f"{prefix}accuracy"), metrics.get(f"{prefix}loss")
        if accuracy is not None and self.classes:
            found.append((accuracy - 1 / self.classes) / (1 - 1 / self.classes))
        if loss is not None and self.guessing is not None:
            found.append(1 - loss / self.guessing)
        finite = [each for each in found if isfinite(each)]
        return max(finite, default=None)

    @property
    def unlearned(self) -> bool:
        """Whether the network hardly does better than guessing; if that is not known, whether its loss hardly fell."""
        if self.skill is None:
            return self.now.epoch >= WAITED and self.gain < HARDLY
        return self.skill < HARDLY

    @property
    def gain(self) -> float:
        """By which share the loss has fallen since the first epoch."""
        return self.gain_since(self.history[0].epoch)

    def gain_since(self, epoch: int) -> float:
        """By which share the loss has fallen since `epoch`, or since the one before that is known."""
        before = next((each for each in reversed(self.history) if each.epoch <= epoch), self.history[0])
        then, now = before.metrics["loss"], self.now.metrics["loss"]
        return (then - now) / abs(then) if then else 0.0

    @property
    def gain_at_the_end(self) -> float:
        """The share by which the loss will have fallen after the last epoch, if it falls on as in the latest half."""
        now, first = self.now, self.history[0].metrics["loss"]
        half = self.history[len(self.history) // 2 - 1] if len(self.history) > 1 else now
        passed = max(1, now.epoch - half.epoch)
        slope = (half.metrics["loss"] - now.metrics["loss"]) / passed
        last = now.metrics["loss"] - slope * max(0, self.spec.epochs - now.epoch)
        return (first - last) / abs(first) if first else 0.0

    @cached_property
    def momentum(self) -> float:
        """By what momentum multiplies the steps in the long run."""
        share = getattr(self.spec.optimizer, "momentum", 0.0)
        return 1 / max(1 - share, 0.01)

    @cached_property
    def rates(self) -> Rates:
        """What is usual for the optimizer, its momentum taken off."""
        known = RATES.get(self.spec.optimizer.type, ADAPTIVE)
        return Rates(known.usual, known.highest / self.momentum)

    @property
    def highest_rate(self) -> float:
        """The highest learning rate at the end of an epoch so far."""
        return max(each.learning_rate for each in self.history)

    @property
    def is_fast(self) -> bool:
        """Whether the learning rate is, or was, several times the usual one."""
        return self.highest_rate * self.momentum > 3 * self.rates.usual

    @property
    def rate_to_come(self) -> float:
        """The highest learning rate that a schedule still has before it; without one the present rate."""
        plan = self.spec.optimizer.learning_rate
        if isinstance(plan, float):
            return self.now.learning_rate
        whole = max(self.now.epoch, self.spec.epochs) * steps_per_epoch(self.spec)
        to_come = np.linspace(self.steps, whole, 32)
        return float(rate_at(plan, to_come).max())

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The network as nodes, inputs before what they feed."""
        return self.spec.nodes

    @cached_property
    def parts(self) -> dict[str, Layer | Merge]:
        """The layers by name."""
        return {node.name: node.layer for node in self.nodes}

    def units(self, layer: str) -> int:
        """How many units or filters a layer has; 0 where it has neither."""
        part = self.parts.get(layer)
        return int(getattr(part, "units", None) or getattr(part, "filters", None) or 0)

    def with_units(self, layer: str) -> str:
        """The layer itself, or the nearest before it, that has units or filters."""
        inputs = {node.name: node.inputs[0] for node in self.nodes}
        while not self.units(layer) and inputs[layer] != INPUT:
            layer = inputs[layer]
        return layer

    @property
    def is_linear(self) -> bool:
        """Whether there is nothing but the outputs that learns, and nothing that bends."""
        bending = {"max_pooling2d", "activation", "simple_rnn", "lstm", "gru"}
        before = list(self.parts)[:-1]
        return not any(self.units(name) or self.parts[name].type in bending for name in before)

    @cached_property
    def narrowest(self) -> Narrowest | None:
        """The narrowest place between input and output; None in a network without a place between them.

        In a graph it is all that lives on side by side after a node, so a narrow branch beside others is none.
        """
        nodes = self.nodes
        facts, _ = trace(nodes, shape_of(self.spec.dataset))
        sizes = {INPUT: prod(shape_of(self.spec.dataset)), **{each.name: prod(each.output_shape) for each in facts}}
        last_use = {name: place for place, node in enumerate(nodes) for name in node.inputs}
        alive, found = {INPUT}, None
        for place, node in enumerate(nodes[:-1]):
            alive = {name for name in (*alive, node.name) if last_use[name] > place}
            size = sum(sizes[name] for name in alive)
            if found is None or size < found.size:
                found = Narrowest(node.name, size)
        return found


def _has_penalties(spec: JobSpec) -> bool:
    match spec.network:
        case Preset():
            return False
        case Layers(layers=layers):
            parts: list[Layer | Merge] = list(layers)
        case Graph(graph=graph):
            parts = [node.layer for node in graph.values()]
    fields = ((part, name) for part in parts for name in type(part).model_fields if name.endswith("_regularizer"))
    return any(getattr(part, name) is not None for part, name in fields)


def _loss_of_guessing(loss: Loss, share: float) -> float:
    """Of classes with that share of the examples each, all of which are answered with it.

    Hinge losses and the absolute error are least where every class is denied. A single output tells two classes apart,
    and says of one of them what two outputs say of both.
    """
    spread = share * (1 - share)
    match loss:
        case SparseCategoricalCrossentropy() | CategoricalCrossentropy() | KlDivergence():
            return -log(share)
        case BinaryCrossentropy():
            return -share * log(share) - (1 - share) * log(1 - share)
        case MeanSquaredError():
            return spread
        case MeanAbsoluteError():
            return share
        case Huber(delta=delta):
            return min(spread / 2, delta * share)
        case Hinge():
            return 2 * share
        case CategoricalHinge():
            return 1.0
        case _:
            assert_never(loss)

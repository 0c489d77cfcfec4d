"""Whether loss, optimizer, metrics and what watches the training fit each other, the data and the network."""

from collections.abc import Iterator
from typing import assert_never

import numpy as np

from models.spec.checks.data import data_faults
from models.spec.checks.fault import Fault
from models.spec.data import class_labels_of, is_regression, shape_of
from models.spec.job import JobSpec
from models.spec.network import last_activation
from models.spec.problems import Path
from models.spec.schedules import rate_at
from models.spec.shapes import trace
from models.spec.summary import steps_per_epoch
from models.spec.training import (
    MAX_RATE,
    REGRESSION_LOSSES,
    REGRESSION_METRICS,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    KlDivergence,
    LearningRate,
    PiecewiseConstantDecay,
    PolynomialDecay,
    SparseCategoricalCrossentropy,
    TopKCategoricalAccuracy,
    metric_name,
)


def training_faults(spec: JobSpec) -> Iterator[Fault]:
    """A loss or metric that does not fit data or network, clipping twice, an odd schedule, unmeasured figures."""
    yield from _loss(spec)
    yield from _clipping(spec)
    yield from _learning_rate(spec)
    yield from _metrics(spec)
    yield from _monitors(spec)


def _loss(spec: JobSpec) -> Iterator[Fault]:
    loss = spec.loss
    if is_regression(spec.dataset):
        if loss.type not in REGRESSION_LOSSES:
            detail = f"{spec.dataset.name} has values, not classes: loss must be one of {', '.join(REGRESSION_LOSSES)}"
            yield Fault(("loss", "type"), "invalid", detail, loss.type, "loss")
        return
    ends_in = last_activation(spec.nodes)
    match loss:
        case KlDivergence() if ends_in not in ("softmax", "sigmoid"):
            detail = f"kl_divergence needs probabilities: let the network end in softmax, not in {ends_in}"
            yield Fault(("loss", "type"), "invalid", detail, loss.type, "loss")
        case CategoricalCrossentropy() | SparseCategoricalCrossentropy() | BinaryCrossentropy():
            normaliser = "sigmoid" if isinstance(loss, BinaryCrossentropy) else "softmax"
            path = ("loss", "from_logits")
            if loss.from_logits and ends_in == normaliser:
                yield Fault(path, "invalid", f"from_logits must be false for a network that ends in {ends_in}", True)
            if not loss.from_logits and ends_in not in ("softmax", "sigmoid"):
                detail = (
                    f"from_logits must be true for a network that ends in {ends_in}, which gives scores and no "
                    f"probabilities; or let it end in {normaliser}"
                )
                yield Fault(path, "invalid", detail, False)


def _clipping(spec: JobSpec) -> Iterator[Fault]:
    names = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(spec.optimizer, name) is not None]
    for name in names[1:]:
        detail = f"only one of clipnorm, clipvalue and global_clipnorm may be set; {names[0]} is set too"
        yield Fault(("optimizer", name), "invalid", detail, getattr(spec.optimizer, name))


def schedule_faults(plan: LearningRate, path: Path) -> Iterator[Fault]:
    """What is odd about a schedule by itself, at `path`."""
    match plan:
        case PiecewiseConstantDecay():
            yield from _piecewise(plan, path)
        case CosineDecay(warmup_target=None, warmup_steps=warmup_steps) if warmup_steps:
            detail = "warmup_steps needs a warmup_target, the rate that the warm-up leads to"
            yield Fault((*path, "warmup_steps"), "invalid", detail, warmup_steps)
        case CosineDecay(warmup_target=None, initial_learning_rate=0.0):
            detail = "initial_learning_rate must be greater than 0 without a warm-up to warmup_target"
            yield Fault((*path, "initial_learning_rate"), "too_small", detail, 0.0)
        case CosineDecay() | ExponentialDecay() | InverseTimeDecay() | PolynomialDecay() | CosineDecayRestarts():
            pass
        case float():
            pass
        case _:
            assert_never(plan)


def outgrows(plan: LearningRate, last: int) -> bool:
    """Whether the rate is beyond any sensible one at the step `last`: of those that can be written, one kind grows."""
    if not isinstance(plan, ExponentialDecay) or plan.decay_rate <= 1:
        return False
    return bool(rate_at(plan, np.array(last)) > MAX_RATE)


def _learning_rate(spec: JobSpec) -> Iterator[Fault]:
    plan, path = spec.optimizer.learning_rate, ("optimizer", "learning_rate")
    yield from schedule_faults(plan, path)
    if isinstance(plan, ExponentialDecay) and plan.decay_rate > 1 and not any(data_faults(spec)):
        last = steps_per_epoch(spec) * spec.epochs - 1
        if outgrows(plan, last):
            detail = f"decay_rate must not let the rate grow beyond {MAX_RATE:,} by the last step, {last:,}"
            yield Fault((*path, "decay_rate"), "too_large", detail, plan.decay_rate)
    if spec.reduce_on_plateau is not None and not isinstance(plan, float):
        detail = f"reduce_on_plateau needs a learning rate that is a number; the {plan.type} sets it anew every batch"
        received = spec.reduce_on_plateau.model_dump(mode="json", exclude_unset=True)
        yield Fault(("reduce_on_plateau",), "invalid", detail, received)


def _piecewise(plan: PiecewiseConstantDecay, path: Path) -> Iterator[Fault]:
    pairs = zip(plan.boundaries, plan.boundaries[1:], strict=False)
    for place, (before, boundary) in enumerate(pairs, start=1):
        if boundary <= before:
            detail = f"boundaries must rise: this one must be greater than {before}"
            yield Fault((*path, "boundaries", place), "too_small", detail, boundary)
    wanted, given = len(plan.boundaries) + 1, len(plan.values)
    if given != wanted:
        code = "too_short" if given < wanted else "too_long"
        detail = f"values must have {wanted} entries, one more than boundaries"
        yield Fault((*path, "values"), code, detail, list(plan.values))


def _metrics(spec: JobSpec) -> Iterator[Fault]:
    classes = len(class_labels_of(spec.dataset))
    for place, metric in enumerate(spec.metrics):
        name = metric_name(metric)
        if is_regression(spec.dataset):
            if name not in REGRESSION_METRICS:
                fitting = " or ".join(REGRESSION_METRICS)
                detail = f"{spec.dataset.name} has values, not classes: a metric must be {fitting}"
                yield Fault(("metrics", place), "invalid", detail, name, "metric")
        elif isinstance(metric, TopKCategoricalAccuracy):
            if metric.k > classes:
                detail = f"k must be at most {classes}, the number of classes"
                yield Fault(("metrics", place, "k"), "too_large", detail, metric.k)
            elif _outputs(spec) == 1:
                detail = f"{name} needs one output for each class: let the network end in {classes}"
                yield Fault(("metrics", place), "invalid", detail, name, "metric")


def _outputs(spec: JobSpec) -> int | None:
    """Width of the last layer; None where the layers do not fit each other."""
    layers, misfit = trace(spec.nodes, shape_of(spec.dataset))
    return None if misfit else layers[-1].output_shape[-1]


def _monitors(spec: JobSpec) -> Iterator[Fault]:
    plain, validated = ["loss", *map(metric_name, spec.metrics)], spec.dataset.validation != "none"
    known = [*plain, *(f"val_{name}" for name in plain)] if validated else plain
    without = "" if validated else " (there is no validation)"
    for place, watcher in (("early_stopping", spec.early_stopping), ("reduce_on_plateau", spec.reduce_on_plateau)):
        if watcher is not None and watcher.monitor not in known:
            detail = f"monitor must be one of {', '.join(known)}{without}"
            yield Fault((place, "monitor"), "unknown_value", detail, watcher.monitor)

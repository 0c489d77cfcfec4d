"""Whether loss, optimizer and what watches the training fit each other and the network."""

from collections.abc import Iterator

from models.spec.checks.fault import Fault
from models.spec.job import JobSpec
from models.spec.network import last_activation
from models.spec.training import MeanSquaredError


def training_faults(spec: JobSpec) -> Iterator[Fault]:
    """A loss that does not fit the last activation, clipping twice, figures that are not measured."""
    yield from _loss(spec)
    yield from _clipping(spec)
    yield from _monitors(spec)


def _loss(spec: JobSpec) -> Iterator[Fault]:
    if isinstance(spec.loss, MeanSquaredError):
        return
    ends_in, path = last_activation(spec.nodes), ("loss", "from_logits")
    normaliser = "sigmoid" if spec.loss.type == "binary_crossentropy" else "softmax"
    if spec.loss.from_logits and ends_in == normaliser:
        yield Fault(path, "invalid", f"from_logits must be false for a network that ends in {ends_in} already", True)
    if not spec.loss.from_logits and ends_in == "linear":
        detail = f"from_logits must be true for a network that ends in raw scores, or let it end in {normaliser}"
        yield Fault(path, "invalid", detail, False)


def _clipping(spec: JobSpec) -> Iterator[Fault]:
    names = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(spec.optimizer, name) is not None]
    for name in names[1:]:
        detail = f"only one of clipnorm, clipvalue and global_clipnorm may be set; {names[0]} is set too"
        yield Fault(("optimizer", name), "invalid", detail, getattr(spec.optimizer, name))


def _monitors(spec: JobSpec) -> Iterator[Fault]:
    plain, validated = ["loss", *spec.metrics], spec.dataset.validation != "none"
    known = [*plain, *(f"val_{name}" for name in plain)] if validated else plain
    without = "" if validated else " (there is no validation)"
    for place, watcher in (("early_stopping", spec.early_stopping), ("reduce_on_plateau", spec.reduce_on_plateau)):
        if watcher is not None and watcher.monitor not in known:
            detail = f"monitor must be one of {', '.join(known)}{without}"
            yield Fault((place, "monitor"), "unknown_value", detail, watcher.monitor)

"""What pydantic cannot see: whether the parts of a spec fit each other and the data set."""

from collections.abc import Iterator
from typing import NamedTuple

from models.datasets import DATASETS, trainable_images
from models.spec.data import class_labels_of
from models.spec.initializers import RandomUniform
from models.spec.job import JobSpec
from models.spec.network import ActivationLayer, Conv2D, Dense, Flatten, Layer, Preset, last_activation
from models.spec.problems import Path, Problem, problem_at
from models.spec.shapes import LayerSummary, trace
from models.spec.training import MeanSquaredError

MAX_PARAMETERS = 50_000_000


class Fault(NamedTuple):
    """A mistake: its path in the normalised spec, and what was received there, under another name where that helps."""

    path: Path
    code: str
    detail: str
    value: object
    name: str = ""


def problems_of(spec: JobSpec) -> list[tuple[Path, Problem]]:
    """Every mistake, each with its path in the normalised spec."""
    found = (*_dataset(spec), *_class_weight(spec), *_network(spec), *_loss(spec), *_clipping(spec), *_monitors(spec))
    return [(fault.path, problem_at(*fault)) for fault in found]


def _dataset(spec: JobSpec) -> Iterator[Fault]:
    dataset, facts = spec.dataset, DATASETS[spec.dataset.name]
    unknown = [(place, label) for place, label in enumerate(dataset.classes or ()) if label >= len(facts.classes)]
    for place, label in unknown:
        detail = f"classes of {dataset.name} are 0 to {len(facts.classes) - 1}"
        yield Fault(("dataset", "classes", place), "too_large", detail, label)
    if unknown or dataset.train_size is None:
        return
    most = trainable_images(facts, dataset.classes, dataset.held_back if isinstance(dataset.held_back, float) else 0.0)
    if dataset.train_size > most:
        detail = f"train_size must be at most {most}, the training images of these classes that are not held back"
        yield Fault(("dataset", "train_size"), "too_large", detail, dataset.train_size)


def _class_weight(spec: JobSpec) -> Iterator[Fault]:
    labels = class_labels_of(spec.dataset)
    weights = spec.class_weight or {}
    for label in weights:
        if int(label) not in labels:
            detail = f"class_weight names a class that is not learned; classes are {', '.join(map(str, labels))}"
            yield Fault(("class_weight", label), "unknown_key", detail, weights[label])
    if weights and all(weights.get(str(label), 1.0) == 0 for label in labels):
        yield Fault(
            ("class_weight",), "invalid", "class_weight must leave at least one class a weight above 0", weights
        )


def _network(spec: JobSpec) -> Iterator[Fault]:
    layers, place = spec.layers, ("network", "layers")
    facts, misfit = trace(layers, DATASETS[spec.dataset.name].shape)
    if misfit:
        layer = layers[len(facts)]
        path: Path = (*place, len(facts), misfit.field) if misfit.field else (*place, len(facts))
        yield Fault(path, "shape", misfit.detail, getattr(layer, misfit.field, layer.type), misfit.field or "type")
    for n, layer in enumerate(layers):
        yield from _initializers(layer, (*place, n))
    for n, (layer, summary) in enumerate(zip(layers, facts, strict=False)):
        softmax = isinstance(layer, Dense | Conv2D | ActivationLayer) and layer.activation.type == "softmax"
        if softmax and summary.output_shape[-1] == 1:
            detail = "softmax over one value is always 1: use sigmoid, or more outputs"
            yield Fault((*place, n, "activation"), "invalid", detail, "softmax")
    total = sum(layer.parameters for layer in facts)
    if total > MAX_PARAMETERS:
        largest = max(range(len(facts)), key=lambda n: facts[n].parameters)
        detail = (
            f"the network would have {total:,} parameters of at most {MAX_PARAMETERS:,}, "
            f"most of them in {facts[largest].name} ({facts[largest].parameters:,})"
        )
        yield Fault((*place, largest), "too_large", detail, total, "parameters")
    if not misfit:
        yield from _outputs(spec, facts)


def _initializers(layer: Layer, place: Path) -> Iterator[Fault]:
    for name in ("kernel_initializer", "bias_initializer"):
        match getattr(layer, name, None):
            case RandomUniform(minval=minval, maxval=maxval) if maxval < minval:
                yield Fault((*place, name, "maxval"), "too_small", f"maxval must be at least minval, {minval}", maxval)


def _outputs(spec: JobSpec, facts: list[LayerSummary]) -> Iterator[Fault]:
    """Whether what comes out fits loss and classes; the fault is the layer's that set the width."""
    layers, shape, classes = spec.layers, facts[-1].output_shape, len(class_labels_of(spec.dataset))
    single = classes == 2 and spec.loss.type in ("binary_crossentropy", "mean_squared_error")
    wanted = f"{classes} outputs" + (" or 1" if single else "")
    if isinstance(spec.network, Preset):
        place: Path = ("network", "preset")
    else:
        sets_width = [n for n, layer in enumerate(layers) if isinstance(layer, Dense | Conv2D | Flatten)]
        place = ("network", "layers", sets_width[-1] if sets_width else len(layers) - 1)
    if len(shape) != 1:
        detail = f"the network must end in {wanted} in a row: put a flatten before the last dense layer"
        yield Fault(place, "output_shape", detail, list(shape), "output_shape")
    elif shape[0] != classes and not (single and shape[0] == 1):
        detail = f"{spec.loss.type} over {classes} classes needs a network that ends in {wanted}"
        yield Fault(place, "output_shape", detail, shape[0], "outputs")
    elif not any(layer.trainable_parameters for layer in facts):
        yield Fault(place, "invalid", "the network has nothing to learn: add a dense or conv2d layer", 0, "parameters")


def _loss(spec: JobSpec) -> Iterator[Fault]:
    if isinstance(spec.loss, MeanSquaredError):
        return
    ends_in, path = last_activation(spec.layers), ("loss", "from_logits")
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

"""Whether the choices of data fit the data set."""

from collections.abc import Iterator

from models.datasets import DATASETS, trainable_images
from models.spec.checks.fault import Fault
from models.spec.data import class_labels_of
from models.spec.job import JobSpec


def data_faults(spec: JobSpec) -> Iterator[Fault]:
    """Classes, sizes and class weights that the data set does not have."""
    yield from _dataset(spec)
    yield from _class_weight(spec)


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

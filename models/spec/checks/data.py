"""Whether the choices of data fit the data set."""

from collections.abc import Iterator

from models.datasets import DATASETS
from models.spec.checks.fault import Fault
from models.spec.data import (
    Dataset,
    FoldValidation,
    ImageDataset,
    PolynomialDataset,
    SpiralDataset,
    class_labels_of,
    held_out,
    is_regression,
    train_count,
)
from models.spec.job import JobSpec


def data_faults(spec: JobSpec) -> Iterator[Fault]:
    """Classes, sizes and class weights that the data set does not have."""
    yield from _dataset(spec)
    yield from _class_weight(spec)


def _dataset(spec: JobSpec) -> Iterator[Fault]:
    dataset = spec.dataset
    unknown = list(_unknown_classes(dataset))
    yield from unknown
    if unknown:
        return
    count = train_count(dataset)
    if isinstance(dataset.validation, FoldValidation):
        fold, folds = dataset.validation.fold, dataset.validation.folds
        if fold >= folds:
            detail = f"fold counts from 0 and must be less than folds, {folds}"
            yield Fault(("dataset", "validation", "fold"), "too_large", detail, fold)
        if folds > (most := _most_folds(dataset)):
            what = "training examples" if is_regression(dataset) else "training examples of each class"
            detail = f"folds must be at most {most}, the {what}"
            yield Fault(("dataset", "validation", "folds"), "too_large", detail, folds)
            return
    most = count - held_out(count, dataset.validation)
    if dataset.train_size is not None and dataset.train_size > most:
        detail = f"train_size must be at most {most}, the training examples that are not held back for validation"
        yield Fault(("dataset", "train_size"), "too_large", detail, dataset.train_size)


def _unknown_classes(dataset: Dataset) -> Iterator[Fault]:
    if not isinstance(dataset, ImageDataset):
        return
    count = len(DATASETS[dataset.name].classes)
    for place, label in enumerate(dataset.classes or ()):
        if label >= count:
            detail = f"classes of {dataset.name} are 0 to {count - 1}"
            yield Fault(("dataset", "classes", place), "too_large", detail, label)


def _most_folds(dataset: Dataset) -> int:
    """So many that each fold still has an example of every class."""
    match dataset:
        case ImageDataset(name=name):
            return min(DATASETS[name].train_counts[label] for label in class_labels_of(dataset))
        case SpiralDataset(samples=samples) | PolynomialDataset(samples=samples):
            return samples


def _class_weight(spec: JobSpec) -> Iterator[Fault]:
    if is_regression(spec.dataset):
        if spec.class_weight is not None:
            detail = f"class_weight needs classes, and {spec.dataset.name} is a regression: leave it out"
            yield Fault(("class_weight",), "invalid", detail, spec.class_weight)
        return
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

"""The part of a spec that says what to learn from: the data set, which part of it, and how it is scaled and varied."""

from typing import Annotated, Literal, assert_never

from pydantic import BeforeValidator, Field, TypeAdapter

from models.datasets import DATASETS, SYNTHETIC, Recipe, trainable_images
from models.spec.data.images import Augmentation, ImageDataset, ImageDatasetName
from models.spec.data.synthetic import PolynomialDataset, SpiralDataset
from models.spec.data.validation import (
    FoldValidation,
    SplitValidation,
    TestValidation,
    Validation,
    held_out,
)
from models.synthetic import POLYNOMIAL_TEST_SIZE

__all__ = [
    "Augmentation",
    "Dataset",
    "DatasetField",
    "FoldValidation",
    "ImageDataset",
    "PolynomialDataset",
    "SpiralDataset",
    "SplitValidation",
    "TestValidation",
    "Validation",
    "chosen_classes",
    "class_labels_of",
    "class_names_of",
    "dataset_named",
    "held_out",
    "is_regression",
    "recipe_of",
    "shape_of",
    "split_sizes",
    "test_count",
    "train_count",
]


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Dataset = ImageDataset | SpiralDataset | PolynomialDataset
_Name = ImageDatasetName | Literal["spiral", "polynomial"]
_ByName = Annotated[Dataset, Field(discriminator="name")]
DatasetField = Annotated[_ByName, BeforeValidator(_named, json_schema_input_type=_Name | _ByName)]
_ADAPTER: TypeAdapter[Dataset] = TypeAdapter(DatasetField)


def dataset_named(name: str) -> Dataset:
    """The data set that a spec means which gives only a name. Raises pydantic's ValidationError for an unknown one."""
    return _ADAPTER.validate_python(name)


def shape_of(dataset: Dataset) -> tuple[int, ...]:
    """The shape of one example: (28, 28, 1) for images, (n,) for n features."""
    return DATASETS[dataset.name].shape if isinstance(dataset, ImageDataset) else SYNTHETIC[dataset.name].shape


def is_regression(dataset: Dataset) -> bool:
    """Whether a number is to be learned rather than a class; labels are then values."""
    return isinstance(dataset, PolynomialDataset)


def recipe_of(dataset: Dataset) -> Recipe | None:
    """How a picture sent for prediction becomes an example; None where examples are features."""
    return DATASETS[dataset.name].recipe if isinstance(dataset, ImageDataset) else None


def chosen_classes(dataset: Dataset) -> tuple[int, ...] | None:
    """The labels that are kept of a data set that has more; None keeps all."""
    return dataset.classes if isinstance(dataset, ImageDataset) else None


def class_labels_of(dataset: Dataset) -> list[int]:
    """The data set's own labels in the order of the network's outputs; none for a regression."""
    match dataset:
        case ImageDataset(name=name, classes=classes):
            return list(range(len(DATASETS[name].classes)) if classes is None else classes)
        case SpiralDataset(n_classes=n_classes):
            return list(range(n_classes))
        case PolynomialDataset():
            return []
        case _:
            assert_never(dataset)


def class_names_of(dataset: Dataset) -> list[str]:
    """The names of the classes in the order of the network's outputs; none for a regression."""
    labels = class_labels_of(dataset)
    if not isinstance(dataset, ImageDataset):
        return [str(label) for label in labels]
    names = DATASETS[dataset.name].classes
    return [names[label] for label in labels]


def train_count(dataset: Dataset) -> int:
    """How many training examples of the wanted classes there are, before any are held back or left out."""
    match dataset:
        case ImageDataset(name=name, classes=classes):
            return trainable_images(DATASETS[name], classes)
        case SpiralDataset(samples=samples, n_classes=n_classes):
            return samples * n_classes
        case PolynomialDataset(samples=samples):
            return samples
        case _:
            assert_never(dataset)


def split_sizes(dataset: Dataset) -> tuple[int, int]:
    """How many examples train and how many validate after each epoch.

    Exact, but for a test set of some classes of images.
    """
    count = train_count(dataset)
    held_back = held_out(count, dataset.validation)
    training = min(dataset.train_size or count, count - held_back)
    return training, test_count(dataset) if isinstance(dataset.validation, TestValidation) else held_back


def test_count(dataset: Dataset) -> int:
    """How many test examples there are; about right for some classes of images, and exact otherwise."""
    match dataset:
        case ImageDataset(name=name):
            facts = DATASETS[name]
            return facts.test_size * len(class_labels_of(dataset)) // len(facts.classes)
        case SpiralDataset():
            return train_count(dataset)
        case PolynomialDataset():
            return POLYNOMIAL_TEST_SIZE
        case _:
            assert_never(dataset)

"""The part of a spec that says what to learn from: the data set, which part of it, and how it is scaled."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from models.datasets import DATASETS, Recipe, trainable_images
from models.spec.base import Part

DatasetName = Literal["mnist", "fashion_mnist", "digits"]


class SplitValidation(Part):
    """Validate on a share of the training images, which are then not trained on."""

    split: Annotated[float, Field(gt=0, lt=1)]
    """The share of the training images of the wanted classes."""


def _true(value: bool) -> bool:
    if not value:
        raise PydanticCustomError("unknown_value", "must be true")
    return value


class TestValidation(Part):
    """Validate on the test set, as tutorials do; the test figures are then no longer independent."""

    __test__ = False  # The name would make pytest collect it.

    test: Annotated[bool, AfterValidator(_true), WithJsonSchema({"type": "boolean", "const": True})]
    """Always true."""


def _one_validation(value: object) -> object:
    parts = {"split", "test"} & value.keys() if isinstance(value, dict) else set()
    if len(parts) > 1 or value == {} or not (isinstance(value, dict | Part) or value == "none"):
        raise PydanticCustomError("invalid", 'must be one of {"split": 0.1}, {"test": true} and "none"')
    return value


def _validation_tag(value: Any) -> str:
    if isinstance(value, str):
        return "<none>"
    return "<test>" if isinstance(value, TestValidation) or (isinstance(value, dict) and "test" in value) else "<split>"


_Validation = Annotated[
    Annotated[SplitValidation, Tag("<split>")]
    | Annotated[TestValidation, Tag("<test>")]
    | Annotated[Literal["none"], Tag("<none>")],
    Discriminator(_validation_tag),
]
Validation = Annotated[_Validation, BeforeValidator(_one_validation, json_schema_input_type=_Validation)]


class ImageDataset(Part):
    """One of the sets of 28x28 grey images with ten classes."""

    name: DatasetName
    """Which data set."""

    validation: Validation = SplitValidation(split=0.1)
    """What to validate on after each epoch: `{"split": 0.1}`, `{"test": true}` or `"none"`."""

    train_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Train on only so many of the images that the validation split leaves; null takes all."""

    classes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=2)] | None = Field(
        None, examples=[[3, 8]]
    )
    """Take only these labels; output i of the network then means the i-th of them. Null takes all."""

    scaling: Literal["unit", "standard", "none"] = "unit"
    """`unit` divides pixels by 255, `standard` makes mean 0 and deviation 1, `none` leaves 0 to 255."""

    @field_validator("classes", mode="after")
    @classmethod
    def _distinct(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise PydanticCustomError("duplicate", "must name each class once")
        return classes

    @property
    def held_back(self) -> float | Literal["test", "none"]:
        """What is validated on: a share of the training images, the test set, or nothing."""
        match self.validation:
            case SplitValidation(split=split):
                return split
            case TestValidation():
                return "test"
            case "none":
                return "none"


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


# Data of another kind becomes a second member here, told apart by `name`.
Dataset = Annotated[ImageDataset, BeforeValidator(_named, json_schema_input_type=DatasetName | ImageDataset)]


def shape_of(dataset: Dataset) -> tuple[int, ...]:
    """The shape of one example: (28, 28, 1) for images."""
    return DATASETS[dataset.name].shape


def is_regression(dataset: Dataset) -> bool:
    """Whether a number is to be learned rather than a class; labels are then values."""
    return not class_names_of(dataset)


def recipe_of(dataset: Dataset) -> Recipe:
    """How a picture sent for prediction becomes an example."""
    return DATASETS[dataset.name].recipe


def class_names_of(dataset: Dataset) -> list[str]:
    """The names of the classes in the order of the network's outputs."""
    names = DATASETS[dataset.name].classes
    return [names[label] for label in class_labels_of(dataset)]


def class_labels_of(dataset: ImageDataset) -> list[int]:
    """The data set's own labels in the order of the network's outputs."""
    return list(dataset.classes or range(len(DATASETS[dataset.name].classes)))


def split_sizes(dataset: ImageDataset) -> tuple[int, int]:
    """How many images train and how many validate after each epoch."""
    facts = DATASETS[dataset.name]
    split = dataset.held_back if isinstance(dataset.held_back, float) else 0.0
    most = trainable_images(facts, dataset.classes, split)
    training = min(dataset.train_size or most, most)
    match dataset.validation:
        case SplitValidation():
            return training, trainable_images(facts, dataset.classes) - most
        case TestValidation():
            return training, facts.test_size * len(class_labels_of(dataset)) // len(facts.classes)
        case "none":
            return training, 0

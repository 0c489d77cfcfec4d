"""The data sets of 28x28 images: which part of them, how pixels are scaled, and how they are varied in training."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from models.spec.base import Part
from models.spec.data.validation import SplitValidation, ValidationField

ImageDatasetName = Literal["mnist", "fashion_mnist", "digits"]
TrainSize = Annotated[int, Field(ge=1, le=1_000_000)]
Half = Annotated[float, Field(ge=0, le=0.5)]


class Augmentation(Part):
    """Random changes to each image each time it is trained on; what moves in from outside is black."""

    rotation: Half = 0.0
    """Turn by up to this share of a full turn, either way."""

    translation: Half = 0.0
    """Move by up to this share of height and width, either way."""

    zoom: Half = 0.0
    """Shrink or enlarge by up to this share."""

    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of the noise added to each pixel, as a share of the range of pixels."""


class ImageDataset(Part):
    """One of the sets of 28x28 grey images with ten classes."""

    name: ImageDatasetName
    """Which data set."""

    validation: ValidationField = SplitValidation(split=0.1)
    """What to validate on after each epoch: `{"split": 0.1}`, `{"fold": 0, "folds": 5}`, `{"test": true}`, `"none"`."""

    train_size: TrainSize | None = None
    """Train on only so many of the images that the validation leaves; null takes all."""

    classes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=2)] | None = Field(
        None, examples=[[3, 8]]
    )
    """Take only these labels; output i of the network then means the i-th of them. Null takes all."""

    scaling: Literal["unit", "standard", "none"] = "unit"
    """`unit` divides pixels by 255, `standard` makes mean 0 and deviation 1, `none` leaves 0 to 255."""

    augmentation: Augmentation | None = None
    """How images are varied in training; null leaves them as they are."""

    @field_validator("classes", mode="after")
    @classmethod
    def _distinct(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise PydanticCustomError("duplicate", "must name each class once")
        return classes

"""The data sets that are computed: their size, their seed, and what makes them easy or hard."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Part
from models.spec.data.images import TrainSize
from models.spec.data.validation import TestValidation, ValidationField

# One less than the largest seed of a job: the test set of a spiral has the next one.
Seed = Annotated[int, Field(ge=0, le=2**31 - 2)]


class SpiralDataset(Part):
    """Points in the plane on intertwined arms, one arm a class (`models.synthetic.spiral` has the formula)."""

    name: Literal["spiral"]
    """Which data set."""

    samples: Annotated[int, Field(ge=2, le=10_000)] = 100
    """Points of each class, in the training set and again in the test set."""

    n_classes: Annotated[int, Field(ge=2, le=10)] = 3
    """Arms."""

    seed: Seed = 0
    """Decides the points; the test set is the same with seed + 1."""

    validation: ValidationField = "none"
    """What to validate on after each epoch: `{"split": 0.1}`, `{"fold": 0, "folds": 5}`, `{"test": true}`, `"none"`."""

    train_size: TrainSize | None = None
    """Train on only so many of the points that the validation leaves; null takes all."""


class PolynomialDataset(Part):
    """Noisy values of a curve over [0, 10], to be learned as a number (`models.synthetic` has the formula)."""

    name: Literal["polynomial"]
    """Which data set."""

    degree: Annotated[int, Field(ge=1, le=10)] = 3
    """Of the Chebyshev polynomial that is to be learned; it has degree - 1 turning points."""

    samples: Annotated[int, Field(ge=2, le=100_000)] = 15
    """Points to train on; the test set has 200 points of the curve itself."""

    noise: Annotated[float, Field(ge=0, le=10)] = 0.3
    """Standard deviation of what is added to the values to train on; the curve goes from -1 to 1."""

    seed: Seed = 0
    """Decides points and noise."""

    standardize: bool = True
    """Whether a layer inside the network gives the inputs mean 0 and deviation 1."""

    validation: ValidationField = TestValidation(test=True)
    """What to validate on after each epoch: `{"split": 0.1}`, `{"fold": 0, "folds": 5}`, `{"test": true}`, `"none"`."""

    train_size: TrainSize | None = None
    """Train on only so many of the points that the validation leaves; null takes all."""

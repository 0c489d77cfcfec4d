"""The form of an evaluation, as the docs show it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Measured(BaseModel):
    """Beside `loss` stands every metric of the spec, by its name."""

    model_config = ConfigDict(extra="allow")

    loss: float | None = Field(description="on the test set, as every metric beside it", examples=[0.31])


class ClassFigures(BaseModel):
    """One class; null where there was no case."""

    label: int
    class_name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int = Field(description="test examples of the class")


class Mistake(BaseModel):
    """A wrong answer given with confidence."""

    index: int = Field(description="in the test set of the job's classes, from 0")
    label: int
    predicted: int
    probability: float


class MemberFigures(_Measured):
    """What one member of an ensemble does by itself."""

    model: str
    version: int


class ClassificationEvaluation(_Measured):
    """What a classifier does on its test set."""

    kind: Literal["classification"]
    confusion_matrix: list[list[int]] = Field(description="a row for each true class, a column for each answer")
    classes: list[ClassFigures]
    worst_mistakes: list[Mistake]
    members: list[MemberFigures] | None = Field(None, description="of an ensemble")


class Histogram(BaseModel):
    """Counts between neighbouring edges."""

    edges: list[float]
    counts: list[int]


class Residuals(BaseModel):
    """Truth less prediction."""

    mean: float
    standard_deviation: float
    quantiles: dict[str, float] = Field(examples=[{"0": -0.4, "0.5": 0.01, "1": 0.3}])
    histogram: Histogram


class ExampleValue(BaseModel):
    """One example of the test set."""

    x: float
    truth: float
    predicted: float


class RegressionEvaluation(_Measured):
    """What a regression does on its test set."""

    kind: Literal["regression"]
    residuals: Residuals
    r2: float | None = Field(description="share of the variance explained; null when the truth does not vary")
    examples: list[ExampleValue] = Field(description="at most 200, evenly spread")
    members: list[MemberFigures] | None = Field(None, description="of an ensemble")


EvaluationView = ClassificationEvaluation | RegressionEvaluation

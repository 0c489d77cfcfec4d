"""What is measured besides the loss: metrics by the names they have in the logs."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.base import Part, canonical

MetricName = Literal["accuracy", "precision", "recall", "f1", "auc", "mean_absolute_error", "mean_squared_error"]
TOP_K: Literal["top_k_categorical_accuracy"] = "top_k_categorical_accuracy"

REGRESSION_METRICS = ("mean_absolute_error", "mean_squared_error")
"""Metrics that measure a distance, so that they fit values as well as labels."""


class TopKCategoricalAccuracy(Part):
    """How often the right class is among the `k` likeliest."""

    type: Literal["top_k_categorical_accuracy"]
    k: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many classes count; at most as many as there are."""


def _name_or_top_k(value: object) -> object:
    """A metric without arguments becomes its name, one with arguments an object."""
    if isinstance(value, TopKCategoricalAccuracy):
        return value
    if not isinstance(value, str | dict):
        raise PydanticCustomError("wrong_type", "must be the name of a metric, or an object with its type")
    given = {"type": value} if isinstance(value, str) else value
    name = canonical(given.get("type"))
    if name in get_args(MetricName):
        if len(given) > 1:
            raise PydanticCustomError("invalid", f"must be the name alone: {name} takes no arguments")
        return name
    return value if isinstance(value, str) and value != TOP_K else given


def _metric_tag(value: Any) -> str:
    return "<name>" if isinstance(value, str) else "<top_k>"


_Metric = Annotated[
    Annotated[MetricName, Tag("<name>")] | Annotated[TopKCategoricalAccuracy, Tag("<top_k>")],
    Discriminator(_metric_tag),
]
_Accepted = MetricName | Literal["acc", "mae", "mse", "top_k_categorical_accuracy"] | TopKCategoricalAccuracy
Metric = MetricName | TopKCategoricalAccuracy
MetricField = Annotated[_Metric, BeforeValidator(_name_or_top_k, json_schema_input_type=_Accepted)]


def metric_name(metric: Metric) -> str:
    """The name under which `metric` is in the logs, behind `val_` for validation."""
    return metric if isinstance(metric, str) else metric.type

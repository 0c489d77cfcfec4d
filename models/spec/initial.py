"""The part of a spec that says which trained weights a training starts from."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.base import Part
from models.spec.kinds import VersionRef


class FromModel(Part):
    """Start from the weights of a model version."""

    model: VersionRef
    """`name:3`; `name` alone means its champion, and the normalised spec then says which version that was."""


class FromJob(Part):
    """Start from the weights that a job had after an epoch."""

    job: Annotated[str, Field(max_length=64, examples=["job_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])]
    """The job's id."""
    epoch: Annotated[int, Field(ge=1)]
    """One of the epochs whose weights are kept: all of a job of 20 or fewer."""


def _one_source(value: object) -> object:
    parts = {"model", "job"} & value.keys() if isinstance(value, dict) else set()
    if len(parts) > 1 or not isinstance(value, dict | Part):
        raise PydanticCustomError("invalid", 'must be null, {"model": "name:3"} or {"job": "id", "epoch": 4}')
    return value


def _source_tag(value: Any) -> str:
    from_job = isinstance(value, FromJob) or (isinstance(value, dict) and ("job" in value or "epoch" in value))
    return "<job>" if from_job else "<model>"


_Source = Annotated[Annotated[FromModel, Tag("<model>")] | Annotated[FromJob, Tag("<job>")], Discriminator(_source_tag)]
InitialWeights = Annotated[_Source, BeforeValidator(_one_source, json_schema_input_type=_Source)]

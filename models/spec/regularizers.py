"""Regularizers as a spec names them; arguments and defaults are those of `keras.regularizers`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import Part, shorthand

Factor = Annotated[float, Field(ge=0, le=1e6)]


class L1(Part):
    """Adds l1 * sum(|x|) to the loss."""

    type: Literal["l1"] = "l1"
    l1: Factor = 0.01
    """The factor."""


class L2(Part):
    """Adds l2 * sum(x * x) to the loss."""

    type: Literal["l2"] = "l2"
    l2: Factor = 0.01
    """The factor."""


class L1L2(Part):
    """Adds l1 * sum(|x|) + l2 * sum(x * x) to the loss."""

    type: Literal["l1_l2"] = "l1_l2"
    l1: Factor = 0.0
    """Factor of the absolute values."""
    l2: Factor = 0.0
    """Factor of the squares."""


Regularizer = L1 | L2 | L1L2

_ByType = Annotated[Regularizer, Field(discriminator="type")]
RegularizerField = (
    Annotated[_ByType, BeforeValidator(shorthand, json_schema_input_type=Literal["l1", "l2", "l1_l2"] | _ByType)] | None
)

"""What every part of a spec shares: strictness, frozenness, the short forms, and a few bounded types."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Other people's names for the same thing; the normalised spec carries ours.
ALIASES = {
    "acc": "accuracy",
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "normal": "random_normal",
    "uniform": "random_uniform",
    "silu": "swish",
    "piecewise_constant": "piecewise_constant_decay",
}


class Part(BaseModel):
    """Base of everything in a spec: no unknown keys, no conversions (`true` is not 1), no NaN, no changes later."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def canonical(value: object) -> object:
    """The canonical spelling of a short form; anything else as it is."""
    return ALIASES.get(value, value) if isinstance(value, str) else value


def shorthand(value: object) -> object:
    """A bare string becomes the object that it is short for; a short form of `type` becomes the canonical one."""
    if isinstance(value, str):
        return {"type": canonical(value)}
    if isinstance(value, dict) and "type" in value:
        return {**value, "type": canonical(value["type"])}
    return value


def _twice(value: object) -> object:
    return [value, value] if isinstance(value, int) else value


Side = Annotated[int, Field(ge=1, le=1024)]
# JSON has lists only, which a strict tuple would refuse: hence strict=False on each tuple. Its items stay strict.
Pair = Annotated[
    tuple[Side, Side],
    Field(strict=False),
    BeforeValidator(_twice, json_schema_input_type=Side | tuple[Side, Side]),
]

"""Learning rates that follow a plan: the schedules of Keras, with its arguments and defaults. Steps count batches."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.base import Part, shorthand

MAX_RATE = 10_000
MAX_BOUNDARIES = 64

Rate = Annotated[float, Field(gt=0, le=MAX_RATE)]
RateOrZero = Annotated[float, Field(ge=0, le=MAX_RATE)]
Steps = Annotated[int, Field(ge=1, le=10_000_000_000)]
StepsOrZero = Annotated[int, Field(ge=0, le=10_000_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class ExponentialDecay(Part):
    """initial_learning_rate * decay_rate ** (step / decay_steps)."""

    type: Literal["exponential_decay"] = "exponential_decay"
    initial_learning_rate: Rate
    """The rate of the first batch."""
    decay_steps: Steps
    """Batches after which the rate is multiplied by `decay_rate` once."""
    decay_rate: Annotated[float, Field(gt=0, le=1000)]
    """The factor."""
    staircase: bool = False
    """Whether step / decay_steps is rounded down, so that the rate falls in steps."""


class InverseTimeDecay(Part):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps)."""

    type: Literal["inverse_time_decay"] = "inverse_time_decay"
    initial_learning_rate: Rate
    """The rate of the first batch."""
    decay_steps: Steps
    """Batches after which the divisor has grown by `decay_rate`."""
    decay_rate: Annotated[float, Field(ge=0, le=1e6)]
    """How fast the divisor grows."""
    staircase: bool = False
    """Whether step / decay_steps is rounded down, so that the rate falls in steps."""


class PolynomialDecay(Part):
    """(initial - end) * (1 - step / decay_steps) ** power + end, and `end_learning_rate` from then on."""

    type: Literal["polynomial_decay"] = "polynomial_decay"
    initial_learning_rate: Rate
    """The rate of the first batch."""
    decay_steps: Steps
    """Batches after which the end is reached."""
    end_learning_rate: RateOrZero = 0.0001
    """The rate at the end."""
    power: Annotated[float, Field(gt=0, le=100)] = 1.0
    """1 is a straight line."""
    cycle: bool = False
    """Whether it begins anew, lower and slower, each time the end is reached."""


class CosineDecay(Part):
    """Half a cosine wave down to a share `alpha` of the rate, after a linear warm-up if there is one."""

    type: Literal["cosine_decay"] = "cosine_decay"
    initial_learning_rate: RateOrZero
    """The rate of the first batch."""
    decay_steps: Steps
    """Batches from the top to the end."""
    alpha: Share = 0.0
    """The share of the top that is left at the end."""
    warmup_target: Rate | None = None
    """The rate that the warm-up leads to; null for none, then the top is `initial_learning_rate`."""
    warmup_steps: StepsOrZero = 0
    """Batches of warm-up."""


class CosineDecayRestarts(Part):
    """Half a cosine wave, again and again."""

    type: Literal["cosine_decay_restarts"] = "cosine_decay_restarts"
    initial_learning_rate: Rate
    """The rate of the first batch."""
    first_decay_steps: Steps
    """Batches of the first wave."""
    t_mul: Annotated[float, Field(ge=1, le=100)] = 2.0
    """How much longer each wave is than the one before."""
    m_mul: Annotated[float, Field(gt=0, le=1)] = 1.0
    """How high each wave begins, as a share of the one before."""
    alpha: Share = 0.0
    """The share of `initial_learning_rate` that each wave ends at."""


class PiecewiseConstantDecay(Part):
    """`values[0]` up to the step `boundaries[0]`, that one included, then `values[1]`, and so on."""

    type: Literal["piecewise_constant_decay"] = "piecewise_constant_decay"
    boundaries: Annotated[tuple[StepsOrZero, ...], Field(strict=False, min_length=1, max_length=MAX_BOUNDARIES)]
    """The last step of each value but the last one; they must rise."""
    values: Annotated[tuple[Rate, ...], Field(strict=False, min_length=2, max_length=MAX_BOUNDARIES + 1)]
    """The rates, one more than boundaries."""


Schedule = (
    ExponentialDecay | InverseTimeDecay | PolynomialDecay | CosineDecay | CosineDecayRestarts | PiecewiseConstantDecay
)
LearningRate = float | Schedule


def _number_or_schedule(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str | dict | Part):
        raise PydanticCustomError("wrong_type", "must be a number, or a schedule by its type")
    return value if isinstance(value, int | float) else shorthand(value)


def _rate_tag(value: Any) -> str:
    return "<number>" if isinstance(value, int | float) else "<schedule>"


_ScheduleByType = Annotated[Schedule, Field(discriminator="type")]
_NumberOrSchedule = Annotated[
    Annotated[Rate, Tag("<number>")] | Annotated[_ScheduleByType, Tag("<schedule>")], Discriminator(_rate_tag)
]
LearningRateField = Annotated[
    _NumberOrSchedule, BeforeValidator(_number_or_schedule, json_schema_input_type=_NumberOrSchedule)
]

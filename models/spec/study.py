"""The grammar of a study: one job spec, what varies in it, and how the settings are chosen and repeated."""

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from models.spec.base import Part, canonical
from models.spec.job import JobTag, Line, Notes

MAX_SETTINGS = 1_000
MAX_JOBS = 3_000
MAX_KEYS = 20
LARGEST = 2**53
DEFAULT_TRIALS = 20


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("wrong_type", "must be a number")
    if not isfinite(value) or abs(value) > LARGEST:
        raise PydanticCustomError("too_large", "must be a finite number, at most 2^53 in size")
    return value


Number = Annotated[int | float, BeforeValidator(_number, json_schema_input_type=int | float)]


class Range(Part):
    """Any number from `low` to `high`, both included: whole numbers when both ends are, else real ones."""

    low: Number
    """The least."""
    high: Number
    """The greatest."""
    log: bool = False
    """Whether to draw evenly by order of magnitude."""
    step: Number | None = None
    """Draw only `low`, `low + step`, `low + 2 step` and so on."""

    @property
    def whole(self) -> bool:
        """Whether whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def _list_or_range(value: object) -> object:
    if not isinstance(value, list | dict | Range):
        raise PydanticCustomError("wrong_type", 'must be a list of values, or a range such as {"low": 16, "high": 512}')
    return value


def _metric(value: object) -> object:
    if isinstance(value, str) and value.startswith("val_"):
        return f"val_{canonical(value.removeprefix('val_'))}"
    return canonical(value)


Objective = Annotated[str, Field(max_length=64), BeforeValidator(_metric)]
Values = Annotated[list[Any], Field(min_length=1, max_length=MAX_SETTINGS)]
_Choice = Annotated[
    Annotated[Values, Tag("<list>")] | Annotated[Range, Tag("<range>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<range>"),
]
Choice = Annotated[_Choice, BeforeValidator(_list_or_range, json_schema_input_type=_Choice)]
Sampler = Literal["grid", "random", "tpe"]

EXAMPLES: dict[str, dict[str, Any]] = {
    "grid": {
        "summary": "Two optimizers, three runs each",
        "value": {"base": {"dataset": "mnist"}, "vary": {"/optimizer": ["sgd", "adam"]}, "repeats": 3},
    },
    "folds": {
        "summary": "Two rates on five folds",
        "value": {
            "name": "rates",
            "base": {"dataset": "digits", "epochs": 20},
            "vary": {"/optimizer/learning_rate": [0.01, 0.001]},
            "k_folds": 5,
            "objective": "val_loss",
        },
    },
    "tpe": {
        "summary": "A search over ranges",
        "value": {
            "base": {
                "dataset": "fashion_mnist",
                "network": {
                    "layers": [
                        {"type": "flatten"},
                        {"type": "dense", "units": 64, "activation": "relu"},
                        {"type": "dense", "units": 10, "activation": "softmax"},
                    ]
                },
                "epochs": 3,
            },
            "vary": {
                "/network/layers/1/units": {"low": 16, "high": 512, "log": True},
                "/optimizer": ["sgd", {"type": "adam", "learning_rate": 0.001}],
            },
            "sampler": "tpe",
            "trials": 30,
            "parallel": 2,
        },
    },
}


class StudySpec(Part):
    """What a study should find out: which settings of one job spec do best."""

    model_config = ConfigDict(
        title="StudySpec", json_schema_extra={"examples": [example["value"] for example in EXAMPLES.values()]}
    )

    name: Line = ""
    """A name for people."""

    tags: Annotated[tuple[JobTag, ...], Field(strict=False, max_length=20)] = ()
    """Words about it."""

    notes: Notes = ""
    """Anything worth remembering."""

    base: dict[str, Any] = Field(examples=[{"dataset": "mnist"}])
    """The job spec that every run starts from, as one would POST it; settings are applied to it as it was sent."""

    vary: Annotated[dict[str, Choice], Field(min_length=1, max_length=MAX_KEYS)] = Field(
        examples=[{"/optimizer": ["sgd", "adam"]}]
    )
    """By JSON pointer into the spec: a list of values, or with random and tpe a range."""

    sampler: Sampler = "grid"
    """Every combination, random ones, or those that a tree-structured Parzen estimator proposes."""

    trials: Annotated[int, Field(ge=1, le=MAX_SETTINGS)] | None = None
    """How many settings random and tpe try, 20 by default; a grid tries all of its own."""

    repeats: Annotated[int, Field(ge=1, le=100)] | None = None
    """Runs a setting, run r with the seed of the base + r; 1 by default."""

    k_folds: Annotated[int, Field(ge=2, le=20)] | None = None
    """Or cut the training data into so many folds: each run validates on another one."""

    objective: Objective | None = Field(None, examples=["val_accuracy"])
    """The metric that settings are judged by; by default the accuracy, the absolute error or the loss, in
    validation if there is one."""

    parallel: Annotated[int, Field(ge=1, le=32)] = 1
    """Jobs of this study that may wait or run at the same time."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Decides what random and tpe draw."""

    @property
    def runs(self) -> int:
        """Runs a setting."""
        return self.k_folds or self.repeats or 1

    @property
    def grid_size(self) -> int:
        """How many combinations the lists have."""
        size = 1
        for choice in self.vary.values():
            size *= len(choice) if isinstance(choice, list) else 1
        return size

    @property
    def settings(self) -> int:
        """How many settings are tried."""
        return self.grid_size if self.sampler == "grid" else self.trials or DEFAULT_TRIALS

"""What a job can be besides a training, and which fields of a spec each kind has no use for."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Part
from models.spec.initializers import InitializerField, PlainInitializer, RandomNormal

Kind = Literal["train", "initialization", "gradient_check", "ensemble", "export", "verify"]
ExportFormat = Literal["tf_saved_model", "litert"]
REF = r"^[a-z0-9][a-z0-9._-]{0,63}(:[1-9][0-9]{0,8}|@[a-z0-9][a-z0-9._-]{0,63})?$"
VersionRef = Annotated[str, Field(pattern=REF, examples=["mnist", "mnist:3", "mnist@champion"])]

_TRAINING = frozenset(
    {
        "optimizer",
        "metrics",
        "class_weight",
        "epochs",
        "batch_size",
        "precision",
        "early_stopping",
        "reduce_on_plateau",
        "log_every",
        "initial_weights",
    }
)
KINDS_WITH_RESULT = frozenset({"initialization", "gradient_check", "verify"})
KINDS_WITHOUT_NETWORK = frozenset({"ensemble", "export", "verify"})
_KINDS = frozenset({"initialization", "gradient_check", "ensemble", "export", "verify"})


class Initialization(Part):
    """Compare initial values by the spread of activations and gradients in one forward and backward pass."""

    kernel_initializers: Annotated[tuple[InitializerField, ...], Field(strict=False, min_length=1, max_length=12)] = (
        RandomNormal(stddev=1.0),
        RandomNormal(stddev=0.01),
        PlainInitializer(type="glorot_normal"),
        PlainInitializer(type="he_normal"),
    )
    """What every kernel is drawn from, one after another."""

    examples: Annotated[int, Field(ge=1, le=4096)] = 256
    """How many training examples go through."""


class GradientCheck(Part):
    """Compare the gradients of back-propagation with differences of the loss, in float64."""

    weights: Annotated[int, Field(ge=1, le=2000)] = 100
    """How many weights are drawn, at least one from each variable."""

    examples: Annotated[int, Field(ge=1, le=1024)] = 16
    """How many training examples the loss is taken over."""

    step: Annotated[float, Field(ge=1e-9, le=1e-2)] = 1e-5
    """By how much a weight moves to either side."""


class Ensemble(Part):
    """A model made of versions, which answer together."""

    members: Annotated[tuple[VersionRef, ...], Field(strict=False, min_length=2, max_length=20)]
    """The versions, all of the spec's data set and classes."""

    combine: Literal["average", "vote"] = "average"
    """`average` of the members' probabilities, or the share of their `vote`s."""


class Export(Part):
    """The model of another job, written in a format that is not made by itself."""

    job: Annotated[str, Field(max_length=64, examples=["job_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])]
    """The job whose model it is, of the spec's data set; the file becomes an artifact of that job."""

    format: ExportFormat
    """`tf_saved_model` becomes `saved_model.zip`, `litert` becomes `model.tflite`."""


class Verify(Part):
    """Another job's training, done again with its changes at their steps, to see whether the weights are the same."""

    job: Annotated[str, Field(max_length=64, examples=["job_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])]
    """The training, which has a model, of the spec's data set with all that the spec says of it."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """How many it was trained; null is filled in."""


def unused_by(kind: Kind) -> frozenset[str]:
    """The fields of a spec that mean nothing to a job of this kind."""
    match kind:
        case "train":
            return _KINDS
        case "ensemble":
            return _TRAINING | (_KINDS - {"ensemble"}) | {"network", "loss"}
        case "export" | "verify":
            return _TRAINING | (_KINDS - {kind}) | {"network", "loss", "model"}
        case _:
            return _TRAINING | (_KINDS - {kind}) | {"model"}

"""The whole spec of a job: everything a user can ask for, with its default."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, LiteralString, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from models.spec.base import Part
from models.spec.data import DatasetField, chosen_classes, class_labels_of, is_regression, shape_of
from models.spec.initial import InitialWeights
from models.spec.kinds import Ensemble, Export, GradientCheck, Initialization, Kind, Verify, unused_by
from models.spec.network import (
    Graph,
    Layers,
    Network,
    NetworkField,
    Node,
    Preset,
    last_activation,
    nodes_of,
    written_out,
)
from models.spec.shapes import trace
from models.spec.training import (
    Adam,
    BinaryCrossentropy,
    EarlyStopping,
    Loss,
    LossField,
    MeanSquaredError,
    Metric,
    MetricField,
    OptimizerField,
    ReduceOnPlateau,
    SparseCategoricalCrossentropy,
    metric_name,
    wants_scores,
)

MAX_EPOCHS = 100_000
MAX_MODEL_NAME = 64
MAX_NAME, MAX_NOTES = 100, 10_000
MAX_DEPTH = 20
MAX_VALUES = 10_000

# No control characters: a NUL cannot be stored, a line break has no place in a name.
Line = Annotated[str, StringConstraints(max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
JobTag = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=r"^[^\x00-\x1f\x7f]+$")]
Notes = Annotated[str, StringConstraints(max_length=MAX_NOTES, pattern=r"^[^\x00]*$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
ClassLabel = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,5})$")]


def _oversized(value: object) -> LiteralString | None:
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_VALUES:
            return "must not have more than 10,000 values"
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return None
    return "must not be nested deeper than 20 levels"


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _number_or_full(value: object) -> object:
    if isinstance(value, bool) or (not isinstance(value, int) and value != "full"):
        raise PydanticCustomError("wrong_type", 'must be a whole number, or "full"')
    return value


def _batch_tag(value: Any) -> str:
    return "<full>" if isinstance(value, str) else "<int>"


_BatchSize = Annotated[
    Annotated[Annotated[int, Field(ge=1, le=100_000)], Tag("<int>")] | Annotated[Literal["full"], Tag("<full>")],
    Discriminator(_batch_tag),
]
BatchSize = Annotated[_BatchSize, BeforeValidator(_number_or_full, json_schema_input_type=_BatchSize)]


def _default_model(valid: dict[str, Any]) -> str:
    """The data set's name; a model of some classes only must not stand in for one that knows them all."""
    dataset = valid["dataset"]
    ensemble = ["ensemble"] if valid["kind"] == "ensemble" else []
    return "-".join([dataset.name, *map(str, chosen_classes(dataset) or ()), *ensemble])[:MAX_MODEL_NAME]


def _default_loss(valid: dict[str, Any]) -> Loss:
    """Mean squared error for a regression, binary cross-entropy for a single output, else sparse categorical.

    Cross-entropy is from logits when the network ends in neither softmax nor sigmoid.
    """
    if is_regression(valid["dataset"]):
        return MeanSquaredError()
    network: Network = valid["network"]
    if isinstance(network, Preset):
        return SparseCategoricalCrossentropy()
    nodes = nodes_of(network, 1, "linear")
    from_logits = last_activation(nodes) not in ("softmax", "sigmoid")
    facts, _ = trace(nodes, shape_of(valid["dataset"]))
    if len(facts) == len(nodes) and facts[-1].output_shape == (1,):
        return BinaryCrossentropy(from_logits=from_logits)
    return SparseCategoricalCrossentropy(from_logits=from_logits)


def _default_metrics(valid: dict[str, Any]) -> tuple[Metric, ...]:
    return ("mean_absolute_error",) if is_regression(valid["dataset"]) else ("accuracy",)


_Values = TypeVar("_Values")


def _each_once(values: _Values, names: Sequence[str]) -> _Values:
    if len(set(names)) < len(names):
        raise PydanticCustomError("duplicate", "must name each thing once")
    return values


class JobSpec(Part):
    """What a job should do. `{"dataset": "mnist"}` is enough; the normalised spec shows every default."""

    model_config = ConfigDict(
        title="JobSpec",
        json_schema_extra={
            "examples": [
                {"dataset": "mnist"},
                {
                    "name": "fashion-mlp",
                    "dataset": {"name": "fashion_mnist", "validation": {"split": 0.1}},
                    "network": {
                        "layers": [
                            {"type": "flatten"},
                            {"type": "dense", "units": 128, "activation": "relu"},
                            {"type": "dropout", "rate": 0.2},
                            {"type": "dense", "units": 10, "activation": "softmax"},
                        ]
                    },
                    "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
                    "epochs": 10,
                },
            ]
        },
    )

    spec_version: Annotated[int, Field(ge=1, le=1)] = 1
    """Version of this language."""

    kind: Kind = "train"
    """What to do: train a model, or one of the kinds that only look."""

    name: Line = ""
    """A name for people."""

    tags: Annotated[tuple[JobTag, ...], Field(strict=False, max_length=20)] = ()
    """Words to find the job by."""

    notes: Notes = ""
    """Anything worth remembering."""

    dataset: DatasetField = Field(examples=["mnist"])
    """What to learn from."""

    model: ModelName = Field(default_factory=_default_model, examples=["fashion_mnist"])
    """The model whose next version this becomes; by default the data set's name, with the classes if not all, and
    with `ensemble` for one."""

    network: NetworkField = Preset(preset="mlp")
    """What learns: `{"layers": [...]}` or `{"preset": "mlp"}`."""

    loss: LossField = Field(default_factory=_default_loss, examples=["sparse_categorical_crossentropy"])
    """What is minimised; by default the cross-entropy that fits the last layer."""

    optimizer: OptimizerField = Adam()
    """How it is minimised."""

    metrics: Annotated[tuple[MetricField, ...], Field(strict=False, max_length=20)] = Field(
        default_factory=_default_metrics, examples=[["accuracy", "f1"]]
    )
    """What else is measured; by default accuracy, for values mean_absolute_error."""

    class_weight: (
        Annotated[dict[ClassLabel, Annotated[float, Field(ge=0, le=1e6)]], Field(min_length=1, max_length=1000)] | None
    ) = Field(None, examples=[{"3": 2.0}])
    """How much the examples of a class count in the loss, by label; 1 for those not named."""

    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 5
    """How often to go through the training images."""

    batch_size: BatchSize = 64
    """Images a step, or `full` for all of them."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Decides everything random."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"] = "float32"
    """Number format in training; the served model is float32. `auto`: mixed_bfloat16 where quicker and sound."""

    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""

    early_stopping: EarlyStopping | None = None
    """Stop when nothing gets better."""

    reduce_on_plateau: ReduceOnPlateau | None = None
    """Lower the learning rate when nothing gets better."""

    max_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None
    """Stop after so much time."""

    log_every: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 1
    """Keep the figures of every n-th epoch, and of the last."""

    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """Which waiting job goes first: 9 before 0."""

    initial_weights: InitialWeights | None = None
    """Trained weights to start from, for the layers of the same name and shapes; null starts from initial values."""

    initialization: Initialization = Initialization()
    """What a job of the kind `initialization` compares."""

    gradient_check: GradientCheck = GradientCheck()
    """How a job of the kind `gradient_check` checks."""

    ensemble: Ensemble | None = None
    """What a job of the kind `ensemble` is made of."""

    export: Export | None = None
    """What a job of the kind `export` writes, and in which format."""

    verify: Verify | None = None
    """What a job of the kind `verify` trains again."""

    @model_validator(mode="before")
    @classmethod
    def _of_sane_size(cls, value: object) -> object:
        # Nothing valid comes near. More could exhaust the stack of whoever prints it, or list millions of mistakes.
        if reason := _oversized(value):
            raise PydanticCustomError("too_large", reason)
        return value

    @field_validator("tags", mode="after")
    @classmethod
    def _distinct(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return _each_once(words, words)

    @field_validator("metrics", mode="after")
    @classmethod
    def _distinct_in_logs(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        return _each_once(metrics, [metric_name(metric) for metric in metrics])

    @model_serializer(mode="wrap")
    def _of_its_kind(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        whole: dict[str, Any] = handler(self)
        if info.context and info.context.get("whole"):
            return whole
        unused = unused_by(self.kind)
        return {name: value for name, value in whole.items() if name not in unused}

    @property
    def written_network(self) -> Layers | Graph:
        """The network with a preset written out."""
        return written_out(self.network, *self._preset_end)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The layers of the network, inputs before those that they feed."""
        return nodes_of(self.network, *self._preset_end)

    @property
    def _preset_end(self) -> tuple[int, Literal["linear", "softmax"]]:
        """How many outputs a preset gets for these data and this loss, and which activation."""
        if is_regression(self.dataset):
            return 1, "linear"
        return len(class_labels_of(self.dataset)), "linear" if wants_scores(self.loss) else "softmax"

    @property
    def planned_epochs(self) -> int:
        """How many epochs the job takes; of a kind that does not train, how many steps its progress is told in."""
        match self.kind:
            case "train":
                return self.epochs
            case "initialization":
                return len(self.initialization.kernel_initializers)
            case "gradient_check":
                return self.gradient_check.weights
            case "ensemble":
                return len(self.ensemble.members) if self.ensemble else 1
            case "export":
                return 2
            case "verify":
                return (self.verify and self.verify.epochs) or 1

"""Writes docs/job-language.md, the reference of the job spec, from the spec's own JSON schema.

python -m docs.make_job_language
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.spec import JobSpec

PAGE = Path(__file__).with_name("job-language.md")
SCHEMA = JobSpec.model_json_schema()
PARTS: dict[str, Any] = SCHEMA["$defs"]

INTRODUCTION = """# The job language

What a job spec can say. This page is written by `python -m docs.make_job_language` from the same classes that check a
spec, so it says what the service does; `GET /v1/jobs/schema` gives the JSON Schema. `docs/experiments.md` shows the
language at work, `docs/mindspore.md` translates the names of MindSpore.

`{"dataset": "mnist"}` is a whole spec: everything else has a default, and the answer shows all of it. An object is told
apart by its `type` (a data set by its `name`); a bare string is short for an object with the defaults, so
`"optimizer": "adam"` is `"optimizer": {"type": "adam"}`. Names and defaults are those of Keras 3. Accepted short forms:
`acc`, `mse`, `mae`, `normal`, `uniform`, `silu`, `piecewise_constant`. Everything is checked before anything is stored,
and a mistake is answered by a 422 whose JSON pointer leads to the field. `POST /v1/jobs/validate` does only that, and
shows layers, parameters, memory and the curve of the learning rate.
"""

# Heading, a sentence or two, and the classes of that chapter: every class of the schema is in one of them.
CHAPTERS: list[tuple[str, str, str]] = [
    (
        "Data",
        "`dataset` names a data set or is one of these objects. A scaling and an augmentation are layers inside the "
        "network: what is served is what was trained. `fold` is what a study with `k_folds` gives each of its runs.",
        "ImageDataset Augmentation SpiralDataset PolynomialDataset SplitValidation TestValidation FoldValidation",
    ),
    (
        "Network",
        '`network` is `{"layers": [...]}`, `{"graph": {...}}`, `{"preset": "mlp"}` or a preset\'s bare name. '
        "`POST /v1/jobs/validate` answers with the preset written out.",
        "Layers Graph GraphNode Preset",
    ),
    (
        "Layers",
        "Images enter as (28, 28, 1), features as (n,). `add` and `concatenate` join the branches of a graph.",
        "Dense Conv2D DepthwiseConv2D SeparableConv2D MaxPooling2D AveragePooling2D "
        "GlobalAveragePooling2D Flatten Reshape Dropout SpatialDropout2D GaussianNoise "
        "BatchNormalization LayerNormalization ActivationLayer SimpleRNN LSTM GRU Add Concatenate",
    ),
    ("Activations", "", "PlainActivation LeakyRelu"),
    (
        "Initializers",
        "For kernels and biases. None has a seed of its own: the spec's `seed` and the layer's place decide.",
        "PlainInitializer RandomNormal RandomUniform VarianceScaling Constant Orthogonal",
    ),
    ("Regularizers", "On kernel, bias or activity; null for none.", "L1 L2 L1L2"),
    (
        "Losses",
        "Labels are made one-hot or kept as integers as the loss wants them.",
        "MeanSquaredError MeanAbsoluteError Huber KlDivergence CategoricalCrossentropy "
        "SparseCategoricalCrossentropy BinaryCrossentropy Hinge CategoricalHinge",
    ),
    (
        "Optimizers",
        "`learning_rate` is a number or one of the schedules below.",
        "Sgd Adagrad Adadelta RmsProp Adam AdamW Adamax Nadam Ftrl Lion",
    ),
    (
        "Schedules of the learning rate",
        "Steps are batches, counted from 0 over the whole training.",
        "ExponentialDecay InverseTimeDecay PolynomialDecay CosineDecay CosineDecayRestarts PiecewiseConstantDecay",
    ),
    (
        "Metrics",
        "accuracy, top_k_categorical_accuracy, precision, recall, f1, auc, mean_absolute_error, mean_squared_error. "
        "All but the accuracies are computed on one-hot labels and averaged over the classes.",
        "TopKCategoricalAccuracy",
    ),
    ("What watches the training", "", "EarlyStopping ReduceOnPlateau"),
    (
        "Weights to start from",
        "Layers of the same name and shapes take them; the job's log says which did.",
        "FromModel FromJob",
    ),
    (
        "Other kinds of job",
        "`initialization` and `gradient_check` look at a network without training it, and leave `/result` and "
        "`/result.svg`; an `ensemble` becomes a model; an `export` adds a file to another job's "
        "artifacts; `verify` trains a job again, its changes included, and compares the weights. Fields without a "
        "meaning for the kind are refused.",
        "Initialization GradientCheck Ensemble Export Verify",
    ),
]


def page() -> str:
    """The whole page."""
    named = [name for _, _, names in CHAPTERS for name in names.split()]
    if sorted(named) != sorted(PARTS):
        raise ValueError(f"Classes in one of page and schema only: {sorted(set(named) ^ set(PARTS))}")
    parts = [INTRODUCTION, "## The spec\n", *_table(SCHEMA)]
    for heading, text, names in CHAPTERS:
        parts += [f"\n## {heading}\n", *([f"{text}\n"] if text else [])]
        for name in names.split():
            parts += _section(PARTS[name])
    return "\n".join(parts).rstrip() + "\n"


def _section(part: dict[str, Any]) -> Iterator[str]:
    tag = part["properties"].get("type") or part["properties"].get("name") or {}
    names = _values(tag)
    title = " ".join(f"`{name}`" for name in names) or "`" + " ".join(part["properties"]) + "`"
    yield f"\n**{title}** {part['description']}\n"
    yield from _table(part, skip="type" if len(names) and "type" in part["properties"] else "")


def _table(part: dict[str, Any], skip: str = "") -> Iterator[str]:
    rows = {name: field for name, field in part.get("properties", {}).items() if name != skip}
    if not rows:
        return
    yield "| field | takes | default | |"
    yield "| --- | --- | --- | --- |"
    for name, field in rows.items():
        required = name in part.get("required", [])
        default = "" if required else f"`{_short(field['default'])}`" if "default" in field else "it depends"
        yield f"| `{name}` | {_takes(field)} | {default} | {' '.join(field.get('description', '').split())} |"


def _takes(field: dict[str, Any]) -> str:
    """The kinds of value in a few words."""
    if "$ref" in field:
        return _reference(field["$ref"])
    if "anyOf" in field or "oneOf" in field:
        return _choice(field)
    values = _values(field)
    if values:
        return ", ".join(f"`{value}`" for value in values)
    match field.get("type"):
        case "array" if "prefixItems" in field:
            return f"[{', '.join(_takes(item) for item in field['prefixItems'])}]"
        case "array":
            return f"a list of {_takes(field.get('items', {}))}"
        case "integer":
            return f"whole number{_bounds(field)}"
        case "number":
            return f"number{_bounds(field)}"
        case "boolean":
            return "`true`, `false`"
        case "object":
            return f"an object of {_takes(field.get('additionalProperties') or {})}".removesuffix(" of ")
        case "null":
            return "null"
        case "string":
            return "text"
    return ""


def _choice(field: dict[str, Any]) -> str:
    """What a union takes, each thing once; a link where it is anything of a chapter."""
    options = list(_options(field))
    classes = {option["$ref"].rpartition("/")[2] for option in options if "$ref" in option}
    chapter = next(
        (heading for heading, _, names in CHAPTERS if len(classes) > 1 and classes <= set(names.split())), None
    )
    if chapter is None:
        return " or ".join(dict.fromkeys(told for option in options if (told := _takes(option))))
    kept = ["null"] if {"type": "null"} in options else []
    return " or ".join([f"[{chapter.lower()}](#{chapter.lower().replace(' ', '-')})", *kept])


def _options(field: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The members of a union, and of unions in it."""
    for option in field.get("anyOf", field.get("oneOf", ())):
        if "anyOf" in option or "oneOf" in option:
            yield from _options(option)
        else:
            yield option


def _reference(ref: str) -> str:
    part = PARTS[ref.rpartition("/")[2]]
    names = _values(part["properties"].get("type", {})) or _values(part["properties"].get("name", {}))
    return ", ".join(f"`{name}`" for name in names) or "{" + ", ".join(part["properties"]) + "}"


def _values(field: dict[str, Any]) -> list[str]:
    if "const" in field:
        return [_plain(field["const"])]
    return [_plain(value) for value in field.get("enum", [])]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bounds(field: dict[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    words = [f"above {low:,}" if "exclusiveMinimum" in field else f"from {low:,}"] if low is not None else []
    words += [f"below {high:,}" if "exclusiveMaximum" in field else f"to {high:,}"] if high is not None else []
    return " " + " ".join(words) if words else ""


def _short(default: Any) -> str:
    """A default as one would write it: a bare name where an object has only defaults."""
    if isinstance(default, dict) and "type" in default:
        return json.dumps(default["type"])
    return json.dumps(default)


if __name__ == "__main__":
    PAGE.write_text(page())

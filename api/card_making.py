"""The parts of a model card that say from what, of what and how the model was made."""

from collections.abc import Iterator
from typing import Any

from api.card_figures import number
from api.card_subject import Links, Subject
from api.markdown import code, escaped, table
from models.jobs import Status
from models.spec import JobSpec, summarize
from models.spec.data import FoldValidation, ImageDataset, SplitValidation, TestValidation, split_sizes, test_count
from models.spec.initial import FromModel
from models.spec.summary import batch_size_of


def data(subject: Subject) -> Iterator[str]:
    """Blocks of Markdown: the data set, how many of its examples served for what, and their checksum."""
    dataset, facts = subject.spec.dataset, subject.facts
    trained, validated = split_sizes(dataset)
    tested = sum(one["support"] for one in subject.evaluation.get("classes", [])) or test_count(dataset)
    if isinstance(dataset.validation, TestValidation):
        validated = tested
    rows = [
        ("data set", f"{facts.title} ({code(dataset.name)}). {facts.description}"),
        ("licence of the data", facts.licence),
    ]
    if subject.job.kind == "ensemble":
        rows.append(("trained on", "what its members were trained on: see their cards"))
    else:
        rows.append(("trained on", f"{number(trained)} examples"))
        rows.append(
            ("validated on", f"{number(validated)} examples, {_validation(subject.spec)}" if validated else "-")
        )
    rows.append(("tested on", f"{number(tested)} examples"))
    if isinstance(dataset, ImageDataset) and subject.job.kind != "ensemble":
        rows.append(("scaling of pixels", code(dataset.scaling)))
        varied = [f"{name} {value:g}" for name, value in dataset.augmentation or () if value]
        rows.append(("varied in training", ", ".join(varied) or "no"))
    checksum = "not recorded" if subject.version.data_sha256 is None else code(subject.version.data_sha256)
    rows.append(("SHA-256 of examples and labels", checksum))
    yield table(("", ""), rows)


def _validation(spec: JobSpec) -> str:
    match spec.dataset.validation:
        case SplitValidation(split=split):
            return f"a share of {split:g} of the training set"
        case FoldValidation(fold=fold, folds=folds):
            return f"fold {fold} of {folds} (from 0) of the training set"
        case TestValidation():
            return "the test set itself"
        case _:
            return "held back"


def network(subject: Subject, links: Links) -> Iterator[str]:
    """Blocks of Markdown: the layers as a table, or the members of an ensemble."""
    ensemble = subject.spec.ensemble
    if ensemble is not None:
        how = "The mean of their outputs is" if ensemble.combine == "average" else "The share of their votes is"
        yield f"An ensemble: several versions get the same input. {how} the answer. Nothing was trained for it."
        paths = [f"/v1/models/{ref.replace(':', '/versions/')}/card.md" for ref in ensemble.members]
        members = zip(ensemble.members, paths, strict=True)
        yield "\n".join(f"- {links.page(code(ref), path)}" for ref, path in members)
        return
    summary = summarize(subject.spec)
    rows = [
        (
            code(layer.name),
            escaped(f"{layer.type} ({layer.detail})" if layer.detail else layer.type),
            ", ".join(map(code, layer.inputs)),
            " x ".join(map(str, layer.output_shape)),
            number(layer.parameters),
        )
        for layer in summary.layers
    ]
    yield table(("layer", "type", "inputs", "output shape", "parameters"), rows, numbers=2)
    fixed = summary.parameters - summary.trainable_parameters
    kept = f"{number(fixed)} of them not trained" if fixed else "all of them trained"
    yield (
        f"{number(summary.parameters)} parameters, {kept}; {number(summary.multiply_adds)} multiplications and "
        "additions for one example."
    )


def training(subject: Subject) -> Iterator[str]:
    """Blocks of Markdown: what was chosen, how it was carried out and why so, and how it ended."""
    spec, job = subject.spec, subject.job
    rows = []
    if job.kind == "train":
        batch = f"{batch_size_of(spec):,}" + (" (all examples)" if spec.batch_size == "full" else "")
        rows += [
            ("optimizer", _described(spec.optimizer.model_dump(mode="json"))),
            ("loss", _described(spec.loss.model_dump(mode="json"))),
            ("epochs", f"{number(job.epoch)} of {number(job.epochs)} planned"),
            ("batch size", batch),
            ("initial weights", _initial(spec)),
        ]
        if spec.early_stopping is not None:
            rows.append(("early stopping", _described(spec.early_stopping.model_dump(mode="json"))))
        if spec.reduce_on_plateau is not None:
            rows.append(("reduce on plateau", _described(spec.reduce_on_plateau.model_dump(mode="json"))))
        for change in subject.changes:
            place = f"in epoch {change.epoch}, from step {number(change.applied_at_step or 0)} on"
            rows.append(("changed", f"{place}: {_described(change.new)} instead of {_described(change.old or {})}"))
    rows.append(("seed", str(spec.seed)))
    if job.execution:
        rows.append(("precision", f"{code(job.execution['precision'])}; the served model is float32"))
        rows.append(("device", f"{job.execution['device']}, {job.execution['threads']} threads"))
        rows += [("why so", escaped(reason)) for reason in job.execution["reasons"]]
    if job.started_at and job.finished_at:
        rows.append(("took", f"{(job.finished_at - job.started_at).total_seconds():,.1f} s, with loading and export"))
    if job.status == Status.CANCELLED:
        rows.append(("ended", "cancelled, and what was learned was kept"))
    elif subject.ended:
        rows.append(("ended", escaped(subject.ended)))
    yield table(("", ""), rows)


def _initial(spec: JobSpec) -> str:
    start = spec.initial_weights
    if start is None:
        return "drawn anew"
    if isinstance(start, FromModel):
        return f"those of {code(start.model)}"
    return f"those of the job {code(start.job)} after epoch {start.epoch}"


def _described(settings: dict[str, Any] | str) -> str:
    """A part of a spec in words, such as "adam (learning_rate 0.001)"; what is null is left out."""
    return escaped(_plain(settings))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        rest = ", ".join(f"{k} {_plain(v)}" for k, v in value.items() if k != "type" and v is not None)
        return f"{value['type']} ({rest})" if "type" in value and rest else value.get("type") or rest
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)

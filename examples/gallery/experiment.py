"""An experiment file: its claim, the jobs, studies and scripts that test it, and what is to be shown of them.

{
  "title": "...", "claim": "...", "what_to_see": "...",
  "run": [
    {"as": "pretrained", "job": {a spec}},
    {"job": {a spec with "{optimizer}" in it}, "each": {"optimizer": ["sgd", "adam"]}},
    {"as": "search", "study": {the body of a study}},
    {"as": "walks", "script": "examples/descent.py"},
    {"as": "boot", "predict": "examples/pictures/boot.png", "model": "{pretrained.model}"},
    {"mend": "{ill}", "each": {"ill": {"sigmoid-8": "the name of one in examples/illnesses"}}}
  ],
  "figures": ["test.accuracy", "seconds"],
  "plots": [{"type": "together", "show": ["accuracy"]}],
  "expect": ["adam.test.accuracy >= 0.97"],
  "quick": {"set": {"/epochs": 1}, "each": 2, "values": 2, "study": {"trials": 2}, "drop": ["search"]}
}

`each` makes one job of every value: of a list they are called by themselves, of an object by its keys. A string that is
nothing but a placeholder becomes the value, whatever its type. `{label.model}` and `{label.job}` stand for the model
version and the id of an earlier job. Other keys of a step: `ends`, the status that a job should end with, or `any`; for
a spec to mend `while_running`, whether to do so while it is trained, and `set`, what of it is different here; for a
study `labels`, shorter names for its settings, `show`, the metrics of the last epoch that its table has, and
`published`, by setting and metric the lowest and highest figure that others report. `quick` is what a quick run
changes: what it sets in each spec, how many values of `each` and of the lists in `vary` it takes, other fields for
studies, and which steps it leaves out.
"""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from examples.gallery.mending import planted

Json = dict[str, Any]
StepKind = Literal["job", "study", "script", "predict", "mend"]
KINDS: tuple[StepKind, ...] = ("job", "study", "script", "predict", "mend")

FOLDER = Path(__file__).parents[1] / "experiments"
PICTURES_TO_FETCH = ("mnist", "fashion_mnist")
STAND_IN = "digits"
# Half of the stand-in, as a study on two folds has it, is a little more than this.
STAND_IN_SIZE = 700
PLACEHOLDER = re.compile(r"\{([a-z_]+|[\w-]+\.(?:model|job))\}")


@dataclass(frozen=True)
class Step:
    """One thing to run. `body` is a spec, the body of a study, or a path; `source` is the step as the file has it.

    Attributes:
        kind: what to run.
        label: what the run is called in figures, plots and claims.
        model: for `predict`, which model to ask.
        ends: the status that a job should end with, or `any`.
    """

    kind: StepKind
    label: str
    body: Any
    source: Json
    model: str = ""
    ends: str = "succeeded"

    def filled(self, known: dict[str, Json]) -> "Step":
        """The step with references to earlier runs replaced; `known` has `model` and `job` by label."""
        names = {f"{label}.{key}": value for label, keys in known.items() for key, value in keys.items()}
        model = fill(self.model, names) if self.model else ""
        return Step(self.kind, self.label, fill(self.body, names), self.source, model, self.ends)


@dataclass(frozen=True)
class Experiment:
    """One experiment file. `number` and `name` are those of the file, `01-mnist-sigmoid.json`."""

    number: str
    name: str
    body: Json

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """Read a file."""
        number, _, name = path.stem.partition("-")
        return cls(number, name, json.loads(path.read_text(encoding="utf-8")))

    @property
    def title(self) -> str:
        """The title."""
        return str(self.body["title"])

    def steps(self, quick: bool = False) -> list[Step]:
        """The steps in order, `each` written out; with `quick` in their short form."""
        short: Json = self.body.get("quick", {}) if quick else {}
        written_out = [step for source in self.body["run"] for step in _written_out(source, short.get("each"))]
        kept = [step for step in written_out if step.label not in short.get("drop", ())]
        return [_shortened(step, short, {each.label for each in kept}) for step in kept] if quick else kept

    def datasets(self, quick: bool = False) -> set[str]:
        """The data sets that are fetched and that this needs."""
        found = {_dataset_of(step) for step in self.steps(quick)}
        return found & set(PICTURES_TO_FETCH)


def read_all(folder: Path = FOLDER) -> list[Experiment]:
    """Every experiment, by number."""
    return [Experiment.read(path) for path in sorted(folder.glob("*.json"))]


def fill(value: Any, names: Json) -> Any:
    """`value` with the placeholders that `names` knows replaced; others stay."""
    if isinstance(value, dict):
        return {key: fill(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, names) for inner in value]
    if not isinstance(value, str):
        return value
    whole = PLACEHOLDER.fullmatch(value)
    if whole and whole[1] in names:
        return copy.deepcopy(names[whole[1]])
    return PLACEHOLDER.sub(lambda found: str(names.get(found[1], found[0])), value)


def set_pointer(body: Json, pointer: str, value: Any) -> None:
    """Set what a JSON pointer names, in place; objects on the way are made."""
    *way, last = pointer.lstrip("/").split("/")
    place: Any = body
    for key in way:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[int(last) if isinstance(place, list) else last] = value


def _written_out(source: Json, most: int | None) -> Iterator[Step]:
    kind = next(kind for kind in KINDS if kind in source)
    if "each" not in source:
        yield _step(kind, source, source["as"], source[kind])
        return
    ((variable, values),) = source["each"].items()
    named = values if isinstance(values, dict) else {str(value): value for value in values}
    for name, value in list(named.items())[:most]:
        label = fill(source.get("as", f"{{{variable}}}"), {variable: name})
        yield _step(kind, source, label, fill(source[kind], {variable: value}))


def _step(kind: StepKind, source: Json, label: str, body: Any) -> Step:
    if kind == "mend":
        body = planted(body)
        for pointer, value in source.get("set", {}).items():
            set_pointer(body, pointer, value)
    return Step(kind, label, body, source, source.get("model", ""), source.get("ends", "succeeded"))


def _spec_of(step: Step) -> Json | None:
    """The spec inside a step, if it has one."""
    if step.kind not in ("job", "study", "mend"):
        return None
    return cast(Json, step.body["base"] if step.kind == "study" else step.body)


def _dataset_of(step: Step) -> str:
    dataset = (_spec_of(step) or {}).get("dataset", "")
    return str(dataset["name"] if isinstance(dataset, dict) else dataset)


def _shortened(step: Step, short: Json, labels: set[str]) -> Step:
    """The step as a quick run has it: on data that is always there, with fewer epochs, trials and members."""
    body = _without_unknown(copy.deepcopy(step.body), labels)
    spec = body["base"] if step.kind == "study" else body if step.kind in ("job", "mend") else None
    if spec is not None:
        _stand_in(spec)
        if spec.get("kind", "train") == "train":
            for pointer, value in short.get("set", {}).items():
                set_pointer(spec, pointer, value)
    if step.kind == "study":
        body |= short.get("study", {})
        if "values" in short:
            body["vary"] = {
                pointer: choice[: short["values"]] if isinstance(choice, list) else choice
                for pointer, choice in body["vary"].items()
            }
    return Step(step.kind, step.label, body, step.source, step.model, step.ends)


def _stand_in(spec: Json) -> None:
    dataset = spec["dataset"] if isinstance(spec["dataset"], dict) else {"name": spec["dataset"]}
    if dataset["name"] in PICTURES_TO_FETCH:
        dataset = dataset | {"name": STAND_IN}
        if (dataset.get("train_size") or 0) > STAND_IN_SIZE:
            dataset["train_size"] = STAND_IN_SIZE
    spec["dataset"] = dataset


def _without_unknown(value: Any, labels: set[str]) -> Any:
    """`value` without list items that refer to steps which a quick run leaves out."""
    if isinstance(value, dict):
        return {key: _without_unknown(inner, labels) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_unknown(inner, labels) for inner in value if not _is_unknown(inner, labels)]
    return value


def _is_unknown(value: Any, labels: set[str]) -> bool:
    found = PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    return found is not None and "." in found[1] and found[1].rpartition(".")[0] not in labels

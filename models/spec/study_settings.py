"""Settings of a study: which there are in a grid, put into the base, and what each is called."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from models.spec.job import JobSpec
from models.spec.parsing import parse_spec
from models.spec.patching import Setting, split_pointer, with_setting
from models.spec.problems import Problem, SpecError
from models.spec.study import Range, StudySpec

Apart = dict[str, dict[str, "Apart"]]
MOST_WORDS, MOST_JSON = 80, 30  # letters of a value that is told by its type, and of one written out
TYPE_KEYS = ("type", "name", "preset")


def grid(study: StudySpec) -> Iterator[Setting]:
    """Every combination, the last key changing fastest."""
    lists = [choice for choice in study.vary.values() if isinstance(choice, list)]
    return (dict(zip(study.vary, values, strict=True)) for values in itertools.product(*lists))


def canonical(value: object) -> str:
    """The JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class Base:
    """The base of a study, as it was sent and normalised; settings are put into what was sent.

    Defaults such as the loss follow from other fields, so a setting must not meet them written out. Raises SpecError
    when the base is no valid spec.
    """

    def __init__(self, study: StudySpec) -> None:
        self._study, self._sent = study, study.base
        self.spec = self._parse(self._sent, 0)
        self.normal: dict[str, Any] = parse_spec(self._sent).model_dump(mode="json")
        self.names_model = "model" in self._sent or "/model" in study.vary

    def spec_of(self, setting: Setting, repeat: int = 0, **also: Any) -> JobSpec:
        """The spec of the run `repeat` (from 0) of a setting; `also` are further fields.

        Raises:
            SpecError: there is no such spec; pointers lead into the spec.
            Nowhere: a pointer of the setting leads nowhere.
        """
        return self._parse(self.body_of(setting) | also, repeat)

    def body_of(self, setting: Setting) -> dict[str, Any]:
        """The base as sent with the setting put into it. Raises Nowhere."""
        return with_setting(self._sent, setting, self.normal)

    def _parse(self, body: dict[str, Any], repeat: int) -> JobSpec:
        folds = self._study.k_folds
        spec = parse_spec(body if folds is None else _on_fold(body, repeat, folds))
        if spec.kind != "train":
            detail = f'kind must be "train" in a study. Received: kind="{spec.kind}"'
            raise SpecError([Problem("/kind", "unknown_value", detail, spec.kind)])
        if folds is None and repeat:
            spec = parse_spec(body | {"seed": spec.seed + repeat})
        return spec


def _on_fold(body: dict[str, Any], fold: int, folds: int) -> dict[str, Any]:
    dataset = body.get("dataset")
    if isinstance(dataset, str):
        dataset = {"name": dataset}
    if not isinstance(dataset, dict):
        return body  # parsing says what is wrong with it
    given = dataset.get("validation")
    if given is not None and not (isinstance(given, dict) and given.get("folds") == folds):
        detail = f"validation must be left out: with k_folds each run validates on one fold. Received: {given!r:.100}"
        raise SpecError([Problem("/dataset/validation", "invalid", detail, given)])
    return body | {"dataset": dataset | {"validation": {"fold": fold, "folds": folds}}}


class Labels:
    """A few words for each setting of a study: only what differs from others, never the same for two settings."""

    def __init__(self, study: StudySpec) -> None:
        told = {pointer: choice for pointer, choice in study.vary.items() if _differs(choice)} or dict(study.vary)
        names = _short_names(list(study.vary))
        kinds = {pointer: _kinds(choice) for pointer, choice in told.items()}
        count = Counter(kind for found in kinds.values() for kind in found)
        self._names = {pointer: names[pointer] for pointer in told}
        self._words = {
            pointer: _words_of(names[pointer], choice, named=any(count[kind] > 1 for kind in kinds[pointer]))
            for pointer, choice in told.items()
            if isinstance(choice, list)
        }

    def of(self, setting: Setting) -> str:
        """The label of one setting."""
        return ", ".join(self._word(pointer, setting[pointer]) for pointer in self._names)

    def _word(self, pointer: str, value: object) -> str:
        text = canonical(value)
        return self._words.get(pointer, {}).get(text) or f"{self._names[pointer]} {text}"


def _differs(choice: list[Any] | Range) -> bool:
    return isinstance(choice, Range) or len(choice) > 1


def _kinds(choice: list[Any] | Range) -> set[str]:
    values = choice if isinstance(choice, list) else []
    return {kind for value in values if (kind := _type_of(value)) is not None}


def _short_names(pointers: list[str]) -> dict[str, str]:
    """For each pointer the shortest end of it that no other has; a number never stands alone."""
    paths = {pointer: split_pointer(pointer) for pointer in pointers}

    def end(pointer: str, length: int) -> str:
        return "/".join(paths[pointer][-length:])

    def shortest(pointer: str) -> str:
        most = len(paths[pointer])
        for length in range(1, most + 1):
            mine = end(pointer, length)
            if not paths[pointer][-length].isdigit() and [end(other, length) for other in pointers].count(mine) == 1:
                return mine
        return end(pointer, most)

    return {pointer: shortest(pointer) for pointer in pointers}


def _words_of(name: str, choice: list[Any], named: bool) -> dict[str, str]:
    """By its canonical form what each value of a list is called: no two the same, and none long."""
    values = {canonical(value): value for value in choice}
    apart = _apart(choice)
    words = {text: _told(value, apart) for text, value in values.items()}
    words = {t: word if _type_of(values[t]) and not named else f"{name} {word}" for t, word in words.items()}
    count = Counter(words.values())
    for place, (text, value) in enumerate(values.items(), start=1):
        if isinstance(value, int | float | None):
            # Numbers that only look the same are written out.
            words[text] = words[text] if count[words[text]] == 1 else f"{name} {text}"
        elif count[words[text]] > 1 or _is_long(value, words[text]) or _runs_on(value):
            words[text] = f"{name} {place}"
    if len(set(words.values())) < len(words):
        return {text: f"{name} {place}" for place, text in enumerate(values, start=1)}
    return words


def _told(value: object, apart: "Apart") -> str:
    kind = _type_of(value)
    if kind is None:
        return f"{value:.4g}" if isinstance(value, float) else canonical(value)
    fields = value if isinstance(value, dict) else {}
    inner = apart.get(kind, {})
    return " ".join([kind, *(f"{key} {_told(fields[key], inner[key])}" for key in fields if key in inner)])


def _apart(values: list[Any]) -> "Apart":
    """By type the fields in which the values of that type differ, and of each the same of what is in it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for value in values:
        if (kind := _type_of(value)) is not None:
            found.setdefault(kind, []).append(value if isinstance(value, dict) else {})
    return {
        kind: {key: _apart([value[key] for value in alike if key in value]) for key in _differing(alike)}
        for kind, alike in found.items()
    }


def _differing(alike: list[dict[str, Any]]) -> set[str]:
    keys = {key for value in alike for key in value} - set(TYPE_KEYS)
    return {key for key in keys if len({canonical(v[key]) if key in v else None for v in alike}) > 1}


def _is_long(value: object, words: str) -> bool:
    return len(words) > (MOST_JSON if _type_of(value) is None else MOST_WORDS)


def _runs_on(value: object) -> bool:
    """Whether a bare name has a comma, which also stands between the parts of a label."""
    return "," in (_type_of(value) or "")


def _type_of(value: object) -> str | None:
    """What a value is called by itself: a bare name, or an object's type."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return next((value[key] for key in TYPE_KEYS if isinstance(value.get(key), str)), None)
    return None

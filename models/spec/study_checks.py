"""Whether every run of a study could be made, before anything is written; each mistake with its pointer."""

import difflib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from models.spec.job import JobSpec
from models.spec.patching import Nowhere, Setting, split_pointer
from models.spec.problems import Problem, SpecError, pointer_to, problem_at
from models.spec.study import MAX_JOBS, MAX_SETTINGS, Range, StudySpec
from models.spec.study_settings import Base, canonical, grid

MOST_PROBLEMS = 100
MOST_TRIED = 20
MOST_STEPS = 10**6
LARGEST_SEED = 2**31 - 1
DEFAULT_OBJECTIVES = (
    "val_accuracy",
    "val_mean_absolute_error",
    "val_loss",
    "accuracy",
    "mean_absolute_error",
    "loss",
)
LOSSES = ("loss", "val_loss")

INCOMPARABLE = (
    "objective must be a metric other than the loss while the loss varies: "
    "values of different losses cannot be compared"
)


@dataclass(frozen=True)
class CheckedStudy:
    """A study that can be run: its spec with every default, its base, and the settings of a grid."""

    spec: StudySpec
    base: Base
    objective: str
    grid: list[Setting] | None


def check_study(study: StudySpec) -> CheckedStudy:
    """Every default filled in. Raises SpecError with every mistake found, its pointer into the body of the study."""
    _raise([*_contradictions(study), *_choices(study)])
    try:
        base = Base(study)
    except SpecError as error:
        raise SpecError([_in_body(study, problem) for problem in error.problems]) from None
    known = measured(base.spec)
    objective = study.objective or _default_objective(study, known)
    if objective not in known:
        _raise([problem_at(("objective",), "unknown_value", f"objective must be one of {', '.join(known)}", objective)])
    if objective in LOSSES and _losses_vary(study):
        _raise([problem_at(("objective",), "invalid", INCOMPARABLE, objective)])
    if base.spec.seed + study.runs - 1 > LARGEST_SEED:
        detail = f"seed must leave room for the seeds of {study.runs} runs, up to {LARGEST_SEED}"
        _raise([problem_at(("base", "seed"), "too_large", detail, base.spec.seed)])
    settings = _check_settings(Checker(study, base, objective))
    trials = None if study.sampler == "grid" else study.settings
    repeats = None if study.k_folds else study.runs
    whole = study.model_copy(update={"objective": objective, "trials": trials, "repeats": repeats})
    return CheckedStudy(whole, base, objective, settings)


def _default_objective(study: StudySpec, known: list[str]) -> str:
    barred = LOSSES if _losses_vary(study) else ()
    found = next((name for name in DEFAULT_OBJECTIVES if name in known and name not in barred), None)
    if found is None:
        raise SpecError([Problem("/objective", "missing", INCOMPARABLE, None)])
    return found


def _losses_vary(study: StudySpec) -> bool:
    varied = [p for p, choice in study.vary.items() if isinstance(choice, Range) or len(choice) > 1]
    return any(pointer == "/loss" or pointer.startswith("/loss/") for pointer in varied)


def measured(spec: JobSpec) -> list[str]:
    """The names of the metrics that a job of this spec records after each epoch."""
    plain = ["loss", *(metric if isinstance(metric, str) else str(metric.type) for metric in spec.metrics)]
    return [*plain, *(f"val_{name}" for name in plain)] if spec.dataset.validation != "none" else plain


def _contradictions(study: StudySpec) -> Iterator[Problem]:
    if study.k_folds is not None and study.repeats is not None:
        yield problem_at(("k_folds",), "invalid", "only one of repeats and k_folds may be given", study.k_folds)
    if study.sampler == "grid" and study.trials is not None:
        detail = "trials must be left out for a grid, which tries every combination"
        yield problem_at(("trials",), "invalid", detail, study.trials)
    if study.sampler == "grid" and study.settings > MAX_SETTINGS:
        detail = f"the grid must have at most {MAX_SETTINGS:,} combinations"
        yield problem_at(("vary",), "too_large", detail, study.settings, "combinations")
    elif study.settings * study.runs > MAX_JOBS:
        detail = f"a study must have at most {MAX_JOBS:,} jobs, settings times runs"
        yield problem_at(("k_folds" if study.k_folds else "repeats",), "too_large", detail, study.runs)
    values = sum(len(choice) for choice in study.vary.values() if isinstance(choice, list))
    if values > MAX_SETTINGS:
        yield problem_at(("vary",), "too_large", f"there must be at most {MAX_SETTINGS:,} values in all", values, "")


def _choices(study: StudySpec) -> Iterator[Problem]:
    for pointer, choice in study.vary.items():
        if isinstance(choice, Range):
            yield from _range(study, ("vary", pointer), choice)
        else:
            seen: set[str] = set()
            for n, value in enumerate(choice):
                if (text := canonical(value)) in seen:
                    yield problem_at(("vary", pointer, n), "duplicate", "each value must be named once", value)
                seen.add(text)


def _range(study: StudySpec, at: tuple[str, str], choice: Range) -> Iterator[Problem]:
    if study.sampler == "grid":
        detail = "a grid needs a list of values; ranges are for the samplers random and tpe"
        yield problem_at(at, "invalid", detail, choice.model_dump(mode="json"))
    if choice.high <= choice.low:
        yield problem_at((*at, "high"), "too_small", f"high must be greater than low, {choice.low}", choice.high)
    elif choice.step is not None and not 0 < choice.step <= choice.high - choice.low:
        detail = f"step must be greater than 0 and at most high - low, {choice.high - choice.low}"
        yield problem_at((*at, "step"), "invalid", detail, choice.step)
    elif choice.step is not None and (choice.high - choice.low) / choice.step > MOST_STEPS:
        yield problem_at((*at, "step"), "too_small", "step must be at least a millionth of high - low", choice.step)
    elif choice.step is not None and choice.whole and not isinstance(choice.step, int):
        yield problem_at((*at, "step"), "wrong_type", "step must be a whole number, as low and high are", choice.step)
    if choice.log and choice.low <= 0:
        yield problem_at((*at, "low"), "too_small", "low must be greater than 0 for a logarithmic range", choice.low)
    if choice.log and choice.step is not None:
        yield problem_at((*at, "step"), "invalid", "step must be left out for a logarithmic range", choice.step)


def last_step(choice: Range) -> int | float:
    """The greatest value of the range that its steps reach."""
    if choice.step is None:
        return choice.high
    low, high, step = (Decimal(str(number)) for number in (choice.low, choice.high, choice.step))
    reached = low + (high - low) // step * step
    return int(reached) if choice.whole else float(reached)


class Checker:
    """Tries settings on the base, and says of each what is wrong with it."""

    def __init__(self, study: StudySpec, base: Base, objective: str) -> None:
        self.study, self._base, self._objective = study, base, objective
        self.paths = {pointer: self._path(pointer) for pointer in study.vary}

    def problems(self, setting: Setting) -> list[Problem]:
        """What is wrong with a setting, the pointers into the job spec; Nowhere when a pointer leads nowhere."""
        try:
            spec = self._base.spec_of(setting)
        except SpecError as error:
            return error.problems
        known = measured(spec)
        if self._objective not in known:
            detail = f"the objective {self._objective} is not measured then; there are {', '.join(known)}"
            return [Problem("/metrics", "unknown_value", detail, self._objective)]
        if spec.seed + self.study.runs - 1 > LARGEST_SEED:
            return [problem_at(("seed",), "too_large", "seed must leave room for the seeds of all runs", spec.seed)]
        return []

    def lost_pointers(self) -> Iterator[Problem]:
        """Keys of `vary` that lead nowhere, with the closest one that there is."""
        for pointer, path in self.paths.items():
            if path is None or not any(self._leads(pointer, before) for before in self.before(pointer)):
                close = difflib.get_close_matches(pointer[:200], list(_pointers(self._base.normal)), n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                detail = f"the pointer must lead to a field of the base{hint}"
                yield problem_at(("vary", pointer), "unknown_key", detail, pointer, "pointer")

    def before(self, pointer: str) -> list[Setting]:
        """What a value of this key may build on: nothing, or each value of a key that encloses it."""
        path = self.paths[pointer] or ()
        inner_of = {p: other for p, other in self.paths.items() if other and other != path}
        outer = [p for p, other in inner_of.items() if path[: len(other)] == other]
        lists = [[{o: value} for value in _ends(self.study.vary[o]).values()] for o in outer]
        combined = ({k: v for part in parts for k, v in part.items()} for parts in itertools.product(*lists))
        return [{}, *itertools.islice(combined, MOST_TRIED)] if outer else [{}]

    def _leads(self, pointer: str, before: Setting) -> bool:
        value = next(iter(_ends(self.study.vary[pointer]).values()))
        try:
            found = self.problems({**before, pointer: value})
        except Nowhere:
            return False
        return not any(problem.code == "unknown_key" and problem.pointer == pointer for problem in found)

    @staticmethod
    def _path(pointer: str) -> tuple[str, ...] | None:
        try:
            return split_pointer(pointer)
        except Nowhere:
            return None


def _check_settings(checker: Checker) -> list[Setting] | None:
    """The settings of a grid, None for the other samplers. Raises SpecError when any cannot be."""
    study = checker.study
    settings = list(grid(study)) if study.sampler == "grid" else None
    if settings is None:
        _raise(list(checker.lost_pointers()))
        _raise(list(_alone(checker)))
        return None
    wrong = list(itertools.islice(_wrong(checker, settings), MOST_PROBLEMS))
    if wrong:
        # A value that is wrong by itself is the plainer thing to say.
        _raise(list(checker.lost_pointers()))
        _raise(list(_alone(checker)))
        _raise([_combined(setting, problem) for setting, problem in wrong])
    return settings


def _wrong(checker: Checker, settings: list[Setting]) -> Iterator[tuple[Setting, Problem]]:
    for setting in settings:
        try:
            problems = checker.problems(setting)
        except Nowhere:
            problems = [Problem("", "unknown_key", "a pointer leads to nothing in the base", None)]
        yield from ((setting, problem) for problem in problems[:1])


def _combined(setting: Setting, problem: Problem) -> Problem:
    return replace(problem, pointer="/vary", detail=f"with {canonical(setting)[:300]}: {problem.detail}")


def _alone(checker: Checker) -> Iterator[Problem]:
    """What is wrong with each value, and each end of a range, by itself."""
    for pointer, choice in checker.study.vary.items():
        for place, value in _ends(choice).items():
            found = [_tried(checker, {**before, pointer: value}) for before in checker.before(pointer)]
            if all(found):
                yield from (placed(pointer, place, problem) for problem in found[0 if len(found) == 1 else 1])


def _tried(checker: Checker, setting: Setting) -> list[Problem]:
    try:
        return checker.problems(setting)
    except Nowhere:
        return [Problem("", "unknown_key", "this leads to nothing in the base", None)]


def placed(pointer: str, place: str | int, problem: Problem) -> Problem:
    """The same problem in the body of the study: inside the value, or at it when it shows elsewhere in the spec."""
    own = pointer_to(("vary", pointer, place))
    if problem.pointer == pointer or problem.pointer.startswith(f"{pointer}/"):
        return replace(problem, pointer=own + problem.pointer[len(pointer) :])
    where = f" at {problem.pointer}" if problem.pointer else ""
    return replace(problem, pointer=own, detail=f"with this value, {problem.detail}{where}")


def _ends(choice: list[Any] | Range) -> dict[str | int, Any]:
    """The values to check, by their place in the choice."""
    if isinstance(choice, Range):
        low, high = choice.low, last_step(choice)
        return {"low": low, "high": high} if choice.whole else {"low": float(low), "high": float(high)}
    return dict(enumerate(choice))


def _pointers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    if path:
        yield pointer_to(path)
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from _pointers(child, (*path, key))


def _in_body(study: StudySpec, problem: Problem) -> Problem:
    """A problem of the base as one of the study's body: the cut into folds stands for `k_folds`."""
    if study.k_folds is not None and problem.pointer.startswith("/dataset/validation/"):
        return replace(problem, pointer="/k_folds", detail=problem.detail.replace("folds", "k_folds"))
    return replace(problem, pointer=f"/base{problem.pointer}")


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise SpecError(problems[:MOST_PROBLEMS])

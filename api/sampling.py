"""Proposes the next setting of a study: Optuna's samplers over the study's own rows, and no second store."""

import functools
import gc
from collections.abc import Sequence
from decimal import Decimal
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from models.spec.metrics_direction import higher_is_better
from models.spec.patching import Setting
from models.spec.study import Range, StudySpec
from models.spec.study_checks import last_step
from models.spec.study_settings import canonical
from models.studies import OPEN, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

MOST_DRAWN = 20


def propose(asked: StudySpec, objective: str, number: int, history: Sequence[Trial]) -> Setting:
    """The setting of trial `number`, which follows from the study's seed, the number and the history alone.

    `random` draws evenly; `tpe` is the tree-structured Parzen estimator of Bergstra et al., "Algorithms for
    Hyper-Parameter Optimization" (NeurIPS 2011) in Optuna's multivariate form. Trials that still run are told as such
    (a constant liar), so that several at a time do not crowd; trials that failed count as the worst seen. A setting
    that was there before is drawn again, MOST_DRAWN times at most, while there are others.
    """
    optuna = _optuna()
    rising = higher_is_better(objective)
    study = optuna.create_study(direction="maximize" if rising else "minimize", sampler=_sampler(optuna, asked, number))
    distributions = {pointer: _distribution(optuna, choice) for pointer, choice in asked.vary.items()}
    if asked.sampler == "tpe":
        values = [trial.value for trial in history if trial.value is not None]
        worst = (min(values) if rising else max(values)) if values else None
        told = (_told(optuna, asked, distributions, trial, worst) for trial in history)
        study.add_trials([trial for trial in told if trial is not None])
    before = {canonical(trial.setting) for trial in history}
    again = 0
    while True:
        drawn = study.ask(fixed_distributions=distributions).params
        setting = {pointer: _value(choice, drawn[pointer]) for pointer, choice in asked.vary.items()}
        again += 1
        if canonical(setting) not in before or again > MOST_DRAWN or len(before) >= _size(asked):
            return setting
        study.sampler = _sampler(optuna, asked, number, again)


def _sampler(optuna: ModuleType, asked: StudySpec, number: int, *again: int) -> "BaseSampler":
    seed = int(np.random.SeedSequence((asked.seed, number, *again)).generate_state(1)[0])
    kinds = optuna.samplers
    made: BaseSampler
    made = kinds.TPESampler(seed=seed, constant_liar=True) if asked.sampler == "tpe" else kinds.RandomSampler(seed)
    return made


def _size(asked: StudySpec) -> float:
    """How many settings there are to draw from; infinity for real numbers."""
    size = 1.0
    for choice in asked.vary.values():
        if isinstance(choice, list):
            size *= len(choice)
        elif choice.step is not None:
            size *= _steps(choice, last_step(choice)) + 1
        else:
            size *= choice.high - choice.low + 1 if choice.whole else inf
    return size


@functools.cache
def _optuna() -> ModuleType:
    """Optuna, imported when first needed: it takes a third of a second. What it brings stays, and is frozen."""
    import optuna

    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    gc.collect()
    gc.freeze()
    return optuna


def _distribution(optuna: ModuleType, choice: list[Any] | Range) -> "BaseDistribution":
    """What Optuna draws from: of a list the place, of steps their number, of a range the number itself."""
    kinds = optuna.distributions
    made: BaseDistribution
    if isinstance(choice, list):
        made = kinds.CategoricalDistribution(tuple(range(len(choice))))
    elif choice.step is not None:
        made = kinds.IntDistribution(0, _steps(choice, last_step(choice)))
    elif choice.whole:
        made = kinds.IntDistribution(choice.low, choice.high, log=choice.log)
    else:
        made = kinds.FloatDistribution(float(choice.low), float(choice.high), log=choice.log)
    return made


def _value(choice: list[Any] | Range, drawn: Any) -> Any:
    """The value that was drawn; a real number with six digits at most."""
    if isinstance(choice, list):
        return choice[drawn]
    if choice.step is not None:
        value = Decimal(str(choice.low)) + drawn * Decimal(str(choice.step))
        return int(value) if choice.whole else float(value)
    if choice.whole:
        return int(drawn)
    return min(max(float(f"{drawn:.6g}"), float(choice.low)), float(choice.high))


def _param(choice: list[Any] | Range, value: Any) -> Any:
    """The opposite of `_value`."""
    if isinstance(choice, list):
        return [canonical(other) for other in choice].index(canonical(value))
    return _steps(choice, value) if choice.step is not None else value


def _steps(choice: Range, value: float) -> int:
    return round((Decimal(str(value)) - Decimal(str(choice.low))) / Decimal(str(choice.step)))


def _told(
    optuna: ModuleType,
    asked: StudySpec,
    distributions: "dict[str, BaseDistribution]",
    trial: Trial,
    worst: float | None,
) -> "FrozenTrial | None":
    """A trial as Optuna is told of it; None when it teaches nothing."""
    states = optuna.trial.TrialState
    params = {pointer: _param(choice, trial.setting[pointer]) for pointer, choice in asked.vary.items()}
    made: FrozenTrial
    if trial.status in OPEN:
        made = optuna.trial.create_trial(state=states.RUNNING, params=params, distributions=distributions)
    elif (value := trial.value if trial.value is not None else worst) is not None:
        made = optuna.trial.create_trial(value=value, params=params, distributions=distributions)
    else:
        return None
    return made

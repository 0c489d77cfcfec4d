"""Proposes the next setting of a study: Optuna's samplers over the study's own rows, and no second store."""

import functools
import gc
from collections.abc import Sequence
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from models.spec.metrics_direction import higher_is_better
from models.spec.study import Range, StudySpec
from models.spec.study_checks import last_step
from models.spec.study_settings import Setting, canonical
from models.studies import OPEN, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


def propose(asked: StudySpec, objective: str, number: int, history: Sequence[Trial]) -> Setting:
    """The setting of trial `number`, which follows from the study's seed, the number and the history alone.

    `random` draws evenly; `tpe` is the tree-structured Parzen estimator of Bergstra et al., "Algorithms for
    Hyper-Parameter Optimization" (NeurIPS 2011) in Optuna's multivariate form. Trials that still run are told as such
    (a constant liar), so that several at a time do not crowd; trials that failed count as the worst seen.
    """
    optuna = _optuna()
    seed = int(np.random.SeedSequence((asked.seed, number)).generate_state(1)[0])
    kinds = optuna.samplers
    sampler = kinds.TPESampler(seed=seed, constant_liar=True) if asked.sampler == "tpe" else kinds.RandomSampler(seed)
    rising = higher_is_better(objective)
    study = optuna.create_study(direction="maximize" if rising else "minimize", sampler=sampler)
    distributions = {pointer: _distribution(optuna, choice) for pointer, choice in asked.vary.items()}
    if asked.sampler == "tpe":
        values = [trial.value for trial in history if trial.value is not None]
        worst = (min(values) if rising else max(values)) if values else None
        told = (_told(optuna, asked, distributions, trial, worst) for trial in history)
        study.add_trials([trial for trial in told if trial is not None])
    drawn = study.ask(fixed_distributions=distributions).params
    return {pointer: _value(choice, drawn[pointer]) for pointer, choice in asked.vary.items()}


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

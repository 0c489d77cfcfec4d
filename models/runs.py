"""The runs of a study: ordinary jobs, what each one gave, and the one step by which a study moves on."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row, case, func, or_, select
from sqlalchemy.orm import Session

from models import jobs, requests, studies
from models.history import MAIN_METRICS, Epoch
from models.jobs import TERMINAL, Job, Status
from models.limits import check_parameters
from models.references import with_references
from models.spec import SpecError
from models.spec.patching import Setting
from models.spec.study import StudySpec
from models.spec.study_settings import Base
from models.studies import OPEN, Study, StudyStatus, Trial, TrialStatus

LONGEST_NAME = 100
INVALID = "this setting is no valid spec: "
Curve = list[tuple[int, float]]
_COLUMNS = (
    Job.id,
    Job.trial,
    Job.repeat,
    Job.status,
    Job.spec,
    Job.latest_metrics,
    Job.best_metrics,
    Job.failure_message,
)


@dataclass(frozen=True)
class Run:
    """One run of a setting; `value` is the objective once it succeeded, `reason` says why there is none."""

    job_id: str
    repeat: int
    status: str
    value: float | None = None
    reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.status in TERMINAL


@dataclass(frozen=True)
class Step:
    """What one step did: the jobs that it made, and the number of the trial that a sampler should propose next."""

    created: list[Job] = field(default_factory=list)
    wanted: int | None = None


@dataclass(frozen=True)
class Proposal:
    """A setting that a sampler proposes as trial `number`."""

    number: int
    setting: Setting


@dataclass(frozen=True)
class _Plan:
    """What there is to do for a study."""

    settle: dict[int, list[Run]]
    missing: list[tuple[int, int]]
    wanted: int | None
    over: bool

    def __bool__(self) -> bool:
        return bool(self.settle or self.missing or self.wanted or self.over)


def value_of(spec: Mapping[str, Any], latest: Mapping[str, Any], best: Mapping[str, Any], name: str) -> float | None:
    """The metric `name` at the epoch whose weights the job kept; None when it was not measured or is not finite."""
    restores = (spec.get("early_stopping") or {}).get("restore_best_weights", False)
    value: float | None = (best if restores and best else latest).get(name)
    return value


def runs_of(session: Session, study: Study, numbers: Collection[int] | None = None) -> dict[int, list[Run]]:
    """The runs that have jobs, by trial number and in order; of these trials, or of all."""
    query = select(*_COLUMNS).where(Job.study_id == study.id).order_by(Job.trial, Job.repeat)
    if numbers is not None:
        query = query.where(Job.trial.in_(numbers))
    found: dict[int, list[Run]] = defaultdict(list)
    for row in session.execute(query):
        found[row.trial].append(_run(row, study.objective))
    return found


def is_due(session: Session, study_id: str) -> bool:
    """Whether there is anything to do for a study; reads only."""
    study = session.get(Study, study_id)
    return study is not None and study.status == StudyStatus.RUNNING and bool(_plan(session, study))


def advance(
    session: Session, study_id: str, proposal: Proposal | None = None, most_parameters: int | None = None
) -> Step:
    """Move a running study on, in one transaction: settle trials that ended, make the next jobs, end the study.

    The study's row is held meanwhile, so of two processes one does it; what is there already is not made again. The
    caller commits, then rings for the jobs that were made. A setting whose network has more than `most_parameters`
    fails.
    """
    study = studies.hold(session, study_id)
    if study is None:
        return Step()
    asked = study.asked
    if proposal is not None:
        _add(session, study, asked, proposal)
    plan = _plan(session, study)
    for number, found in plan.settle.items():
        _settle(session, study, number, found)
    created = _create(session, study, asked, plan.missing, most_parameters) if plan.missing else []
    if plan.over:
        studies.end(session, study.id, _outcome(session, study.id))
    # A trial that turned out to be impossible leaves its place to another at the next step.
    return Step(created, plan.wanted)


def cancel(session: Session, study_id: str) -> list[tuple[str, int]] | None:
    """Cancel a running study with all its jobs, in this transaction.

    Returns:
        Id and number of attempts of the jobs that ended at once, whose checkpoints can go; None when the study does
        not run.
    """
    if studies.hold(session, study_id) is None:
        return None
    studies.end(session, study_id, StudyStatus.CANCELLED)
    studies.cancel_trials(session, study_id)
    query = select(Job.id, Job.attempt).where(Job.study_id == study_id, Job.status.not_in(TERMINAL))
    active = [(row.id, row.attempt) for row in session.execute(query)]
    return [(job_id, tries) for job_id, tries in active if requests.request_cancel(session, job_id, False) == "done"]


def _run(row: Row[Any], objective: str) -> Run:
    run = Run(row.id, row.repeat, row.status)
    if row.status == Status.SUCCEEDED:
        value = value_of(row.spec, row.latest_metrics, row.best_metrics, objective)
        reason = None if value is not None else f"{objective} was not measured, or is not finite"
        return Run(row.id, row.repeat, row.status, value, reason)
    if row.status == Status.FAILED:
        return Run(row.id, row.repeat, row.status, reason=row.failure_message or "the job failed")
    if row.status == Status.CANCELLED:
        return Run(row.id, row.repeat, row.status, reason="the job was cancelled")
    return run


def _plan(session: Session, study: Study) -> _Plan:
    rows = session.execute(select(Trial.number, Trial.status).where(Trial.study_id == study.id).order_by(Trial.number))
    trials: dict[int, str] = {row.number: row.status for row in rows}
    begun = runs_of(session, study, [number for number, status in trials.items() if status == TrialStatus.RUNNING])
    settle = {n: found for n, found in begun.items() if len(found) == study.runs and all(run.ended for run in found)}
    active = sum(not run.ended for found in begun.values() for run in found)
    room = study.parallel - active
    missing: list[tuple[int, int]] = []
    for number, status in trials.items():
        if len(missing) >= room:
            break
        if status in OPEN and number not in settle:
            there = {run.repeat for run in begun.get(number, ())}
            missing += [(number, repeat) for repeat in range(study.runs) if repeat not in there]
    missing = missing[: max(room, 0)]
    drawn = len(trials) == study.settings
    open_after = [n for n, status in trials.items() if status in OPEN and n not in settle]
    wanted = None if drawn or room <= len(missing) else len(trials) + 1
    return _Plan(settle, missing, wanted, over=drawn and not open_after)


def _settle(session: Session, study: Study, number: int, found: Sequence[Run]) -> None:
    values = [run.value for run in found if run.value is not None]
    whole = len(values) == study.runs
    word = "fold" if study.spec["k_folds"] else "run"
    reasons = [f"{word} {run.repeat + 1}: {run.reason}" for run in found if run.value is None]
    studies.end_trial(
        session,
        study.id,
        number,
        TrialStatus.SUCCEEDED if whole else TrialStatus.FAILED,
        value=sum(values) / len(values) if whole else None,
        problem="; ".join(reasons)[:1000] or None,
        results=[asdict(run) for run in found],
    )


def _add(session: Session, study: Study, asked: StudySpec, proposal: Proposal) -> None:
    """Take a proposal for the next trial, unless another process has been quicker."""
    numbers = session.scalars(select(Trial.number).where(Trial.study_id == study.id)).all()
    if proposal.number == len(numbers) + 1 <= study.settings:
        studies.add_trials(session, study.id, asked, [proposal.setting], first=proposal.number)


def _create(
    session: Session,
    study: Study,
    asked: StudySpec,
    missing: Sequence[tuple[int, int]],
    most_parameters: int | None,
) -> list[Job]:
    numbers = {number for number, _ in missing}
    rows = select(Trial.number, Trial.setting, Trial.label).where(Trial.study_id == study.id, Trial.number.in_(numbers))
    settings: dict[int, tuple[Setting, str]] = {row.number: (row.setting, row.label) for row in session.execute(rows)}
    base = Base(asked)
    made = []
    for number, repeat in missing:
        if number not in settings:
            continue
        setting, label = settings[number]
        also: dict[str, Any] = {"name": _name(study, asked, label, repeat)}
        if not base.names_model:
            also["model"] = model_name(study)
        try:
            spec = with_references(session, base.spec_of(setting, repeat, **also))
            if most_parameters is not None:
                check_parameters(spec, most_parameters)
        except (SpecError, ValueError) as error:
            problem = f"{INVALID}{error}"[:1000]
            studies.end_trial(session, study.id, number, TrialStatus.FAILED, problem=problem)
            del settings[number]
            continue
        made.append(jobs.create(session, spec, study.owner, study_id=study.id, trial=number, repeat=repeat))
        studies.begin_trial(session, study.id, number)
    return made


def model_name(study: Study) -> str:
    """The model that the runs of a study become versions of, unless its base names one."""
    return study.id.lower()


def _name(study: Study, asked: StudySpec, label: str, repeat: int) -> str:
    run = f" ({'fold' if asked.k_folds else 'run'} {repeat + 1} of {study.runs})" if study.runs > 1 else ""
    title = f"{study.name}: {label}" if study.name else label
    printable = "".join(letter if letter.isprintable() else " " for letter in title)
    return printable[: LONGEST_NAME - len(run)] + run


def _outcome(session: Session, study_id: str) -> StudyStatus:
    every = session.scalars(select(Trial.results).where(Trial.study_id == study_id))
    succeeded = any(run["status"] == Status.SUCCEEDED for results in every for run in results)
    return StudyStatus.SUCCEEDED if succeeded else StudyStatus.FAILED


def curves_of(session: Session, study_id: str, names: Collection[str], most: int) -> dict[int, dict[str, list[Curve]]]:
    """By trial number and name, each run's metric over its epochs, thinned to about `most` points."""
    number = func.row_number().over(partition_by=Epoch.job_id, order_by=Epoch.epoch)
    count = func.count().over(partition_by=Epoch.job_id)
    columns = (*(getattr(Epoch, name) for name in MAIN_METRICS), Epoch.other_metrics)
    rows = select(Job.trial, Job.repeat, Epoch.epoch, *columns, number.label("number"), count.label("count"))
    inner = rows.join(Epoch, Epoch.job_id == Job.id).where(Job.study_id == study_id).subquery()
    stride = case((inner.c.count > most, inner.c.count // most), else_=1)
    drawn = or_(inner.c.number % stride == 0, inner.c.number == 1, inner.c.number == inner.c.count)
    found: dict[int, dict[str, dict[int, Curve]]] = {}
    for row in session.execute(select(inner).where(drawn).order_by(inner.c.trial, inner.c.repeat, inner.c.epoch)):
        for name in names:
            value = getattr(row, name) if name in MAIN_METRICS else row.other_metrics.get(name)
            if value is not None:
                runs = found.setdefault(row.trial, {}).setdefault(name, {})
                runs.setdefault(row.repeat, []).append((row.epoch, value))
    return {trial: {name: list(runs.values()) for name, runs in by.items()} for trial, by in found.items()}

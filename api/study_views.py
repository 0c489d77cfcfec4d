"""Studies as the JSON that api.md promises: head, table of settings, the best one, and the verdict in words."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.verdicts import Outcome, deviation, interval, ranked, verdict
from api.views import Moment
from models.jobs import TERMINAL, Job, Status
from models.runs import INVALID, Run, model_name, runs_of
from models.spec.metrics_direction import higher_is_better
from models.spec.study_settings import canonical
from models.studies import SETTLED, Study, StudyStatus, Trial, TrialStatus

SETTING = {"/optimizer": "adam"}


class CountView(BaseModel):
    """How many of how many have ended."""

    done: int = Field(examples=[4])
    total: int = Field(examples=[6])


class StudyProgress(BaseModel):
    """How far a study is."""

    runs: CountView
    trials: CountView


class StudyHead(BaseModel):
    """A study without its table."""

    id: str = Field(examples=["study_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])
    name: str
    tags: list[str]
    notes: str
    owner: str | None
    status: StudyStatus
    is_terminal: bool
    spec: dict[str, Any] = Field(description="the study with every default; `base` as it was sent")
    base: dict[str, Any] = Field(description="the base with every default")
    objective: str = Field(description="what settings are judged by", examples=["val_accuracy"])
    higher_is_better: bool = Field(description="of the objective")
    model: str | None = Field(
        description="what the runs become versions of; null where it varies",
        examples=["study_01kahb9v2m0q4t8xj5n7c3r6wy"],
    )
    progress: StudyProgress
    created_at: Moment
    finished_at: Moment | None
    links: dict[str, str]


class RunView(BaseModel):
    """One run of a setting."""

    job_id: str = Field(examples=["job_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])
    repeat: int | None = Field(None, description="from 0; its seed is the setting's plus this", examples=[0])
    fold: int | None = Field(None, description="the fold that it validates on", examples=[None])
    status: Status
    value: float | None = Field(description="the objective at the epoch whose weights were kept", examples=[0.978])
    reason: str | None = Field(None, description="why an ended run has no value")


class TrialView(BaseModel):
    """One setting."""

    number: int = Field(description="from 1", examples=[2])
    setting: dict[str, Any] = Field(examples=[SETTING])
    label: str = Field(description="what differs, in a few words", examples=["adam"])
    status: TrialStatus
    runs: list[RunView]
    mean: float | None = Field(description="over its runs; of those so far while it runs", examples=[0.978])
    interval: tuple[float, float] | None = Field(description="95 %, by Student's t", examples=[[0.975, 0.981]])
    standard_deviation: float | None = Field(examples=[0.0012])
    problem: str | None = Field(description="why it has no mean")


class BestView(BaseModel):
    """The setting with the best mean among those that ended."""

    trial: int = Field(examples=[2])
    setting: dict[str, Any] = Field(examples=[SETTING])
    label: str = Field(examples=["adam"])
    mean: float = Field(examples=[0.978])
    job_id: str = Field(description="its best run", examples=["job_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])


class StudyView(StudyHead):
    """A study."""

    trials: list[TrialView] = Field(description="in order; random and tpe settings appear as they are drawn")
    best: BestView | None
    verdict: list[str] = Field(
        description="which differences are larger than the noise: Welch's t-test, adjusted by Holm",
        examples=[
            [
                "adam (0.978 ± 0.002) is better than sgd (0.912 ± 0.004): the difference is larger than the noise "
                "(p < 0.001)."
            ]
        ],
    )


def study_heads(session: Session, found: Sequence[Study]) -> list[StudyHead]:
    """These studies without their tables, their progress counted by the database."""
    ids = [study.id for study in found]
    ended = select(Trial.study_id, func.count()).where(Trial.study_id.in_(ids), Trial.status.in_(SETTLED))
    trials = {row[0]: row[1] for row in session.execute(ended.group_by(Trial.study_id))}
    of_others = select(Job.study_id, func.count()).join(
        Trial, (Trial.study_id == Job.study_id) & (Trial.number == Job.trial)
    )
    of_others = of_others.where(Job.study_id.in_(ids), Job.status.in_(TERMINAL), Trial.status.not_in(SETTLED))
    runs = {row[0]: row[1] for row in session.execute(of_others.group_by(Job.study_id))}
    return [
        StudyHead(**_head(study, trials.get(study.id, 0), trials.get(study.id, 0) * study.runs + runs.get(study.id, 0)))
        for study in found
    ]


def study_view(session: Session, study_id: str) -> StudyView:
    """A study with its table."""
    study = session.get_one(Study, study_id)
    rows = list(session.scalars(select(Trial).where(Trial.study_id == study.id).order_by(Trial.number)))
    runs = all_runs(session, study, rows)
    folds = study.spec["k_folds"] is not None
    views = [_trial(row, runs.get(row.number, []), folds) for row in rows]
    ended = [row for row in rows if row.status in SETTLED]
    done = sum(study.runs if row.status in SETTLED else _ended(runs.get(row.number, [])) for row in rows)
    outcomes = outcomes_of(rows, runs)
    rising = higher_is_better(study.objective)
    order = ranked(outcomes, rising)
    return StudyView(
        **_head(study, len(ended), done),
        trials=views,
        best=_best(order[0], {row.number: row for row in rows}, runs, rising) if order else None,
        verdict=verdict(outcomes, study.objective, rising, study.settings, study.status == StudyStatus.CANCELLED),
    )


def all_runs(session: Session, study: Study, rows: Sequence[Trial]) -> dict[int, list[Run]]:
    """The runs of each trial: as they were kept when it was settled, else as its jobs are."""
    kept = {row.number: [Run(**run) for run in row.results] for row in rows if row.results}
    unsettled = [row.number for row in rows if not row.results and row.status != TrialStatus.QUEUED]
    return kept | (runs_of(session, study, unsettled) if unsettled else {})


def outcomes_of(rows: Sequence[Trial], runs: Mapping[int, list[Run]]) -> list[Outcome]:
    """The settings that ended by themselves, with the values of their runs where every run has one."""
    return [
        Outcome(
            row.number,
            row.label,
            _values(runs.get(row.number, [])) if row.value is not None else (),
            canonical(row.setting),
            invalid=(row.problem or "").partition(INVALID)[2],
        )
        for row in rows
        if row.status in SETTLED
    ]


def _head(study: Study, trials: int, runs: int) -> dict[str, Any]:
    own = f"/v1/studies/{study.id}"
    progress = StudyProgress(
        runs=CountView(done=runs, total=study.settings * study.runs),
        trials=CountView(done=trials, total=study.settings),
    )
    return {
        "id": study.id,
        "name": study.name,
        "tags": study.tags,
        "notes": study.notes,
        "owner": study.owner,
        "status": StudyStatus(study.status),
        "is_terminal": study.status != StudyStatus.RUNNING,
        "spec": study.spec,
        "base": study.base,
        "objective": study.objective,
        "higher_is_better": higher_is_better(study.objective),
        "model": _model(study),
        "progress": progress,
        "created_at": study.created_at,
        "finished_at": study.finished_at,
        "links": {"self": own, "curves": f"{own}/curves.png", "jobs": f"/v1/jobs?study={study.id}"},
    }


def _model(study: Study) -> str | None:
    if "/model" in study.spec["vary"]:
        return None
    return str(study.base["model"]) if "model" in study.spec["base"] else model_name(study)


def _trial(row: Trial, runs: list[Run], folds: bool) -> TrialView:
    failed = row.status == TrialStatus.FAILED
    values = () if failed else _values(runs)
    return TrialView(
        number=row.number,
        setting=row.setting,
        label=row.label,
        status=TrialStatus(row.status),
        runs=[_run(run, folds) for run in runs],
        mean=fmean(values) if values else None,
        interval=interval(values),
        standard_deviation=deviation(values),
        problem=row.problem,
    )


def _run(run: Run, folds: bool) -> RunView:
    return RunView(
        job_id=run.job_id,
        repeat=None if folds else run.repeat,
        fold=run.repeat if folds else None,
        status=Status(run.status),
        value=run.value,
        reason=run.reason,
    )


def _best(best: Outcome, rows: Mapping[int, Trial], runs: Mapping[int, list[Run]], rising: bool) -> BestView:
    run = max(
        (run for run in runs[best.number] if run.value is not None),
        key=lambda run: (run.value or 0.0) * (1 if rising else -1),
    )
    setting = rows[best.number].setting
    return BestView(trial=best.number, setting=setting, label=best.label, mean=best.mean, job_id=run.job_id)


def _values(runs: Sequence[Run]) -> tuple[float, ...]:
    return tuple(run.value for run in runs if run.value is not None)


def _ended(runs: Sequence[Run]) -> int:
    return sum(run.ended for run in runs)

"""What the runs of a study start from, fixed when it is submitted: all of them start from the same weights."""

import re
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from models.jobs import Job
from models.references import Sees, everybody, with_references
from models.spec import JobSpec, SpecError
from models.spec.patching import Nowhere, split_pointer
from models.spec.problems import problem_at
from models.spec.study import StudySpec
from models.spec.study_checks import CheckedStudy, placed
from models.spec.study_settings import Base, grid

FIELD = "initial_weights"
JOB_ID = re.compile(r"job_[0-9A-Z]{26}")


def with_fixed_weights(session: Session, checked: CheckedStudy, sees: Sees = everybody) -> CheckedStudy:
    """The study in which every `initial_weights` names one version or epoch. Raises SpecError when there is none.

    Its runs are made later, when nobody knows any more what who submitted it may see: so a job that `sees` does not
    allow is refused here, also where what it would mean shows only together with other values.
    """
    study = checked.spec
    varied = [pointer for pointer in study.vary if split_pointer(pointer)[0] == FIELD]
    if checked.base.spec.initial_weights is None and not varied:
        return checked
    base, vary = study.base, dict(study.vary)
    if checked.base.spec.initial_weights is not None:
        try:
            base = base | {FIELD: _fixed(session, checked.base.spec, sees)}
        except SpecError as error:
            found = [replace(problem, pointer=f"/base{problem.pointer}") for problem in error.problems]
            raise SpecError(found) from None
    for pointer in varied:
        vary[pointer] = _fixed_values(session, checked, pointer, sees)
    fixed: StudySpec = study.model_copy(update={"base": base, "vary": vary})
    return replace(checked, spec=fixed, base=Base(fixed), grid=None if checked.grid is None else list(grid(fixed)))


def _fixed_values(session: Session, checked: CheckedStudy, pointer: str, sees: Sees) -> Any:
    """The choice at `pointer` with each value as it is fixed; one that means nothing by itself stays."""
    choice = checked.spec.vary[pointer]
    if not isinstance(choice, list):
        return choice
    values = []
    for n, value in enumerate(choice):
        try:
            spec = checked.base.spec_of({pointer: value})
        except (SpecError, Nowhere):
            _check_named(session, pointer, n, value, sees)
            values.append(value)
            continue
        try:
            fixed = _fixed(session, spec, sees)
        except SpecError as error:
            raise SpecError([placed(pointer, n, problem) for problem in error.problems]) from None
        for key in split_pointer(pointer)[1:]:
            fixed = fixed[key]
        values.append(fixed)
    return values


def _check_named(session: Session, pointer: str, place: int, value: Any, sees: Sees) -> None:
    """Refuse a value that names a job which may not be seen."""
    for name in JOB_ID.findall(str(value)):
        job = session.get(Job, name)
        if job is not None and not sees(job.owner):
            problem = problem_at((FIELD, "job"), "not_found", "there is no such job", name)
            raise SpecError([placed(pointer, place, problem)])


def _fixed(session: Session, spec: JobSpec, sees: Sees) -> Any:
    return with_references(session, spec, sees).model_dump(mode="json")[FIELD]

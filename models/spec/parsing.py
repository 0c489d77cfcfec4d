"""From a JSON body to a spec that can be run, or to every mistake in it."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from models.spec.change import ChangeSpec
from models.spec.checks import problems_of
from models.spec.checks.change import change_faults
from models.spec.job import JobSpec
from models.spec.problems import Path, Problem, SpecError, has, pointer_to, problem_at
from models.spec.validation import problems_from


def parse_spec(data: object) -> JobSpec:
    """The spec that `data`, decoded JSON, describes. Raises SpecError with every mistake, its pointer into `data`."""
    try:
        spec = JobSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_from(error.errors(include_url=False), data, JobSpec)) from None
    check_spec(spec, data)
    return spec


def check_spec(spec: JobSpec, body: object) -> None:
    """Whether the parts of `spec` fit each other. Raises SpecError that points into `body`, as it was sent."""
    if problems := problems_of(spec):
        raise SpecError([_within(body, path, problem) for path, problem in problems])


def check_change(change: ChangeSpec, spec: JobSpec, done: int, body: object) -> None:
    """Whether a job that `spec` describes can be changed so after `done` epochs. Raises SpecError, as `check_spec`."""
    if faults := list(change_faults(change, spec, done)):
        raise SpecError([_within(body, fault.path, problem_at(*fault)) for fault in faults])


def _within(body: object, path: Path, problem: Problem) -> Problem:
    """The same problem pointing at what was sent: a bare string has no fields, and what is left out is named."""
    reached: Any = body
    for n, item in enumerate(path):
        if not has(reached, item):
            belongs = path[: n + 1] if isinstance(reached, dict) else path[:n]
            return replace(problem, pointer=pointer_to(belongs))
        reached = reached[item]
    return problem

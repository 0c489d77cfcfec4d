"""The members of an ensemble, looked up and fixed when the job is submitted."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from models import registry
from models.registry import ModelVersion
from models.spec import JobSpec, Problem, SpecError
from models.spec.checks.network import MAX_PARAMETERS
from models.spec.problems import problem_at


def with_members(session: Session, spec: JobSpec) -> JobSpec:
    """The spec whose ensemble names versions, `name:3`, that exist and answer the same question.

    Raises:
        SpecError: a member is not there, is of other data or classes, or comes twice; or all together are too large.
    """
    if spec.ensemble is None:
        return spec
    members = spec.ensemble.members
    found = [registry.resolve(session, ref) for ref in members]
    problems = [
        problem_at(("ensemble", "members", place), code, detail, ref, "members")
        for place, ref in enumerate(members)
        for code, detail in _faults(registry.serving_of(spec), spec.dataset.name, found, place)
    ]
    versions = [version for version in found if version is not None]
    problems += _too_large(versions, list(members)) if not problems else []
    if problems:
        raise SpecError(problems)
    fixed = tuple(f"{version.name}:{version.version}" for version in versions)
    return spec.model_copy(update={"ensemble": spec.ensemble.model_copy(update={"members": fixed})})


def _faults(
    wanted: dict[str, Any], dataset: str, found: list[ModelVersion | None], place: int
) -> Iterator[tuple[str, str]]:
    version = found[place]
    if version is None:
        yield "not_found", "there is no such model or version"
        return
    name = f"{version.name}:{version.version}"
    if version.dataset != dataset:
        yield "invalid", f"must be a model of {dataset}; {name} is one of {version.dataset}"
    elif any(version.serving.get(key, wanted[key]) != wanted[key] for key in ("shape", "labels")):
        classes = ", ".join(map(str, version.serving.get("labels", ())))
        yield (
            "invalid",
            f"must have the classes of this spec's dataset in the same order; those of {name} are {classes}",
        )
    elif version in found[:place]:
        yield "duplicate", f"must name each version once; {name} is member {found.index(version)} already"


def _too_large(versions: list[ModelVersion], refs: list[str]) -> list[Problem]:
    total = sum(version.parameters for version in versions)
    if total <= MAX_PARAMETERS:
        return []
    detail = f"the members have {total:,} parameters together, of at most {MAX_PARAMETERS:,}"
    return [problem_at(("ensemble", "members"), "too_large", detail, refs)]

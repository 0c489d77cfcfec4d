"""Whether a training can be repeated: the jobs that do one again, changes included, and compare the weights."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from models.exports import has_model
from models.jobs import Job
from models.spec import JobSpec
from models.spec.problems import refuse

# What the data are split and drawn by, and where they are trained on.
_SHARED = frozenset({"seed", "device"})


def with_source(session: Session, spec: JobSpec, sees: Callable[[str | None], bool]) -> JobSpec:
    """The spec, whose `verify` names a training with a model, of an owner that `sees` allows.

    What the training was done with and for how long is filled in. Raises SpecError, also where the spec says otherwise.
    """
    if (wanted := spec.verify) is None:
        return spec
    source = session.get(Job, wanted.job)
    if source is None or not sees(source.owner):
        refuse(("verify", "job"), "not_found", "there is no such job", wanted.job)
    if (reason := why_not(session, source)) is not None:
        refuse(("verify", "job"), "invalid", f"must be a training with a model; {reason}", wanted.job)
    if JobSpec.model_validate(source.spec).dataset != spec.dataset:
        detail = "must be the data set of the job that is verified, with all that its spec says of it"
        refuse(("dataset",), "invalid", detail, spec.dataset.name)
    if wanted.epochs not in (None, source.epoch):
        detail = f"epochs must be {source.epoch}, as many as the job was trained, or be left out"
        refuse(("verify", "epochs"), "invalid", detail, wanted.epochs)
    for name in sorted(_SHARED & spec.model_fields_set):
        if (received := getattr(spec, name)) != source.spec[name]:
            detail = f"{name} must be that of the job that is verified, {source.spec[name]}, or be left out"
            refuse((name,), "invalid", detail, received)
    shared = {name: source.spec[name] for name in _SHARED}
    return spec.model_copy(update=shared | {"verify": wanted.model_copy(update={"epochs": source.epoch})})


def spec_for(source: Job) -> JobSpec:
    """What the job should do that trains `source` once more and compares what comes out, before it is filled in."""
    return JobSpec.model_validate(
        {
            "kind": "verify",
            "name": f"{source.id} once more",
            "dataset": source.spec["dataset"],
            "verify": {"job": source.id},
        }
    )


def why_not(session: Session, source: Job) -> str | None:
    """Why there is nothing to verify about a job, as the end of a sentence; None when there is."""
    if source.kind != "train":
        return f"this one is of the kind {source.kind}"
    return None if source.epoch and has_model(session, source.id) else f"this one is {source.status} without a model"

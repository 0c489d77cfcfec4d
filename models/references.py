"""What a spec refers to - a model version, a job's epoch - looked up and fixed when the job is submitted."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import exports, registry, verification
from models.jobs import Job
from models.members import with_members
from models.registry import Artifact
from models.spec import JobSpec
from models.spec.data import shape_of
from models.spec.initial import FromJob, FromModel
from models.spec.kept_epochs import file_of
from models.spec.problems import refuse
from models.spec.shapes import trace

Sees = Callable[[str | None], bool]
"""Whether jobs of this owner may be referred to; all others are as if they were not there."""


def everybody(_: str | None) -> bool:
    """Whoever it is."""
    return True


def with_references(session: Session, spec: JobSpec, sees: Sees = everybody) -> JobSpec:
    """The spec with everything that it refers to looked up and fixed. Raises SpecError."""
    spec = with_members(session, with_initial_weights(session, spec, sees))
    return verification.with_source(session, exports.with_source(session, spec, sees), sees)


def with_initial_weights(session: Session, spec: JobSpec, sees: Sees = everybody) -> JobSpec:
    """The spec whose `initial_weights` name one version or epoch that exists and has something to give.

    Raises:
        SpecError: there is no such model, job or epoch, or no layer of the network fits what it has.
    """
    match spec.initial_weights:
        case None:
            return spec
        case FromModel(model=ref):
            source, fixed = _source_version(session, ref)
        case FromJob() as fixed:
            source = _source_job(session, fixed, sees)
    if not _sizes(spec).items() & _sizes(source).items():
        mine, theirs = (", ".join(_sizes(each)) for each in (spec, source))
        detail = f"no layer has the name, type and size of one there: here are {mine}, there {theirs}"
        refuse(("initial_weights",), "invalid", detail, fixed.model_dump())
    return spec.model_copy(update={"initial_weights": fixed})


def _source_version(session: Session, ref: str) -> tuple[JobSpec, FromModel]:
    path = ("initial_weights", "model")
    version = registry.resolve(session, ref)
    if version is None:
        refuse(path, "not_found", "there is no such model or version", ref)
    spec = JobSpec.model_validate(session.get_one(Job, version.job_id).spec)
    if spec.kind != "train":
        refuse(path, "invalid", f"must be a trained model, not one of the kind {spec.kind}", ref)
    return spec, FromModel(model=f"{version.name}:{version.version}")


def _source_job(session: Session, wanted: FromJob, sees: Sees) -> JobSpec:
    job = session.get(Job, wanted.job)
    if job is None or not sees(job.owner):
        refuse(("initial_weights", "job"), "not_found", "there is no such job", wanted.job)
    if job.kind != "train":
        refuse(("initial_weights", "job"), "invalid", f"must be a training, not of the kind {job.kind}", wanted.job)
    kept = kept_epochs(session, job.id)
    if wanted.epoch not in kept:
        told = f"kept are those of {', '.join(map(str, kept))}" if kept else "the job has kept none so far"
        detail = f"the weights after this epoch are not kept: {told}"
        refuse(("initial_weights", "epoch"), "not_found", detail, wanted.epoch)
    return JobSpec.model_validate(job.spec)


def kept_epochs(session: Session, job_id: str) -> list[int]:
    """The epochs of the job whose weights are kept, in order."""
    before, after = file_of(0).split("0")
    query = select(Artifact.name).where(Artifact.job_id == job_id, Artifact.name.startswith(before, autoescape=True))
    return sorted(int(name.removeprefix(before).removesuffix(after)) for name in session.scalars(query))


def _sizes(spec: JobSpec) -> dict[str, tuple[str, int]]:
    """Type and number of parameters of each layer that has any, by name."""
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    return {layer.name: (layer.type, layer.parameters) for layer in layers if layer.parameters}

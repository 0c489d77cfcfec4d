"""Deleting jobs: what stands in the way of it, and those that have been over for long enough."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from models import jobs
from models.jobs import TERMINAL, Job, Status
from models.registry import ModelVersion
from models.studies import Study, StudyStatus


def why_kept(session: Session, job: Job, call: Callable[[str], str] = "The job {}".format) -> str | None:
    """Why a job cannot be deleted, as a sentence; None when it can, if the row is locked until then.

    `call` says how the sentence is to call another job, by its id, which may be somebody else's.
    """
    if job.status not in TERMINAL:
        return f"The job is {job.status}: cancel it first."
    version = session.scalars(select(ModelVersion).filter_by(job_id=job.id)).one_or_none()
    if version is not None:
        return f"The model version {version.name}:{version.version} needs it."
    if (child := jobs.waits_for_weights_of(session, job.id)) is not None:
        return f"{call(child)} has yet to use its weights."
    # A study that goes on would make the run once more.
    if job.study_id is not None and session.get_one(Study, job.study_id).status == StudyStatus.RUNNING:
        return f"The study {job.study_id} needs it until it ends."
    return None


def long_over(session: Session, moment: datetime, after: str, most: int) -> Sequence[str]:
    """Ids beyond `after` of failed and cancelled jobs that ended before `moment`, of no study and without a model."""
    query = select(Job.id).where(
        Job.status.in_((Status.FAILED, Status.CANCELLED)),
        Job.finished_at < moment,
        Job.study_id.is_(None),
        Job.id > after,
        ~exists().where(ModelVersion.job_id == Job.id),
    )
    return session.scalars(query.order_by(Job.id).limit(most)).all()

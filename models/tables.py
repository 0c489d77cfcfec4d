"""Every table, so that one import makes the metadata whole."""

from models.database import Base
from models.history import Epoch, Evaluation, Event, Result
from models.jobs import Job, JobTag
from models.registry import Artifact, ModelVersion
from models.studies import Study, Trial
from models.workers import Worker

__all__ = [
    "Artifact",
    "Base",
    "Epoch",
    "Evaluation",
    "Event",
    "Job",
    "JobTag",
    "ModelVersion",
    "Result",
    "Study",
    "Trial",
    "Worker",
]

"""Every table, so that one import makes the metadata whole."""

from models.database import Base
from models.history import Epoch, Evaluation, Event, Result
from models.jobs import Job, JobTag
from models.registry import AliasMove, Artifact, Model, ModelVersion
from models.studies import Study, Trial
from models.workers import Worker

__all__ = [
    "AliasMove",
    "Artifact",
    "Base",
    "Epoch",
    "Evaluation",
    "Event",
    "Job",
    "JobTag",
    "Model",
    "ModelVersion",
    "Result",
    "Study",
    "Trial",
    "Worker",
]

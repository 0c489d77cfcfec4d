"""Every table, so that one import makes the metadata whole."""

from models.database import Base
from models.diagnoses import Diagnosis, LayerStatistics
from models.history import Change, Epoch, Evaluation, Event, Result
from models.idempotency import FirstAnswer
from models.jobs import Job, JobTag
from models.keys import ApiKey
from models.registry import AliasMove, Artifact, Model, ModelVersion
from models.studies import Study, Trial
from models.turns import Turn
from models.workers import Worker

__all__ = [
    "AliasMove",
    "ApiKey",
    "Artifact",
    "Base",
    "Change",
    "Diagnosis",
    "Epoch",
    "Evaluation",
    "Event",
    "FirstAnswer",
    "Job",
    "JobTag",
    "LayerStatistics",
    "Model",
    "ModelVersion",
    "Result",
    "Study",
    "Trial",
    "Turn",
    "Worker",
]

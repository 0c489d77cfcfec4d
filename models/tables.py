"""Every table, so that one import makes the metadata whole."""

from models.database import Base
from models.history import Epoch, Evaluation, Event
from models.jobs import Job, JobTag
from models.registry import Artifact, ModelVersion
from models.workers import Worker

__all__ = ["Artifact", "Base", "Epoch", "Evaluation", "Event", "Job", "JobTag", "ModelVersion", "Worker"]

"""The folder of a new store: made once, and never in place of one that had files and is away."""

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from models.artifacts import ArtifactStore
from models.jobs import Job
from models.registry import Artifact


def prepare_store(session: Session, store: ArtifactStore) -> None:
    """Make the folder of a store of which no file is on record; where some are, a folder that is not there is away."""
    has_files = or_(exists().where(Artifact.key.is_not(None)), exists().where(Job.checkpoint.is_not(None)))
    if not session.scalar(select(has_files)):
        store.make_folder()

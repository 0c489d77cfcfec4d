"""An artifact's file, whole and as it was stored, or the 502 that says what became of it."""

import logging

from api.errors import BadGateway
from models.artifacts import ArtifactStore, Corrupted
from models.registry import Artifact

log = logging.getLogger(__name__)


def read_stored(store: ArtifactStore, row: Artifact) -> bytes:
    """The file of `row`. Raises BadGateway when it is gone, or is not what was stored."""
    try:
        return store.read_verified(row.key, row.sha256)
    except FileNotFoundError as error:
        raise gone(row) from error
    except Corrupted as error:
        raise not_as_stored(row) from error


def gone(row: Artifact) -> BadGateway:
    """For a file that is on record and nowhere else."""
    log.error("%s is on record and gone from the store", row.key)
    return BadGateway(f"The file of the artifact {row.name} is gone from the artifact store.")


def not_as_stored(row: Artifact) -> BadGateway:
    """For a file that was damaged."""
    log.error("%s is not what was stored there", row.key)
    return BadGateway(f"The file of the artifact {row.name} is not what was stored: its size or its checksum differs.")

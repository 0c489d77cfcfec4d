"""Whether the disk has room for what new jobs will write."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url

from api.errors import OutOfStorage
from models.artifacts import ArtifactStore
from models.settings import Settings

LOOK_SECONDS = 1.0


class Disk:
    """The file systems that hold artifacts and SQLite's file; asked at most once a second, from any thread."""

    def __init__(self, settings: Settings, store: ArtifactStore) -> None:
        self._needed = round(settings.min_free_mb * 1_000_000)
        self._folders = tuple(_folders(settings, store)) if self._needed else ()
        self._looked: float | None = None
        self._problem: str | None = None

    def problem(self) -> str | None:
        """A sentence when there is less room than TRAINYARD_MIN_FREE_MB, else None."""
        now = time.monotonic()
        if self._looked is None or now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._problem = self._look()
        return self._problem

    def require_room(self) -> None:
        """Raise OutOfStorage when there is less room than TRAINYARD_MIN_FREE_MB."""
        if (problem := self.problem()) is not None:
            raise OutOfStorage(f"{problem} Delete jobs that nobody needs, or make room, and send it again.")

    def _look(self) -> str | None:
        free = free_bytes(self._folders)
        if free is None or free >= self._needed:
            return None
        return (
            f"The disk is nearly full: {free // 1_000_000:,} MB are free, and new jobs are taken from "
            f"{self._needed // 1_000_000:,} MB on (TRAINYARD_MIN_FREE_MB)."
        )


def free_bytes(folders: Sequence[Path]) -> int | None:
    """How many bytes are free where there are fewest; None when none of the folders can be asked."""
    found = []
    for folder in folders:
        # A folder that is away is told elsewhere, and holds nothing up here.
        with suppress(OSError):
            found.append(shutil.disk_usage(folder).free)
    return min(found, default=None)


def _folders(settings: Settings, store: ArtifactStore) -> list[Path]:
    database = make_url(settings.database)
    is_file = database.get_backend_name() == "sqlite" and database.database
    places = (store.folder, Path(str(database.database)).absolute().parent if is_file else None)
    return [place for place in places if place is not None]

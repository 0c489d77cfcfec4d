"""`python -m models.backup FOLDER`: copy what is worth keeping while the service runs; see docs/deployment.md.

The database is copied first and the files on its record afterwards, each compared with its checksum. So the rows in a
backup name no file that it lacks, but for those that were removed in between.
"""

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url, select
from sqlalchemy.exc import DBAPIError

from models.artifacts import ArtifactStore, Corrupted
from models.database import Database
from models.jobs import TERMINAL, Job
from models.registry import Artifact
from models.settings import Settings

FILE = "trainyard.db"
# A running job replaces its checkpoint every second or so; then the rows are older than the file that is wanted.
TRIES = 5


@dataclass
class Copied:
    """What came of copying the files: how many, and which were not there or not whole."""

    files: int = 0
    gone: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    without_checkpoint: list[str] = field(default_factory=list)


def back_up(settings: Settings, folder: Path) -> Copied:
    """Copy the database, where it is SQLite, and the files that it names into `folder`.

    Raises:
        FileExistsError: there is a backup in the folder already.
        StoreUnavailable: the artifacts cannot be read, or the folder cannot be written.
    """
    for name in (FILE, "artifacts"):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is there already: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    store, kept = (
        ArtifactStore(settings.artifacts, make=False),
        ArtifactStore(f"file://{folder.absolute() / 'artifacts'}"),
    )
    url = make_url(settings.database)
    is_sqlite = url.get_backend_name() == "sqlite"
    copied = Copied()
    for _ in range(TRIES):
        if is_sqlite:
            _copy_database(Path(str(url.database)), folder / FILE)
        rows = f"sqlite:///{folder.absolute() / FILE}" if is_sqlite else settings.database
        copied.without_checkpoint = _copy_checkpoints(rows, store, kept)
        if not (is_sqlite and copied.without_checkpoint):
            break
    _copy_artifacts(rows, store, kept, copied)
    return copied


def _copy_database(source: Path, target: Path) -> None:
    """One moment of the database, whoever writes meanwhile."""
    if not source.is_file():
        raise FileNotFoundError(f"There is no database: {source}")
    target.unlink(missing_ok=True)
    uri = f"{source.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=15)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
        # The copy is one file, without a log beside it.
        writing.execute("PRAGMA journal_mode=DELETE")


def _copy_checkpoints(rows: str, store: ArtifactStore, kept: ArtifactStore) -> list[str]:
    """Copy what jobs that have yet to end go on from; ids of those whose checkpoint was replaced just then."""
    query = select(Job.id, Job.checkpoint).where(Job.status.not_in(TERMINAL), Job.checkpoint.is_not(None))
    with closing(Database(rows)) as database, database.read() as session:
        wanted = [(row.id, str(row.checkpoint)) for row in session.execute(query)]
    missing = []
    for job_id, key in wanted:
        try:
            kept.write(key, store.read(key))
        except FileNotFoundError:
            missing.append(job_id)
    return missing


def _copy_artifacts(rows: str, store: ArtifactStore, kept: ArtifactStore, copied: Copied) -> None:
    with closing(Database(rows)) as database, database.read() as session:
        named = session.execute(select(Artifact.key, Artifact.sha256).order_by(Artifact.key)).all()
    for key, sha256 in named:
        try:
            kept.write(key, store.read_verified(key, sha256))
            copied.files += 1
        except FileNotFoundError:
            copied.gone.append(key)
        except Corrupted:
            copied.damaged.append(key)


def report(copied: Copied, folder: str) -> str:
    """What came of it, for people."""
    lines = [f"Files copied into {folder}: {copied.files}"]
    lines += [f"Not there, as when its job was deleted just now: {key}" for key in copied.gone]
    lines += [
        f"Its checkpoint was replaced just then, so restored it would fail: {key}" for key in copied.without_checkpoint
    ]
    lines += [f"Damaged, and not copied: {key}" for key in copied.damaged]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Back up into the folder that is named, and say what came of it; ends the process where something is wrong."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(f"Name one folder: python -m models.backup FOLDER. Received: {' '.join(arguments) or 'nothing'}")
    try:
        copied = back_up(Settings(), Path(arguments[0]))
    except DBAPIError as error:
        sys.exit(f"There is no backup, the database cannot be read: {error.orig}")
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"There is no backup: {error}")
    sys.stdout.write(report(copied, arguments[0]))
    if copied.damaged:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

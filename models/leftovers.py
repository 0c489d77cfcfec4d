"""Files of the store that nobody needs: of jobs that are not on record, and what attempts that are over left there."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from models.artifacts import ArtifactStore
from models.database import Database
from models.jobs import TERMINAL, Job, Status
from models.registry import Artifact

AT_ONCE = 500
# Where an attempt writes: into its own folder, among the kept epochs of its job, or as an export into another job's.
_PLACES = re.compile(
    r"jobs/(?P<folder>job_\w+)/"
    r"(?:(?P<own>\d+)/|epochs/(?P<epochs>\d+)/|exports/(?P<exporter>job_\w+)/(?P<exports>\d+)/)?"
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    """A key, the job in whose folder it lies, and the attempt that wrote it, where that can be told."""

    key: str
    folder: str
    writer: tuple[str, int] | None


@dataclass
class _OnRecord:
    """What the database says of some jobs."""

    jobs: dict[str, tuple[str, int, str | None]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)


def leftovers(store: ArtifactStore, database: Database) -> list[str]:
    """Keys, and folders of jobs that were deleted, that nobody needs or ever will; in order.

    The store is listed first and the database asked second, and a job is on record before the first of its files is
    written: what is not on record then was deleted. A store of which no job at all is on record is not the store of
    this database, and is left alone but for the probes.

    Raises:
        StoreUnavailable: the store cannot be listed now.
    """
    unneeded: list[str] = []
    files: defaultdict[str, list[_File]] = defaultdict(list)
    for key in store.keys("jobs", unfinished=True):
        match = _PLACES.match(key)
        if match is not None:
            files[match["folder"]].append(_File(key, match["folder"], _writer(match)))
        elif key.startswith("jobs/probe-"):
            unneeded.append(key)
    unknown = []
    for folders in _parts(sorted(files)):
        found = [file for folder in folders for file in files[folder]]
        on_record = _look_up(database, {*folders, *(file.writer[0] for file in found if file.writer)})
        unknown += [folder for folder in folders if folder not in on_record.jobs]
        unneeded += [_whole(file, on_record) for file in found if _is_unneeded(file, on_record)]
    if unknown and len(unknown) == len(files):
        log.warning("the artifacts are of %d jobs, none of which is in this database: they stay", len(unknown))
    else:
        unneeded += [f"jobs/{folder}" for folder in unknown]
    return sorted(set(unneeded))


def _writer(match: re.Match[str]) -> tuple[str, int] | None:
    attempt = match["own"] or match["epochs"] or match["exports"]
    return None if attempt is None else (match["exporter"] or match["folder"], int(attempt))


def _is_unneeded(file: _File, on_record: _OnRecord) -> bool:
    if file.folder not in on_record.jobs or file.key in on_record.named:
        return False
    status, _, checkpoint = on_record.jobs[file.folder]
    if file.key == checkpoint and status not in TERMINAL:
        return False
    if file.writer is None:
        # Nothing here writes there; a newer version may.
        return False
    if file.writer[0] not in on_record.jobs:
        return True
    now, attempt, _ = on_record.jobs[file.writer[0]]
    # A later attempt than the one on record, as after a database was restored, may yet come and write there.
    return file.writer[1] < attempt or (file.writer[1] == attempt and now != Status.RUNNING)


def _whole(file: _File, on_record: _OnRecord) -> str:
    """The checkpoints of a job that ended go with their folder."""
    before, part, _ = file.key.partition("/checkpoints/")
    return before + part.rstrip("/") if part and on_record.jobs[file.folder][0] in TERMINAL else file.key


def _look_up(database: Database, job_ids: set[str]) -> _OnRecord:
    found = _OnRecord()
    with database.read() as session:
        for ids in _parts(sorted(job_ids)):
            rows = session.execute(select(Job.id, Job.status, Job.attempt, Job.checkpoint).where(Job.id.in_(ids)))
            found.jobs |= {row.id: (row.status, row.attempt, row.checkpoint) for row in rows}
        # After every status: a job that ends in between has named its files by now.
        for ids in _parts(sorted(job_ids)):
            found.named.update(session.scalars(select(Artifact.key).where(Artifact.job_id.in_(ids))))
    return found


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at a time as a statement takes well."""
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))

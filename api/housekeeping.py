"""Removes what nobody needs any more: leftover files, old first answers, and where that is set, jobs long over."""

import logging
import time
from datetime import timedelta

from api.rounds import Rounds
from models.artifacts import ArtifactStore, StoreUnavailable
from models.database import Database, now
from models.deletion import long_over, why_kept
from models.idempotency import forget_before
from models.jobs import Job
from models.leftovers import leftovers
from models.settings import Settings

# A file must have been left over for so long, by this process's own clock, before it is removed.
GRACE_SECONDS = 60.0
AT_ONCE = 100
NAMED = 5
log = logging.getLogger(__name__)


class Housekeeping:
    """One round an hour (TRAINYARD_HOUSEKEEPING_SECONDS), in a thread of its own.

    Each API process does it; removing what another has removed already does no harm.
    """

    def __init__(self, settings: Settings, database: Database, store: ArtifactStore) -> None:
        self._settings, self._database, self._store = settings, database, store
        self._grace = min(GRACE_SECONDS, settings.housekeeping_seconds)
        self._seen: dict[str, float] = {}
        self._due = time.monotonic() + self._grace
        self.rounds = Rounds("housekeeping", self._look, self._grace)

    def notice(self) -> None:
        """Something was deleted: look whether anything of it is left before the hour is over."""
        self._due = time.monotonic()

    def tidy(self, moment: float) -> None:
        """One round at `moment`, in seconds of the monotonic clock."""
        self._due = moment + self._settings.housekeeping_seconds
        self._forget_answers()
        if self._settings.retention_days:
            self._delete_old_jobs()
        try:
            self._remove_leftovers(moment)
        except StoreUnavailable as error:
            log.warning("leftover files are looked for later: %s (%r)", error, error.__cause__)

    def _look(self) -> None:
        if (moment := time.monotonic()) >= self._due:
            self.tidy(moment)

    def _forget_answers(self) -> None:
        with self._database.write() as session:
            count = forget_before(session, now() - timedelta(hours=self._settings.idempotency_hours))
        if count:
            log.info("forgot %d answers to requests with an Idempotency-Key", count)

    def _delete_old_jobs(self) -> None:
        """Delete as a person would, one job a transaction, and never what a person could not delete."""
        before, after = now() - timedelta(days=self._settings.retention_days), ""
        while not self.rounds.stopping:
            with self._database.read() as session:
                found = long_over(session, before, after, AT_ONCE)
            if not found:
                return
            after = found[-1]
            deleted = [job_id for job_id in found if self._delete(job_id)]
            if deleted:
                log.info("deleted %d jobs that ended long ago: %s", len(deleted), " ".join(deleted))
            if not all(self._store.discard(f"jobs/{job_id}") for job_id in deleted):
                # What is left there is found later, and the rest can wait until the store is back.
                return

    def _delete(self, job_id: str) -> bool:
        with self._database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None or why_kept(session, job) is not None:
                return False
            session.delete(job)
        return True

    def _remove_leftovers(self, moment: float) -> None:
        """Remove what was left over a while ago and is so still: a probe, or a clock, may be slow."""
        found = leftovers(self._store, self._database)
        self._seen = {key: self._seen.get(key, moment) for key in found}
        ripe = [key for key, since in self._seen.items() if moment - since >= self._grace]
        removed = []
        for key in ripe:
            if self.rounds.stopping or not self._store.discard(key):
                break
            removed.append(key)
            del self._seen[key]
        if removed:
            more = f" and {len(removed) - NAMED} more" if len(removed) > NAMED else ""
            log.info("removed what nobody needs: %s%s", " ".join(removed[:NAMED]), more)
        if self._seen:
            self._due = min(self._due, moment + self._grace)

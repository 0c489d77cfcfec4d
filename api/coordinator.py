"""Moves studies on, from their rows alone; runs in every API process, safely.

Nothing is kept between looks but what the database holds. Each step holds the study's row for one transaction, so of
two processes one takes it; whatever a process that died had finished stays, and any other goes on from there.
"""

import logging

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError

from api.queue import Doorbell
from api.rounds import Rounds
from api.sampling import propose
from models import runs, studies
from models.database import Database
from models.runs import Proposal, Step
from models.studies import Study, Trial

TICK_SECONDS = 1.0
MOST_STEPS = 100
log = logging.getLogger(__name__)


class Coordinator:
    """One look a second, and one at once when `rounds` are told to hurry, in a thread of its own."""

    def __init__(self, database: Database, doorbell: Doorbell, most_parameters: int | None = None) -> None:
        self._database, self._doorbell, self._most_parameters = database, doorbell, most_parameters
        self.rounds = Rounds("coordinator", self.look, TICK_SECONDS)

    def look(self) -> None:
        """Move on every study that runs, as far as it can go now."""
        with self._database.read() as session:
            found = studies.running(session)
        for study_id in found:
            try:
                self._move_on(study_id)
            except IntegrityError:
                log.info("%s: another process was quicker", study_id)
            except DBAPIError:
                raise
            except Exception:
                log.exception("%s could not be moved on; it is tried again", study_id)

    def _move_on(self, study_id: str) -> None:
        for _ in range(MOST_STEPS):
            if self.rounds.stopping:
                return
            with self._database.read() as session:
                due = runs.is_due(session, study_id)
            if not due:
                return
            step = self._step(study_id)
            if step.wanted is not None:
                self._step(study_id, self._proposal(study_id, step.wanted))
        self.rounds.hurry()

    def _step(self, study_id: str, proposal: Proposal | None = None) -> Step:
        with self._database.write() as session:
            step = runs.advance(session, study_id, proposal, self._most_parameters)
        for job in step.created:
            self._doorbell.ring(job)
        return step

    def _proposal(self, study_id: str, number: int) -> Proposal:
        """What the sampler says, worked out with no transaction open."""
        with self._database.read() as session:
            study = session.get_one(Study, study_id)
            query = select(Trial).where(Trial.study_id == study_id, Trial.number < number)
            history = session.scalars(query.order_by(Trial.number)).all()
        return Proposal(number, propose(study.asked, study.objective, number, history))

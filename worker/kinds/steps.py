"""Between the steps of a job that does not train: tell how far it is, and obey."""

import time

from models.jobs import Phase
from models.spec import JobSpec
from worker.callbacks import LOOK_SECONDS
from worker.hold import Hold, Interrupted

REPORT_SECONDS = 1.0


class Steps:
    """The progress of one attempt; an attempt begins at nothing, since none of these jobs goes on from an earlier one.

    The steps are counted as `JobSpec.planned_epochs` says; `message` goes into the log first, on entering `phase`.
    """

    def __init__(self, hold: Hold, spec: JobSpec, message: str, phase: Phase = "evaluating") -> None:
        self._hold, self._spec, self._phase = hold, spec, phase
        self._began = self._reported = time.monotonic()
        self._looked = float("-inf")
        self._limit = hold.limit_of(spec)
        hold.say(phase, message, epoch=0)

    def reach(self, done: int, message: str, *, brief: bool = False) -> None:
        """After `done` steps, with a line for the log, at most one a second of `brief` ones. Raises Interrupted."""
        self.look()
        moment = time.monotonic()
        if not brief or moment - self._reported >= REPORT_SECONDS:
            self._reported = moment
            self._hold.say(self._phase, message, epoch=min(done, self._spec.planned_epochs))

    def look(self) -> None:
        """Obey what is requested, at most every tenth of a second. Raises Interrupted."""
        moment = time.monotonic()
        if moment - self._looked < LOOK_SECONDS:
            return
        self._looked = moment
        if self._limit is not None and moment - self._began > self._limit.seconds:
            raise Interrupted("timeout")
        self._hold.obey()

"""What a training follows: the learning rate of every batch, and the changes that are made on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np

from models.history import Change
from models.spec import JobSpec
from models.spec.change import ChangeSpec
from models.spec.schedules import rate_at
from models.spec.training import LearningRate
from worker.chunks import MOST_BATCHES, Chunks


@dataclass(frozen=True)
class Course:
    """What holds at some step.

    Attributes:
        learning_rate: a number with which the optimizer began or that it was given, or the schedule in force.
        epochs: how many there are to be in all.
        patience: of early stopping; None without one.
        since: the step from which a schedule counts its own.
    """

    learning_rate: LearningRate
    epochs: int
    patience: int | None = None
    since: int = 0

    @classmethod
    def of(cls, spec: JobSpec) -> "Course":
        """What holds at first."""
        patience = None if spec.early_stopping is None else spec.early_stopping.patience
        return cls(spec.optimizer.learning_rate, spec.epochs, patience)

    def after(self, change: ChangeSpec, step: int, least_epochs: int) -> "Course":
        """What holds from `step` on, where a change is made; there will be so many epochs at least."""
        course = self
        if change.learning_rate is not None:
            course = replace(course, learning_rate=change.learning_rate, since=step)
        if change.epochs is not None:
            course = replace(course, epochs=max(change.epochs, least_epochs))
        if change.early_stopping is not None:
            course = replace(course, patience=change.early_stopping.patience)
        return course


@dataclass(frozen=True)
class ChangeAt:
    """A change of a job, and the step from which it holds, batches from 0 over the whole run; None where it waits."""

    number: int
    change: ChangeSpec
    step: int | None = None

    @classmethod
    def of(cls, row: Change) -> "ChangeAt":
        """The change on record in `row`."""
        return cls(row.number, row.spec, row.applied_at_step)


def chunks_through(chunks: Chunks, changes: Sequence[ChangeAt], done: int) -> Chunks:
    """The chunks, cut where a change was made after so many epochs."""
    steps = {placed.step for placed in changes if placed.step is not None and placed.step > done * chunks.batches}
    return replace(chunks, cuts=tuple(sorted(steps)))


class Log(Protocol):
    """Where changes are asked, and written down once they are made."""

    def asked(self) -> int:
        """The number of the last change that was asked, as far as is known; 0 when there is none."""

    def waiting(self) -> Sequence[ChangeAt]:
        """Changes that were asked and not made, in order."""

    def made(self, placed: ChangeAt, epoch: int, old: dict[str, Any], epochs: int) -> None:
        """Write down a change before anything is trained with it.

        Args:
            epoch: the first one, from 1, that is trained with it.
            old: what its fields were before.
            epochs: how many there are to be from now on.
        """


class Steering(keras.callbacks.Callback):
    """Tells the ResidentModel the rates of its next batches, and makes the changes of its job.

    A change is made between two chunks: written down with the exact step, then followed. An attempt that goes on after
    an earlier checkpoint makes the same changes at the same steps, where its chunks are cut, so that the same numbers
    come out. Where another change is asked before it has come to all of them, those are made at once and anew: what was
    asked later is never followed by what was asked before. It must come after the callbacks that decide by themselves,
    and before those that keep what holds.

    Steps count batches from 0 over the whole run, as Keras counts them. (Under mixed_float16 Keras's own optimizer does
    not count a batch whose gradients were not finite; here it counts.)

    Args:
        chunks: as they are trained, cut wherever one of `changes` was made (`chunks_through`).
        course: what holds before the first of them.
        changes: of which those that were made are made again, in order.
        log: where more may be asked; None where they are only repeated.
        early_stopping: whose patience may be changed.
        done: how many epochs the model has behind it.
    """

    def __init__(
        self,
        chunks: Chunks,
        course: Course,
        changes: Sequence[ChangeAt] = (),
        log: Log | None = None,
        early_stopping: keras.callbacks.EarlyStopping | None = None,
        done: int = 0,
    ) -> None:
        super().__init__()
        self.course, self.chunks = course, chunks
        self._log, self._early_stopping = log, early_stopping
        self._ahead = [placed for placed in changes if placed.step is not None]
        self._last = max((placed.number for placed in self._ahead), default=0)
        self._epoch, self._starts = done, list[int]()
        self._constant: float | None = None
        # What the model holds may be of before a change that was made at the very step at which it stands.
        self._owes_rate = False
        for placed in self._due(done * chunks.batches):
            self._follow(placed)
            self._owes_rate |= placed.step == done * chunks.batches and placed.change.learning_rate is not None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._owes_rate:
            self._give_rate()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._starts = epoch, self.chunks.starts(epoch)
        self._constant = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # What Keras calls a batch is one of our chunks.
        first = self._starts[batch]
        if first == self.chunks.batches:
            return  # it is empty
        step = self._epoch * self.chunks.batches + first
        self._reach(step)
        if self._is_asked():
            self._make(self._waiting(), step)
        self._set_rates(first)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch + 1 < self.course.epochs or self.model.stop_training:
            return
        # This would be the end: unless there is to be more, whenever that was asked.
        step = (epoch + 1) * self.chunks.batches
        self._reach(step)
        waiting, course = self._waiting(), self.course
        for placed in waiting:
            course = course.after(placed.change, step, epoch + 1)
        if course.epochs > epoch + 1:
            self._make(waiting, step)

    def _is_asked(self) -> bool:
        return self._log is not None and self._log.asked() > self._last

    def _waiting(self) -> list[ChangeAt]:
        return [] if self._log is None else list(self._log.waiting())

    def _due(self, step: int) -> list[ChangeAt]:
        due = [placed for placed in self._ahead if placed.step is not None and placed.step <= step]
        self._ahead = self._ahead[len(due) :]
        return due

    def _reach(self, step: int) -> None:
        """Make again what was made at `step`."""
        for placed in self._due(step):
            self._follow(placed)
            if placed.change.learning_rate is not None:
                self._give_rate()

    def _make(self, waiting: Sequence[ChangeAt], step: int) -> None:
        overtaken, self._ahead = self._ahead, []
        for placed in (*overtaken, *waiting):
            old = self._old(placed.change)
            made = replace(placed, step=step)
            course = self._after(made)
            assert self._log is not None
            self._log.made(made, step // self.chunks.batches + 1, old, course.epochs)
            self._follow(made)
            if placed.change.learning_rate is not None:
                self._give_rate()
            self._last = placed.number

    def _follow(self, placed: ChangeAt) -> None:
        self.course = self._after(placed)
        if self._early_stopping is not None and self.course.patience is not None:
            self._early_stopping.patience = self.course.patience

    def _after(self, placed: ChangeAt) -> Course:
        assert placed.step is not None
        return self.course.after(placed.change, placed.step, placed.step // self.chunks.batches + 1)

    def _old(self, change: ChangeSpec) -> dict[str, Any]:
        old: dict[str, Any] = {}
        if change.learning_rate is not None:
            rate = self.course.learning_rate
            old["learning_rate"] = self._number(rate) if isinstance(rate, float) else rate.model_dump(mode="json")
        if change.epochs is not None:
            old["epochs"] = self.course.epochs
        if change.early_stopping is not None:
            old["early_stopping"] = {"patience": self.course.patience}
        return old

    def _give_rate(self) -> None:
        """Give the optimizer the rate that is to be a number from now on, as ReduceLROnPlateau does."""
        if isinstance(self.course.learning_rate, float):
            self.model.optimizer.learning_rate = self.course.learning_rate
        self._constant = None

    def _number(self, given: float) -> float:
        """The rate as it was given, or what ReduceLROnPlateau made of it."""
        now = self._rate()
        return given if now == float(np.float32(given)) else plain(now)

    def _rate(self) -> float:
        return float(self.model.optimizer.learning_rate)

    def _set_rates(self, first: int) -> None:
        """Tell the rates of the chunk that begins with batch `first` of the epoch; beyond the epoch nothing is read."""
        rate = self.course.learning_rate
        if isinstance(rate, float):
            # The optimizer's own, which ReduceLROnPlateau lowers after an epoch.
            if self._constant is None:
                self._constant = self._rate()
                self.model.rates.assign(np.full(MOST_BATCHES + 1, self._constant, np.float32))
            return
        self._constant = None
        steps = np.minimum(first + np.arange(MOST_BATCHES + 1), self.chunks.batches - 1)
        steps = self._epoch * self.chunks.batches + steps - self.course.since
        self.model.rates.assign(rate_at(rate, steps).astype(np.float32))


def plain(value: Any) -> float:
    """A float32 as the shortest decimal that means it: 0.001, not 0.0010000000474974513."""
    return float(str(np.float32(float(value))))

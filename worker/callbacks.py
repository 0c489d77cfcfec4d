"""The callbacks of one attempt: publish epochs behind durable checkpoints, obey, and stop in time."""

import time
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from math import isfinite
from typing import Any

import keras
import numpy as np

from models.history import EpochResult, split_nonfinite
from models.spec import JobSpec
from models.spec.kept_epochs import file_of, kept_every
from models.spec.training import EarlyStopping as EarlyStoppingSpec
from models.spec.training import ReduceOnPlateau, rises
from worker.checkpoints import Checkpoint, CheckpointKeeper, values_of, variables_of
from worker.diagnosis.doctor import Doctor
from worker.diagnosis.history import Observations
from worker.hold import Fenced, Hold, Interrupted
from worker.initial_weights import Weights, to_npz, weights_of
from worker.slot import processors
from worker.steering import Steering, plain
from worker.writer import Writer

LOOK_SECONDS = 0.1
PUBLISH_SECONDS = 1.0
# Of the time between two checkpoints, the most that making one may take.
SHARE = 0.03


class Diverged(Exception):
    """The loss, or what the network answers, is not finite."""


@dataclass
class Progress:
    """What goes on from epoch to epoch, and from attempt to attempt."""

    epoch: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    stopped_early: bool = False
    checkpoint: str | None = None


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's own, whose state can be kept and taken up again."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        kept = getattr(self, "_kept", None)
        super().on_train_begin(logs)
        if kept is not None:
            facts, self.best_weights = kept
            self.wait, self.best, self.best_epoch = facts["wait"], facts["best"], facts["best_epoch"]

    def keep(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Facts and best weights (empty where none are restored)."""
        best = None if self.best is None else float(self.best)
        return {"wait": self.wait, "best": best, "best_epoch": self.best_epoch}, list(self.best_weights or [])

    def resume(self, facts: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Go on from what `keep` gave."""
        self._kept = (facts, weights or None)
        self.best_weights = weights or None  # also for who asks without fitting again


class ReduceLROnPlateau(keras.callbacks.ReduceLROnPlateau):
    """Keras's own, whose state can be kept and taken up again."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        for name, value in getattr(self, "_kept", {}).items():
            setattr(self, name, value)

    def keep(self) -> dict[str, Any]:
        """The facts it decides by."""
        return {"best": float(self.best), "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def resume(self, facts: dict[str, Any]) -> None:
        """Go on from what `keep` gave."""
        self._kept = facts


class Publisher(keras.callbacks.Callback):
    """Records epochs: the checkpoint that covers them first, then their rows.

    That happens beside the training, about once a second, and less often where checkpoints are dear: they cost at most
    3 % of the time. It must come last among the callbacks, so that what it keeps of the others is what they decided
    after the epoch.
    """

    def __init__(
        self,
        hold: Hold,
        spec: JobSpec,
        keeper: CheckpointKeeper,
        progress: Progress,
        early_stopping: EarlyStopping | None,
        plateau: ReduceLROnPlateau | None,
        steering: Steering,
        doctor: Doctor,
    ) -> None:
        super().__init__()
        self._hold, self._spec = hold, spec
        self._keeper, self._progress = keeper, progress
        self._steering, self._doctor = steering, doctor
        self._early_stopping, self._plateau = early_stopping, plateau
        self._pending: list[EpochResult] = []
        self._kept: dict[int, Weights] = {}
        self._writer = Writer()
        self._copied = 0.0
        self._epoch_began = self._published = self._looked = float("-inf")
        self._is_training = False
        self._keep_every = cache(partial(kept_every, spec))
        self._monitor = best_monitor(spec)
        self._limit = hold.limit_of(spec)
        # An attempt that had to begin again without its checkpoint comes past epochs that have their row.
        self._on_record = hold.last_epoch()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._is_training:
            self._is_training = True
            self._hold.enter("training")
        self._look()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        metrics = {name: plain(value) for name, value in (logs or {}).items() if name != "learning_rate"}
        seconds = time.monotonic() - self._epoch_began
        progress = self._progress
        progress.epoch, progress.seconds = epoch + 1, progress.seconds + seconds
        progress.stopped_early = bool(self.model.stop_training)
        diverged = not isfinite(metrics["loss"])
        epochs = self._steering.course.epochs
        last = progress.epoch >= epochs or progress.stopped_early or diverged
        result = EpochResult(progress.epoch, seconds, self._learning_rate(), metrics)
        if progress.epoch > self._on_record and (last or progress.epoch % self._spec.log_every == 0):
            self._pending.append(result)
        if last or progress.epoch % self._keep_every(epochs) == 0:
            self._kept[progress.epoch] = weights_of(self.model.network)
        self._compare(metrics)
        if last or self._is_due():
            self._publish(result)
        # Keras was told of as many as there may ever be.
        self.model.stop_training = last
        if diverged:
            self._writer.wait()
            raise Diverged(f"The loss became {metrics['loss']} in epoch {progress.epoch}.")

    def _look(self) -> None:
        """Obey what is requested, at most every tenth of a second."""
        moment = time.monotonic()
        if moment - self._looked < LOOK_SECONDS:
            return
        self._looked = moment
        limit = self._limit
        if limit is not None and self._progress.seconds + moment - self._epoch_began > limit.seconds:
            raise Interrupted("timeout")
        self._hold.obey()

    def close(self) -> None:
        """Wait until all is written. Raises what went wrong with it."""
        self._writer.close()

    def _is_due(self) -> bool:
        if self._writer.busy():
            return False
        # Copying holds the training up; writing takes one of the processors from it.
        dear = (self._copied + self._writer.seconds / processors()) / SHARE
        return time.monotonic() - self._published >= max(PUBLISH_SECONDS, dear)

    def _publish(self, reached: EpochResult) -> None:
        began = time.monotonic()
        checkpoint, results, kept = self._checkpoint(), self._pending, self._kept
        seen = self._doctor.pending()
        # Should the job end here, the epoch becomes a row whatever `log_every` says.
        checkpoint.facts["without_row"] = None if reached in results else asdict(reached)
        self._pending, self._kept = [], {}
        self._copied = time.monotonic() - began
        self._writer.start(lambda: self._write(reached, checkpoint, results, kept, seen))
        self._published = time.monotonic()

    def _write(
        self,
        reached: EpochResult,
        checkpoint: Checkpoint,
        results: list[EpochResult],
        kept: dict[int, Weights],
        seen: Observations,
    ) -> None:
        """In the writer's thread."""
        stored = {file_of(epoch): self._hold.store_weights(epoch, to_npz(weights)) for epoch, weights in kept.items()}
        earlier, key = self._progress.checkpoint, self._keeper.write(reached.epoch, checkpoint)
        try:
            self._hold.record(results, reached, stored, seen, best_metrics=checkpoint.facts["best"], checkpoint=key)
        except Fenced:
            for written in (key, *(file.key for file in stored.values())):
                self._keeper.remove(written)
            raise
        self._progress.checkpoint = key
        if earlier is not None:
            self._keeper.remove(earlier)

    def _checkpoint(self) -> Checkpoint:
        progress, weights = self._progress, {}
        facts: dict[str, Any] = {
            "epoch": progress.epoch,
            "seconds": progress.seconds,
            "best": progress.best,
            "stopped_early": progress.stopped_early,
        }
        if self._early_stopping is not None:
            facts["early_stopping"], weights["early_stopping"] = self._early_stopping.keep()
        if self._plateau is not None:
            facts["reduce_on_plateau"] = self._plateau.keep()
        return Checkpoint(values_of(variables_of(self.model)), weights, facts)

    def _compare(self, metrics: dict[str, float]) -> None:
        name, highest = self._monitor
        value, best = metrics.get(name), self._progress.best.get(name)
        if value is None or not isfinite(value):
            return
        if best is None or (value > best if highest else value < best):
            self._progress.best = {"epoch": self._progress.epoch, **split_nonfinite(metrics)[0]}

    def _learning_rate(self) -> float:
        return plain(self.model.optimizer.learning_rate)


def stoppers(spec: JobSpec) -> tuple[EarlyStopping | None, ReduceLROnPlateau | None]:
    """Keras's callbacks that watch the training, as the spec wants them."""
    early_stopping, plateau = spec.early_stopping, spec.reduce_on_plateau
    return (
        EarlyStopping(**_arguments(early_stopping)) if early_stopping else None,
        ReduceLROnPlateau(**_arguments(plateau)) if plateau else None,
    )


def _arguments(watcher: EarlyStoppingSpec | ReduceOnPlateau) -> dict[str, Any]:
    """What Keras's callback takes. Its own `auto` knows no direction for some metrics, so it is told."""
    return {**watcher.model_dump(), "mode": "max" if rises(watcher) else "min"}


def best_monitor(spec: JobSpec) -> tuple[str, bool]:
    """The metric by which one epoch is better than another, and whether higher is better."""
    if spec.early_stopping is not None:
        return spec.early_stopping.monitor, rises(spec.early_stopping)
    name = "loss" if spec.dataset.validation == "none" else "val_loss"
    return name, False


def resume(checkpoint: Checkpoint, early_stopping: EarlyStopping | None, plateau: ReduceLROnPlateau | None) -> Progress:
    """Hand the callbacks what the checkpoint kept of them; the progress it was written at."""
    facts = checkpoint.facts
    if early_stopping is not None:
        early_stopping.resume(facts["early_stopping"], checkpoint.weights["early_stopping"])
    if plateau is not None:
        plateau.resume(facts["reduce_on_plateau"])
    return Progress(facts["epoch"], facts["seconds"], facts["best"], facts["stopped_early"])

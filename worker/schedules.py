"""The callback that follows a learning-rate schedule: before a chunk is trained, a rate for each of its batches."""

from typing import Any

import keras
import numpy as np

from models.spec.schedules import rate_at
from models.spec.training import Schedule
from worker.chunks import MOST_BATCHES, Chunks


class FollowSchedule(keras.callbacks.Callback):
    """Tells the ResidentModel the rates of its next batches; they follow from the schedule and the epoch alone.

    Steps count batches from 0 over the whole run, as Keras counts them. (Under mixed_float16 Keras's own optimizer
    does not count a batch whose gradients were not finite; here it counts.)
    """

    def __init__(self, schedule: Schedule, chunks: Chunks) -> None:
        super().__init__()
        self._schedule, self._chunks = schedule, chunks
        self._first = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._first = epoch * self._chunks.batches

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # What Keras calls a batch is one of our chunks. Beyond the epoch nothing is read.
        steps = self._chunks.first_batch(batch) + np.arange(MOST_BATCHES + 1)
        steps = self._first + np.minimum(steps, self._chunks.batches - 1)
        self.model.rates.assign(rate_at(self._schedule, steps).astype(np.float32))

"""Trains a planted spec in this process and looks after every epoch, so that rules can be tuned on what was seen."""

from math import isfinite
from typing import Any

import keras

from models.settings import Settings
from models.spec import JobSpec
from worker import data, training
from worker.diagnosis.history import EpochSigns
from worker.diagnosis.probe import Probe
from worker.rehearsal import chunks_of
from worker.steering import plain


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Looks after every epoch, whatever it costs."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self._probe = probe
        self.history: list[EpochSigns] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items() if name != "learning_rate"}
        rate = plain(self.model.optimizer.learning_rate)
        self.history.append(EpochSigns(epoch + 1, rate, metrics, self._probe.look(epoch + 1)))
        if not isfinite(metrics["loss"]):
            self.model.stop_training = True


def train(spec: JobSpec) -> list[EpochSigns]:
    """Train `spec` here and answer what was seen."""
    settings = Settings()
    split = data.split_for(spec, settings.datasets, settings.offline)
    model = training.build_model(spec, split, data.scaling_of(spec.dataset, split.x_train))
    recorder = Recorder(Probe(model, spec))
    training.fit(
        model,
        chunks_of(spec, len(split.x_train)),
        seed=spec.seed,
        epochs=spec.epochs,
        validated=None if split.x_val is None else len(split.x_val),
        callbacks=[recorder],
    )
    keras.backend.clear_session()
    return recorder.history

"""The callback that looks at a network while it learns, asks what is wrong, and keeps what is to be put on record."""

import logging
from collections.abc import Callable, Sequence
from math import inf, isfinite, nan
from time import perf_counter
from typing import Any

import keras
import numpy as np

from models.diagnoses import Diagnosis, Finding, LayerSigns, LayerStatistics
from models.history import Epoch
from models.spec import JobSpec, parse_spec
from worker.data import Split
from worker.diagnosis.history import EpochSigns, Observations
from worker.diagnosis.probe import Probe, expected_seconds
from worker.diagnosis.rules import diagnose
from worker.diagnosis.thinned import Thinned
from worker.steering import plain
from worker.training import ResidentModel, build_model

Rules = Callable[[JobSpec, Sequence[EpochSigns]], list[Finding]]
# Of the time spent on training so far: the most that all of it takes with a look, and asking the rules alone. After the
# first epoch and the last one it may look out of turn, if all then stays below the third share of the whole training.
LOOKS, ASKS, ALL = 0.03, 0.01, 0.045
# A training shorter than that is looked at whatever it costs.
SHORT_SECONDS = 1.0
# Epochs that the rules are given at most: such that were looked into, and others.
MOST_LOOKS, MOST_OTHERS = 100, 200
# Looks are a row each; of a job of very many epochs there are to be about so many.
MOST_ROWS = 500

log = logging.getLogger(__name__)


def wake() -> None:
    """Look into a network of no consequence: what TensorFlow and Keras do only once takes a tenth of a second."""
    layers = [{"type": "dense", "units": 2, "activation": "relu"}, {"type": "dense", "units": 3}]
    spec = parse_spec({"dataset": "spiral", "network": {"layers": layers}})
    points, classes = np.zeros((3, 2), np.float32), np.arange(3)
    split = Split(points, classes, None, None, points, classes)
    try:
        Probe(build_model(spec, split, (1.0, 0.0)), spec).look(1)
    except Exception:
        log.exception("The diagnosis does not work on this machine.")


class Doctor(keras.callbacks.Callback):
    """Looks into the network after epochs, and asks the rules what is wrong with it.

    Both together take less than 5 % of the time of any training of a second or more, and microseconds after most
    epochs of a quick one. An error here never fails the job: it is logged once, and nobody looks any more. It must come
    after the callbacks that may end the training, and before what takes `pending`.

    Args:
        model: what learns; it is the same with looks and without.
        spec: of the job.
        epochs: how many epochs there are to be, as known by now; without it as many as the spec says.
        rules: give every finding for an epoch history; those of a verdict that was found before are dropped.
    """

    def __init__(
        self,
        model: ResidentModel,
        spec: JobSpec,
        epochs: Callable[[], int] | None = None,
        rules: Rules = diagnose,
    ) -> None:
        super().__init__()
        self._resident, self._spec, self._rules = model, spec, rules
        self._epochs = epochs or (lambda: spec.epochs)
        self._probe: Probe | None = None
        self._looks = Thinned[EpochSigns](MOST_LOOKS)
        self._others = Thinned[EpochSigns](MOST_OTHERS)
        self._found: set[str] = set()
        self._signs: dict[int, list[LayerSigns]] = {}
        self._findings: list[Finding] = []
        self._is_well = True
        self._next_look = 1
        self._began = inf
        # Seconds of this attempt: in epochs, in looks and in asking; of the last of these, or what it may take.
        self._trained = self._looking = self._asking = 0.0
        self._look_takes, self._ask_takes = expected_seconds(spec), 0.0

    def resume(
        self, epochs: Sequence[Epoch], statistics: Sequence[LayerStatistics], found: Sequence[Diagnosis]
    ) -> None:
        """Go on from what is on record, each in the order of the epochs; of the epochs there may be a sample only.

        Signs of an epoch that is not in the sample go with the figures of the epoch before it that is.
        """
        self._found.update(row.verdict for row in found)
        seen = {row.epoch: [_signs_on(layer) for layer in row.layers] for row in statistics}
        rows = {row.epoch: row for row in epochs}
        row = epochs[0] if epochs else None
        for epoch in sorted({*rows, *seen}):
            row = rows.get(epoch, row)
            if row is not None:
                self._keep(EpochSigns(epoch, _number(row.learning_rate), _metrics_on(row), seen.get(epoch)))

    def pending(self) -> Observations:
        """The signs by epoch, and the findings, since this was asked last."""
        new = Observations(self._signs, self._findings)
        self._signs, self._findings = {}, []
        return new

    @property
    def cost(self) -> float:
        """What all of it took, as a share of the time in epochs."""
        return (self._looking + self._asking) / self._trained if self._trained else 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._trained += max(0.0, perf_counter() - self._began)
        if not self._is_well:
            return
        try:
            self._consider(epoch + 1, logs or {})
        except Exception:
            self._is_well = False
            log.exception("The diagnosis broke after epoch %d; the training goes on without it.", epoch + 1)

    def _consider(self, epoch: int, logs: dict[str, Any]) -> None:
        diverged = not isfinite(logs.get("loss", 0.0))
        last = diverged or epoch >= self._epochs() or self._resident.stop_training
        looks = self._may_look(epoch, last, diverged)
        if not (looks or last or self._others.takes_next()):
            self._others.skip()
            return
        signs = self._look(epoch) if looks else None
        began = perf_counter()
        rate = plain(self._resident.optimizer.learning_rate)
        self._keep(EpochSigns(epoch, rate, _metrics_of(logs), signs))
        if looks or last or self._asking + self._ask_takes <= ASKS * self._trained:
            self._ask()
        self._asking += perf_counter() - began

    def _may_look(self, epoch: int, last: bool, diverged: bool) -> bool:
        if epoch < self._next_look and not (last or diverged):
            return False
        spent = self._looking + self._look_takes + self._asking + self._ask_takes
        if diverged or spent <= LOOKS * self._trained:
            return True
        if last:
            return spent <= ALL * self._trained or self._trained < SHORT_SECONDS
        if epoch > 1:
            return False
        whole = self._trained * self._epochs()
        return spent <= ALL * whole or whole < SHORT_SECONDS

    def _look(self, epoch: int) -> list[LayerSigns]:
        began = perf_counter()
        try:
            if self._probe is None:
                self._probe = Probe(self._resident, self._spec)
            self._signs[epoch] = self._probe.look(epoch)
        finally:
            self._look_takes = perf_counter() - began
            self._looking += self._look_takes
            self._next_look = epoch + max(1, self._epochs() // MOST_ROWS)
        return self._signs[epoch]

    def _ask(self) -> None:
        began = perf_counter()
        try:
            history = sorted([*self._looks, *self._others], key=lambda signs: signs.epoch)
            for finding in self._rules(self._spec, history):
                if finding.verdict not in self._found:
                    self._found.add(finding.verdict)
                    self._findings.append(finding)
        finally:
            self._ask_takes = perf_counter() - began

    def _keep(self, signs: EpochSigns) -> None:
        (self._others if signs.layers is None else self._looks).add(signs)


def _metrics_of(logs: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if name != "learning_rate"}


def _metrics_on(row: Epoch) -> dict[str, float]:
    """As they were: a number that is not finite is null in the row, and spelled beside it."""
    return {name: float(row.nonfinite.get(name, _number(value))) for name, value in row.metrics.items()}


def _signs_on(layer: dict[str, Any]) -> LayerSigns:
    """As they were, except that an infinite number comes back as NaN."""
    norms = {name: _number(layer[name]) for name in ("gradient_norm", "weight_norm", "update_ratio")}
    return LayerSigns(**layer | norms)


def _number(value: float | None) -> float:
    return nan if value is None else value

"""The doctor looks when it may, keeps a bounded history, tells what is new once, and never fails a job."""

import logging
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diagnoses import Diagnosis, Finding, LayerSigns, LayerStatistics
from models.history import EpochResult
from models.spec import JobSpec, parse_spec
from worker.diagnosis import doctor as module
from worker.diagnosis.doctor import MOST_LOOKS, MOST_OTHERS, Doctor, Rules, wake
from worker.diagnosis.history import EpochSigns, Observations
from worker.diagnosis.probe import expected_seconds
from worker.diagnosis.thinned import Thinned

SIGNS = LayerSigns("dense_1", 1.0, 2.0, 0.01, dead_share=0.5)
SPEC = parse_spec({"dataset": "digits", "epochs": 100_000})


def finding(epoch: int, verdict: Any = "dead_units") -> Finding:
    return Finding(epoch, verdict, {"layer": "dense_1"}, "Half of the units are dead.", "A smaller rate.", {})


def nothing(spec: JobSpec, history: Sequence[EpochSigns]) -> list[Finding]:
    return []


class Patient:
    """A training whose clock stands still but for what is said to take time; in place of model and probe."""

    def __init__(self, epochs: int = 10, look_takes: float = 0.0, ask_takes: float = 0.0, rules: Rules = nothing):
        self.now, self.looked, self.asked = 0.0, list[int](), list[list[EpochSigns]]()
        self.in_epochs = self.in_looks = self.in_asking = 0.0
        self._look_takes, self._ask_takes, self._rules = look_takes, ask_takes, rules
        self.model = SimpleNamespace(stop_training=False, optimizer=SimpleNamespace(learning_rate=0.001))
        model: Any = self.model
        self.doctor = Doctor(model, SPEC, epochs=lambda: epochs, rules=self.ask)

    def look(self, epoch: int) -> list[LayerSigns]:
        self.looked.append(epoch)
        self.now += self._look_takes
        self.in_looks += self._look_takes
        return [SIGNS]

    def ask(self, spec: JobSpec, history: Sequence[EpochSigns]) -> list[Finding]:
        self.asked.append(list(history))
        self.now += self._ask_takes
        self.in_asking += self._ask_takes
        return self._rules(spec, history)

    def train(self, epochs: Sequence[int], seconds: float = 1.0, loss: float = 0.5) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "perf_counter", lambda: self.now)
            patch.setattr(module, "Probe", lambda *_: self)
            for epoch in epochs:
                self.doctor.on_epoch_begin(epoch - 1)
                self.now += seconds
                self.in_epochs += seconds
                self.doctor.on_epoch_end(epoch - 1, {"loss": loss, "val_loss": 2.0, "learning_rate": 9.0})


def test_every_epoch_is_looked_into_where_that_costs_little() -> None:
    patient = Patient(epochs=5, look_takes=0.01)
    patient.train(range(1, 6))
    assert patient.looked == [1, 2, 3, 4, 5]
    assert patient.asked[-1] == [
        EpochSigns(epoch, 0.001, {"loss": 0.5, "val_loss": 2.0}, [SIGNS]) for epoch in range(1, 6)
    ]
    assert patient.doctor.pending() == Observations({epoch: [SIGNS] for epoch in range(1, 6)}, [])
    assert patient.doctor.pending() == Observations({}, [])


def test_a_dear_look_is_for_the_first_epoch_the_last_and_once_in_a_while() -> None:
    patient = Patient(epochs=100, look_takes=0.5)
    patient.train(range(1, 101))
    assert (patient.looked[0], patient.looked[-1]) == (1, 100)
    assert len(patient.looked) in range(6, 8)
    assert [each.epoch for each in patient.asked[-1]] == list(range(1, 101))


@pytest.mark.parametrize("stopped", [True, False])
def test_the_last_epoch_is_looked_into_where_something_stops_the_training(stopped: bool) -> None:
    patient = Patient(epochs=100, look_takes=1.0)
    patient.train(range(1, 50))
    patient.model.stop_training = stopped
    patient.train([50])
    assert (50 in patient.looked) == stopped


def test_a_loss_that_is_not_finite_is_looked_into_at_any_price() -> None:
    patient = Patient(epochs=100, look_takes=100.0)
    patient.train(range(1, 4))
    patient.train([4], loss=float("nan"))
    assert patient.looked == [1, 4]
    assert patient.asked[-1][-1].layers == [SIGNS]


@given(
    epochs=st.integers(1, 300),
    seconds=st.floats(0.001, 2.0),
    look_takes=st.floats(0.0001, expected_seconds(SPEC)),
    ask_takes=st.floats(0.0, 0.005),
)
def test_all_of_it_takes_less_than_a_twentieth_of_a_training_of_a_second(
    epochs: int, seconds: float, look_takes: float, ask_takes: float
) -> None:
    patient = Patient(epochs, look_takes, ask_takes)
    patient.train(range(1, epochs + 1), seconds)
    spent = (patient.in_looks + patient.in_asking) / patient.in_epochs
    assert patient.in_epochs < 1 or spent < 0.05
    assert patient.doctor.cost == pytest.approx(spent)


def test_a_long_training_has_a_short_history_of_all_its_parts() -> None:
    patient = Patient(epochs=100_000, look_takes=0.002, ask_takes=0.0001)
    patient.train(range(1, 20_001), seconds=0.001)
    history = patient.asked[-1]
    assert len(history) <= MOST_LOOKS + MOST_OTHERS + 2
    assert len(patient.asked) < 2_000
    seen, others = ([each.epoch for each in history if (each.layers is None) == kind] for kind in (False, True))
    assert len(seen) > MOST_LOOKS / 3
    assert len(others) > MOST_OTHERS / 3
    assert max(after - before for before, after in pairwise(others)) < 400
    assert seen[-1] > 19_500


def test_a_verdict_is_told_once() -> None:
    patient = Patient(rules=lambda _, history: [finding(each.epoch) for each in history])
    patient.train([1, 2])
    assert patient.doctor.pending().findings == [finding(1)]
    patient.train([3])
    assert patient.doctor.pending().findings == []


@pytest.mark.parametrize("broken", ["look", "ask"])
def test_an_error_is_logged_once_and_the_training_goes_on(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no such layer")

    patient = Patient(rules=fail)
    if broken == "look":
        monkeypatch.setattr(patient, "look", fail)
    with caplog.at_level(logging.ERROR):
        patient.train([1, 2, 3])
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "after epoch 1" in caplog.text
    assert len(patient.asked) == (broken == "ask")


def test_a_worker_can_look_when_it_starts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        wake()
    assert not caplog.records


def test_what_is_on_record_is_taken_up_again() -> None:
    metrics = [{"loss": 0.5, "val_loss": 0.6}, {"loss": 0.4, "val_loss": float("inf")}]
    epochs = [EpochResult(n, 1.0, 0.01, each).row("job_1", 1, n) for n, each in zip((1, 3), metrics, strict=True)]
    layer = {"layer": "dense_1", "gradient_norm": None, "weight_norm": 2.0, "update_ratio": 0.1}
    shares = {"dead_share": None, "saturated_share": 0.25}
    statistics = [LayerStatistics(job_id="job_1", epoch=2, attempt=1, layers=[layer | shares])]
    patient = Patient(rules=lambda *_: [finding(4), finding(4, "overfitting")])
    patient.doctor.resume(epochs, statistics, [Diagnosis(verdict="dead_units")])
    patient.train([4])
    first, second, third, fourth = patient.asked[0]
    assert (first.epoch, first.learning_rate, first.metrics, first.layers) == (1, 0.01, metrics[0], None)
    assert (third.epoch, third.metrics) == (3, metrics[1])
    assert (second.epoch, second.metrics, fourth.epoch) == (2, metrics[0], 4)
    assert second.layers is not None
    assert str(second.layers[0].gradient_norm) == "nan"
    assert (second.layers[0].weight_norm, second.layers[0].saturated_share) == (2.0, 0.25)
    assert patient.doctor.pending().findings == [finding(4, "overfitting")]


@given(st.integers(1, 2000), st.sampled_from([2, 8, 100]))
def test_thinned_keeps_the_first_the_last_and_evenly_what_lies_between(count: int, most: int) -> None:
    thinned = Thinned[int](most)
    for item in range(count):
        thinned.add(item)
    kept = list(thinned)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert len(kept) <= most + 1
    gaps = [after - before for before, after in pairwise(kept)]
    assert len(set(gaps[:-1])) <= 1
    assert not gaps or gaps[-1] <= max(gaps)
    assert len(kept) > min(count, most) / 2

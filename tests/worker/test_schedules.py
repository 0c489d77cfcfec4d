"""Schedules: our formulas against Keras's classes, and trainings that follow them against Keras's own optimizers."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifacts import ArtifactStore
from models.spec import JobSpec, parse_spec
from models.spec.schedules import rate_at
from models.spec.training import Schedule
from tests.factories.examples import examples
from tests.models.spec.strategies import Body, schedules
from tests.worker.spirals import BATCH, EXAMPLES, spiral_model, spiral_spec, trained_by_keras
from worker.checkpoints import Checkpoint, CheckpointKeeper, restore, values_of, variables_of
from worker.chunks import Chunks
from worker.plan import Plan
from worker.training import ResidentModel, fit

CLASSES = {
    "exponential_decay": keras.optimizers.schedules.ExponentialDecay,
    "inverse_time_decay": keras.optimizers.schedules.InverseTimeDecay,
    "polynomial_decay": keras.optimizers.schedules.PolynomialDecay,
    "cosine_decay": keras.optimizers.schedules.CosineDecay,
    "cosine_decay_restarts": keras.optimizers.schedules.CosineDecayRestarts,
    "piecewise_constant_decay": keras.optimizers.schedules.PiecewiseConstantDecay,
    "piecewise_constant": keras.optimizers.schedules.PiecewiseConstantDecay,
}
WARM_UP = {
    "type": "cosine_decay",
    "initial_learning_rate": 0.0,
    "warmup_target": 0.5,
    "warmup_steps": 9,
    "decay_steps": 25,
}
PIECES = {"type": "piecewise_constant", "boundaries": [2, 10, 27], "values": [0.5, 0.2, 0.3, 0.05]}
STAIRS = {
    "type": "exponential_decay",
    "initial_learning_rate": 0.3,
    "decay_steps": 5,
    "decay_rate": 0.7,
    "staircase": True,
}


def keras_schedule(schedule: Body) -> Any:
    return CLASSES[schedule["type"]](**{key: value for key, value in schedule.items() if key != "type"})


def schedule_of(spec: JobSpec) -> Schedule:
    plan = spec.optimizer.learning_rate
    assert not isinstance(plan, float)
    return plan


def near_a_restart(schedule: Body, step: int) -> bool:
    """Where Keras's logarithm may round to either side."""
    if schedule["type"] != "cosine_decay_restarts" or schedule.get("t_mul", 2.0) == 1.0:
        return False
    starts = np.cumsum(schedule["first_decay_steps"] * schedule.get("t_mul", 2.0) ** np.arange(50.0))
    return bool(np.abs(starts / step - 1).min() < 1e-9)


@settings(max_examples=examples(100))
@given(schedules, st.lists(st.integers(0, 5000), min_size=1, max_size=5))
def test_rates_are_keras_rates(schedule: Body, steps: list[int]) -> None:
    spec = parse_spec({"dataset": "digits", "optimizer": {"type": "sgd", "learning_rate": schedule}})
    # Keras computes in the type of the first rate.
    if "initial_learning_rate" in schedule:
        schedule = {**schedule, "initial_learning_rate": np.float64(schedule["initial_learning_rate"])}
    theirs = keras_schedule(schedule)
    compared = [step for step in steps if not (step and near_a_restart(schedule, step))]
    ours = rate_at(schedule_of(spec), np.array(compared, np.int64))
    expected = [float(theirs(step)) for step in compared]
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)


def follow(model: ResidentModel, spec: JobSpec, chunks: Chunks, first: int, last: int) -> list[float]:
    """Train from one epoch to another; the learning rate at the end of each epoch."""
    rates: list[float] = []

    class Recorder(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            rates.append(float(model.optimizer.learning_rate))

    fit(model, chunks, seed=spec.seed, epochs=last, done=first, callbacks=[Recorder()])
    return rates


@pytest.mark.parametrize(
    ("schedule", "rows", "optimizer", "own"),
    [
        (WARM_UP, 3, {"type": "sgd", "momentum": 0.9}, keras.optimizers.SGD),
        (PIECES, EXAMPLES // BATCH, {"type": "sgd", "weight_decay": 0.1}, keras.optimizers.SGD),
        ({**STAIRS, "initial_learning_rate": 0.01}, 1, {"type": "adam", "clipnorm": 1.0}, keras.optimizers.Adam),
    ],
    ids=["warm-up", "pieces", "stairs"],
)
def test_a_training_follows_its_schedule_as_keras_own_optimizer_does(
    schedule: Body, rows: int, optimizer: Body, own: Any
) -> None:
    """Six epochs of seven batches, the last of each partial, in chunks of any size."""
    spec = spiral_spec(optimizer={**optimizer, "learning_rate": schedule})
    model = spiral_model(spec)
    rates = follow(model, spec, Chunks(EXAMPLES, BATCH, rows), 0, 6)
    arguments = {key: value for key, value in optimizer.items() if key != "type"}
    expected = trained_by_keras(spec, own(learning_rate=keras_schedule(schedule), **arguments), batches=42)
    for mine, theirs in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rates, rate_at(schedule_of(spec), np.arange(6, 42, 7)), rtol=1e-6)


def test_full_batches_are_one_step_an_epoch() -> None:
    spec = spiral_spec(optimizer={"type": "sgd", "learning_rate": STAIRS}, batch_size="full")
    model = spiral_model(spec)
    rates = follow(model, spec, Chunks(EXAMPLES, EXAMPLES, 1), 0, 11)
    assert rates == pytest.approx([0.3] * 5 + [0.21] * 5 + [0.147])
    expected = trained_by_keras(spec, keras.optimizers.SGD(keras_schedule(STAIRS)), batches=11)
    for mine, theirs in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_scaled_loss_follows_too() -> None:
    spec = spiral_spec(optimizer={"type": "sgd", "learning_rate": PIECES}, precision="mixed_float16")
    model = spiral_model(spec, Plan(precision="mixed_float16"))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert follow(model, spec, Chunks(EXAMPLES, BATCH, 3), 0, 3) == pytest.approx([0.2, 0.3, 0.3])
    assert float(model.optimizer.inner_optimizer.learning_rate) == pytest.approx(0.3)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """Nadam, which keeps more than a number for each weight; the chunks of the second part are other ones."""
    spec = spiral_spec(optimizer={"type": "nadam", "learning_rate": {**WARM_UP, "warmup_target": 0.05}})
    whole, first, second = spiral_model(spec), spiral_model(spec), spiral_model(spec)
    rates = follow(whole, spec, Chunks(EXAMPLES, BATCH, 3), 0, 5)
    assert follow(first, spec, Chunks(EXAMPLES, BATCH, 3), 0, 2) == rates[:2]
    keeper = CheckpointKeeper(ArtifactStore(f"file://{tmp_path}"), "job_1", 1)
    restore(second, keeper.read(keeper.write(2, Checkpoint(values_of(variables_of(first)), {}, {"epoch": 2}))))
    assert follow(second, spec, Chunks(EXAMPLES, BATCH, 2), 2, 5) == rates[2:]
    for mine, theirs in zip(values_of(variables_of(second)), values_of(variables_of(whole)), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@given(examples=st.integers(1, 300), batch_size=st.integers(1, 300), rows=st.integers(1, 40))
def test_every_chunk_knows_its_first_batch(examples: int, batch_size: int, rows: int) -> None:
    chunks = Chunks(examples, min(batch_size, examples), rows)
    cut = chunks.cut(np.arange(examples, dtype=np.int32))
    batches = [count + ending for _, count, _, ending in cut]
    assert chunks.starts(0) == np.cumsum([0, *batches[:-1]]).tolist()
    assert chunks.batches == sum(batches)

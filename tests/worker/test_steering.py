"""Changes of a training: taken up between two chunks, and made again at the same steps whatever the chunks then are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifacts import ArtifactStore
from models.spec import JobSpec
from models.spec.change import ChangeSpec
from tests.worker.spirals import BATCH, EXAMPLES, spiral_model, spiral_spec, trained_by_keras
from worker.callbacks import stoppers
from worker.checkpoints import Checkpoint, CheckpointKeeper, restore, values_of, variables_of
from worker.chunks import Chunks
from worker.steering import ChangeAt, Course, Steering, chunks_through
from worker.training import ResidentModel, fit

BATCHES = 7  # an epoch, the last one partial
MOST_EPOCHS = 50


class Asked:
    """Changes that are asked once a training has come to a step, and what is written down of them."""

    def __init__(self, *asked: tuple[int, dict[str, Any]]) -> None:
        self.steps = [step for step, _ in asked]
        self.changes = [ChangeAt(n, ChangeSpec.model_validate(body)) for n, (_, body) in enumerate(asked, start=1)]
        self.now = 0
        self.recorded: list[ChangeAt] = []
        self.told: list[tuple[int, dict[str, Any], int]] = []

    def asked(self) -> int:
        return sum(step <= self.now for step in self.steps)

    def waiting(self) -> Sequence[ChangeAt]:
        return self.changes[len(self.recorded) : self.asked()]

    def made(self, placed: ChangeAt, epoch: int, old: dict[str, Any], epochs: int) -> None:
        self.recorded.append(placed)
        self.told.append((epoch, old, epochs))


class Clock(keras.callbacks.Callback):
    """Tells `Asked` how far the training is, and ends it with the last epoch of its course."""

    def __init__(self, asked: Asked, chunks: Chunks, steering: Steering) -> None:
        super().__init__()
        self._asked, self._chunks, self._steering, self._epoch = asked, chunks, steering, 0
        self.epochs: list[int] = []
        self.rates: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        starts = [*self._chunks.starts(self._epoch), BATCHES]
        self._asked.now = self._epoch * BATCHES + starts[batch + 1]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(epoch + 1)
        self.rates.append(float(self.model.optimizer.learning_rate))
        if epoch + 1 >= self._steering.course.epochs:
            self.model.stop_training = True


def train(
    model: ResidentModel,
    spec: JobSpec,
    rows: int,
    asked: Asked,
    changes: Sequence[ChangeAt] = (),
    done: int = 0,
    upto: int = MOST_EPOCHS,
) -> Clock:
    """Train from epoch `done` on as an attempt does, at most to the epoch `upto`."""
    early_stopping, plateau = stoppers(spec)
    chunks = chunks_through(Chunks(EXAMPLES, BATCH, rows), changes, done)
    steering = Steering(chunks, Course.of(spec), changes, asked, early_stopping, done)
    clock = Clock(asked, chunks, steering)
    callbacks = [each for each in (early_stopping, plateau, steering, clock) if each is not None]
    fit(model, chunks, seed=spec.seed, epochs=upto, done=done, callbacks=callbacks)
    return clock


def equal(mine: ResidentModel, other: ResidentModel) -> bool:
    pairs = zip(values_of(variables_of(mine)), values_of(variables_of(other)), strict=True)
    return all(first.tobytes() == second.tobytes() for first, second in pairs)


@given(
    examples=st.integers(1, 300),
    batch_size=st.integers(1, 300),
    rows=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 900), max_size=6),
)
def test_a_cut_moves_no_example(examples: int, batch_size: int, rows: int, cuts: list[int]) -> None:
    plain = Chunks(examples, min(batch_size, examples), rows)
    # Where a change can have been made: chunks begin with a whole batch.
    places = sorted(step for step in cuts if step % plain.batches < plain.whole)
    chunks = chunks_through(plain, [ChangeAt(1, ChangeSpec(epochs=1), step) for step in places], 0)
    order = np.arange(examples, dtype=np.int32)
    for epoch in {0, 1, *(step // plain.batches for step in places)}:
        pieces = list(chunks.cut(order, epoch))
        assert len(pieces) == len(chunks.starts(epoch)) == chunks.count
        taken = [(matrix[:count].ravel(), rest[: ending * 999]) for matrix, count, rest, ending in pieces]
        assert np.concatenate([part for pair in taken for part in pair]).tolist() == order.tolist()
        for start, (_, count, _, ending) in zip(chunks.starts(epoch), pieces, strict=True):
            assert (start < chunks.batches) == (count + ending > 0)
        begun = {epoch * chunks.batches + start for start in chunks.starts(epoch)}
        assert {step for step in places if step // chunks.batches == epoch} <= begun


def test_a_new_rate_holds_from_its_step_on_as_in_keras_own_training() -> None:
    """Asked after the third batch: a chunk is of two, so it holds from the fifth on."""
    spec = spiral_spec(optimizer={"type": "sgd", "learning_rate": 0.5, "momentum": 0.9}, epochs=3)
    model, asked = spiral_model(spec), Asked((3, {"learning_rate": 0.05}))
    clock = train(model, spec, 2, asked)
    assert [(placed.number, placed.step) for placed in asked.recorded] == [(1, 4)]
    assert asked.told == [(1, {"learning_rate": 0.5}, 3)]
    assert clock.rates == pytest.approx([0.05] * 3)
    pieces = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.5, 0.05])
    expected = trained_by_keras(spec, keras.optimizers.SGD(pieces, momentum=0.9), batches=21)
    for mine, theirs in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_schedule_counts_from_where_it_is_taken_up() -> None:
    decay = {"type": "exponential_decay", "initial_learning_rate": 0.4, "decay_steps": 1, "decay_rate": 0.9}
    spec = spiral_spec(optimizer={"type": "sgd", "learning_rate": 0.5}, epochs=2)
    model, asked = spiral_model(spec), Asked((7, {"learning_rate": decay}), (10, {"learning_rate": 0.1}))
    clock = train(model, spec, 1, asked)
    assert [placed.step for placed in asked.recorded] == [7, 10]
    # In the old rate a schedule is told as it was asked, a number as the optimizer has it.
    assert asked.told[0][1] == {"learning_rate": 0.5}
    assert asked.told[1][1]["learning_rate"]["type"] == "exponential_decay"
    rates = [0.5] * 7 + [0.4, 0.36, 0.324] + [0.1] * 4
    pieces = keras.optimizers.schedules.PiecewiseConstantDecay(list(range(13)), rates)
    expected = trained_by_keras(spec, keras.optimizers.SGD(pieces), batches=14)
    for mine, theirs in zip(model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert clock.epochs == [1, 2]


CHANGES = (
    (2, {"learning_rate": 0.02}),
    (10, {"learning_rate": {"type": "cosine_decay", "initial_learning_rate": 0.03, "decay_steps": 30}}),
    (17, {"epochs": 6}),
    (24, {"learning_rate": 0.004, "early_stopping": {"patience": 40}}),
)


CHANGED = spiral_spec(optimizer="adam", epochs=4, early_stopping={"monitor": "loss", "patience": 30})


@pytest.fixture(scope="module")
def changed() -> tuple[ResidentModel, Asked, Clock]:
    """A training that was changed four times and never interrupted."""
    whole, asked = spiral_model(CHANGED), Asked(*CHANGES)
    return whole, asked, train(whole, CHANGED, 2, asked)


@pytest.mark.parametrize(("rows", "done"), [(1, 0), (3, 1), (7, 2), (1, 3), (3, 4), (7, 5)])
def test_what_was_changed_is_changed_again_after_any_interruption(
    rows: int, done: int, changed: tuple[ResidentModel, Asked, Clock], tmp_path: Path
) -> None:
    """Adam, whose state is more than its rate; the chunks of the second attempt are others, and so are its cuts."""
    whole, asked, clock = changed
    spec = CHANGED
    assert [placed.step for placed in asked.recorded] == [2, 11, 18, 25]
    assert clock.epochs == [1, 2, 3, 4, 5, 6]
    first, second = spiral_model(spec), spiral_model(spec)
    if done:
        train(first, spec, 7, Asked(), asked.recorded, upto=done)
    keeper = CheckpointKeeper(ArtifactStore(f"file://{tmp_path}"), "job_1", 1)
    restore(second, keeper.read(keeper.write(done, Checkpoint(values_of(variables_of(first)), {}, {}))))
    again = train(second, spec, rows, Asked(), asked.recorded, done)
    assert again.epochs == clock.epochs[done:]
    assert again.rates == clock.rates[done:]
    assert equal(second, whole)


@pytest.mark.parametrize("done", [0, 1])
def test_what_is_asked_later_is_never_followed_by_what_was_asked_before(done: int, tmp_path: Path) -> None:
    """A change was made in an epoch that was lost with its worker; another is asked before it would be made again."""
    spec = spiral_spec(optimizer="adam", epochs=4)
    asked = Asked((7 * done + 4, {"learning_rate": 0.05}), (99, {"learning_rate": 0.002}))
    first, before = spiral_model(spec), spiral_model(spec)
    if done:
        train(before, spec, 7, Asked(), upto=done)
    train(first, spec, 2, asked, upto=done + 1)
    assert [placed.step for placed in asked.recorded] == [7 * done + 4]
    lost = asked.recorded[0]
    asked.steps, asked.now = [0, 0], 7 * done
    again = spiral_model(spec)
    keeper = CheckpointKeeper(ArtifactStore(f"file://{tmp_path}"), "job_1", 1)
    restore(again, keeper.read(keeper.write(done, Checkpoint(values_of(variables_of(before)), {}, {}))))
    asked.recorded = [lost]
    clock = train(again, spec, 1, asked, [lost], done)
    # Written down once more at its new step, and then the later one, which holds.
    assert [(placed.number, placed.step) for placed in asked.recorded] == [
        (1, 7 * done + 4),
        (1, 7 * done),
        (2, 7 * done),
    ]
    assert asked.told[-1][1] == {"learning_rate": 0.05}
    assert clock.rates == pytest.approx([0.002] * (4 - done))
    repeated = spiral_model(spec)
    train(repeated, spec, 3, Asked(), asked.recorded[1:])
    assert equal(repeated, again)


def test_a_change_that_came_as_the_last_epoch_ended_makes_it_not_the_last() -> None:
    spec = spiral_spec(optimizer="adam", epochs=2)
    model, asked = spiral_model(spec), Asked((14, {"learning_rate": 0.01}), (14, {"epochs": 4}))
    assert train(model, spec, 7, asked).epochs == [1, 2, 3, 4]
    assert [placed.step for placed in asked.recorded] == [14, 14]
    assert [epochs for _, _, epochs in asked.told] == [2, 4]
    again = spiral_model(spec)
    assert train(again, spec, 2, Asked(), asked.recorded).epochs == [1, 2, 3, 4]
    assert equal(again, model)


def test_a_change_that_came_too_late_is_not_made() -> None:
    spec = spiral_spec(optimizer="adam", epochs=2)
    asked = Asked((14, {"learning_rate": 0.01}), (14, {"early_stopping": {"patience": 1}}))
    assert train(spiral_model(spec), spec, 7, asked).epochs == [1, 2]
    assert asked.recorded == []


def test_an_epoch_that_has_begun_is_the_least_that_is_left() -> None:
    spec = spiral_spec(optimizer="adam", epochs=9)
    asked = Asked((8, {"epochs": 1}))
    assert train(spiral_model(spec), spec, 1, asked).epochs == [1, 2]
    assert asked.told == [(2, {"epochs": 9}, 2)]


def test_patience_is_that_of_the_change() -> None:
    """The loss cannot fall by so much, so each epoch after the first is one without an improvement."""
    watcher = {"monitor": "loss", "patience": 20, "min_delta": 1e6}
    spec = spiral_spec(optimizer="adam", epochs=30, early_stopping=watcher)
    asked = Asked((14, {"early_stopping": {"patience": 5}}))
    clock = train(spiral_model(spec), spec, 7, asked)
    assert asked.told == [(3, {"early_stopping": {"patience": 20}}, 30)]
    assert clock.epochs[-1] == 6


def test_a_plateau_goes_on_from_a_new_rate() -> None:
    plateau = {"monitor": "loss", "patience": 1, "factor": 0.5, "min_delta": 1e6}
    spec = spiral_spec(optimizer={"type": "sgd", "learning_rate": 0.4}, epochs=5, reduce_on_plateau=plateau)
    asked = Asked((14, {"learning_rate": 0.1}))
    model = spiral_model(spec)
    clock = train(model, spec, 7, asked)
    assert asked.told[0][1] == {"learning_rate": 0.2}  # what the optimizer had by then
    assert clock.rates == pytest.approx([0.4, 0.2, 0.05, 0.025, 0.0125])
    again = spiral_model(spec)
    assert train(again, spec, 3, Asked(), asked.recorded).rates == clock.rates
    assert equal(again, model)

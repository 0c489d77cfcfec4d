"""Before training: chunks that end in time, a model that is left as it was, and a precision that was tried."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.spec import parse_spec
from tests.factories.examples import examples
from tests.worker.spirals import BATCH, EXAMPLES, SPIRALS, spiral_model, spiral_spec
from tests.worker.test_programs import STATEFUL, WHOLE, train
from tests.worker.test_training import SPLIT, spec_of
from worker import rehearsal
from worker.checkpoints import Checkpoint, restore, values_of, variables_of
from worker.chunks import Chunks
from worker.data import Split
from worker.plan import Plan
from worker.rehearsal import CHUNK_SECONDS, SOUND, check_precision, chunks_of, rehearse
from worker.training import ResidentModel

COMPILING = 30.0
CHUNKS = Chunks(EXAMPLES, BATCH, 1)


def clock(monkeypatch: pytest.MonkeyPatch, cost: Callable[[int], float]) -> None:
    """A clock by which the first call compiles, and a chunk of n batches takes `cost(n)` seconds."""
    calls = iter(range(10**6))

    def seconds(model: ResidentModel, chunks: Chunks, batches: int) -> float:
        assert 0 <= batches <= chunks.capacity
        return (0.0 if next(calls) else COMPILING) + cost(batches)

    monkeypatch.setattr(rehearsal, "_seconds", seconds)


@pytest.mark.parametrize("xla", ["none", "update", "chunk"])
def test_the_model_is_afterwards_as_it_was(xla: Literal["none", "update", "chunk"]) -> None:
    """Weights, seeds, moments, and metrics, in the midst of a training; which then goes on as without a rehearsal."""
    spec = spiral_spec(**STATEFUL)
    model = spiral_model(spec, Plan(xla))
    train(spec, model, 2, 0, 1)
    start = Checkpoint(values_of(variables_of(model)), {}, {})
    without, expected = train(spec, model, 2, 1, 3), values_of(variables_of(model))
    restore(model, start)
    model.reset_metrics()
    state = [*variables_of(model), *model.metrics_variables]
    before = values_of(state)
    chunks = rehearse(model, CHUNKS)
    for mine, theirs in zip(values_of(state), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert 1 <= chunks.rows <= CHUNKS.capacity
    assert train(spec, model, chunks.rows, 1, 3) == without
    for mine, theirs in zip(values_of(variables_of(model)), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_was_rehearsed_is_what_is_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is traced, and thereby compiled, a second time."""
    traced, batches = [], ResidentModel._train_batches

    def counted(model: ResidentModel, rows: Any, count: Any) -> None:
        traced.append(rows.shape)
        batches(model, rows, count)

    monkeypatch.setattr(ResidentModel, "_train_batches", counted)
    spec = spiral_spec(**STATEFUL)
    model = spiral_model(spec, Plan("chunk"))
    rehearse(model, CHUNKS)
    compiled = len(traced)
    assert compiled > 0
    train(spec, model, 1, 0, 1)
    train(spec, model, WHOLE, 1, 2)
    assert len(traced) == compiled


@pytest.mark.parametrize(
    ("seconds", "rows"), [(0.3, 1), (0.2, 1), (0.07, 2), (0.05, 3), (1e-6, WHOLE)], ids=lambda value: str(value)
)
def test_a_slow_network_gets_short_chunks(monkeypatch: pytest.MonkeyPatch, seconds: float, rows: int) -> None:
    """Six whole batches an epoch, in chunks of equal length that take 0.2 s at most."""
    clock(monkeypatch, lambda batches: seconds * batches)
    assert rehearse(spiral_model(spiral_spec()), CHUNKS).rows == rows


def test_a_chunk_is_timed_by_what_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by 70 milliseconds with every batch that is really trained on."""
    model = spiral_model(spiral_spec())
    model.make_train_function()
    trained, moment = model.train_function, 0.0

    def slow(data: Any) -> Any:
        nonlocal moment
        before = int(model.optimizer.iterations)
        logs = trained(data)
        moment += 0.07 * (int(model.optimizer.iterations) - before)
        return logs

    model.train_function = slow
    monkeypatch.setattr(rehearsal, "time", SimpleNamespace(perf_counter=lambda: moment))
    assert rehearse(model, CHUNKS).rows == 2
    assert moment > 0


@pytest.fixture(scope="module")
def model() -> ResidentModel:
    return spiral_model(spiral_spec())


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(examples=st.integers(1, 5000), batch=st.floats(1e-6, 2.0), call=st.floats(0, 0.1), hiccup=st.floats(0, 3.0))
def test_between_two_looks_there_are_at_most_so_many_seconds(
    model: ResidentModel,
    monkeypatch: pytest.MonkeyPatch,
    examples: int,
    batch: float,
    call: float,
    hiccup: float,
) -> None:
    """Whatever a batch and a call cost, and however slow the very first batch is."""
    first = iter([0.0, hiccup])

    def cost(batches: int) -> float:
        return call + batch * batches + next(first, 0.0)

    clock(monkeypatch, cost)
    chunks = Chunks(examples, 1, 1)
    found = rehearse(model, chunks)
    assert found.rows == 1 or found.rows * batch <= CHUNK_SECONDS
    assert found.rows <= chunks.capacity
    # Nor are they much shorter than need be.
    assert found.rows >= int(min(CHUNK_SECONDS / 2 / (batch + call), chunks.capacity) / 2)


def test_one_batch_an_epoch_needs_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, lambda batches: 0.0)
    chunks = Chunks(EXAMPLES, EXAMPLES, 1)
    assert rehearse(spiral_model(spiral_spec(batch_size="full")), chunks) == chunks


BFLOAT = Plan(precision="mixed_bfloat16", reasons=("mixed_bfloat16: why not",))


def losses(monkeypatch: pytest.MonkeyPatch, **by_precision: float) -> None:
    """What the tries give."""
    monkeypatch.setattr(rehearsal, "_tried_loss", lambda spec, split, scaling, plan: by_precision[plan.precision])


@pytest.mark.parametrize(
    ("exact", "short", "sound"),
    [
        (2.0, 2.0 * (1 + 0.9 * SOUND), True),
        (2.0, 2.0 * (1 - 0.9 * SOUND), True),
        (2.0, 2.0 * (1 + 1.1 * SOUND), False),
        (2.0, 2.0 * (1 - 1.1 * SOUND), False),
        (2.0, float("nan"), False),
        (2.0, float("inf"), False),
        (float("nan"), float("nan"), False),
    ],
)
def test_auto_keeps_bfloat16_while_the_loss_is_sound(
    monkeypatch: pytest.MonkeyPatch, exact: float, short: float, sound: bool
) -> None:
    losses(monkeypatch, float32=exact, mixed_bfloat16=short)
    found = check_precision(BFLOAT, spec_of(precision="auto"), SPLIT, (1 / 255, 0.0))
    if sound:
        assert found == BFLOAT
        return
    assert (found.precision, found.xla) == ("float32", BFLOAT.xla)
    assert found.reasons[:-1] == BFLOAT.reasons
    assert f"a loss of {short:.4g} instead of {exact:.4g}" in found.reasons[-1]


@pytest.mark.parametrize(
    ("precision", "plan"),
    [("mixed_bfloat16", BFLOAT), ("mixed_float16", Plan(precision="mixed_float16")), ("auto", Plan())],
)
def test_nothing_is_tried_where_nothing_was_chosen(monkeypatch: pytest.MonkeyPatch, precision: str, plan: Plan) -> None:
    losses(monkeypatch)
    assert check_precision(plan, spec_of(precision=precision), SPLIT, (1 / 255, 0.0)) is plan


def test_a_network_that_bears_bfloat16_keeps_it() -> None:
    spec = parse_spec({"dataset": "digits", "network": "softmax_regression", "precision": "auto", "batch_size": 20})
    assert check_precision(BFLOAT, spec, SPLIT, (1 / 255, 0.0)) == BFLOAT


def test_a_network_that_does_not_bear_bfloat16_gets_float32() -> None:
    """Features near 700, of which bfloat16 knows every fourth number, and a network that passes them on."""
    passing = {"type": "dense", "units": 1, "kernel_initializer": {"type": "constant", "value": 1.0}}
    spec = parse_spec(
        {
            "dataset": "polynomial",
            "network": {"layers": [passing, passing]},
            "optimizer": {"type": "sgd", "learning_rate": 1e-12},
            "precision": "auto",
        }
    )
    rng = np.random.default_rng(3)
    features = rng.normal(700, 20, (1000, 1)).astype(np.float32)
    values = features + rng.normal(0, 1, (1000, 1)).astype(np.float32)
    found = check_precision(BFLOAT, spec, Split(features, values, None, None, features, values), (1.0, 0.0))
    assert found.precision == "float32"
    assert "float32 after all" in found.reasons[-1]


def test_a_try_follows_the_schedule() -> None:
    """A schedule that always says the same learns what the number learns."""
    pieces = {"type": "piecewise_constant_decay", "boundaries": [1000], "values": [0.5, 0.5]}
    tried = []
    for rate in (0.5, pieces):
        spec = spiral_spec(precision="auto", optimizer={"type": "sgd", "learning_rate": rate})
        tried.append(rehearsal._tried_loss(spec, SPIRALS, (1.0, 0.0), Plan()))
    assert tried[1] == pytest.approx(tried[0], rel=1e-5)


def test_an_epoch_begins_in_chunks_as_long_as_possible() -> None:
    spec = parse_spec({"dataset": "digits", "batch_size": 10})
    assert chunks_of(spec, 1297) == Chunks(1297, 10, 129)

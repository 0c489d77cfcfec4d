"""The engine learns what Keras's own fit learns, whatever the chunks, and goes on where a checkpoint ends."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifacts import ArtifactStore
from models.spec import JobSpec, parse_spec
from worker.checkpoints import Checkpoint, CheckpointKeeper, restore, values_of, variables_of
from worker.data import Split
from worker.training import Chunks, ResidentModel, build_model, chunks_for, measured_rows, training_rows

RNG = np.random.default_rng(7)
EXAMPLES, BATCH = 110, 16


def split() -> Split:
    """A little of a task that can be learned: the brighter half tells the class."""
    images = RNG.integers(0, 60, (EXAMPLES + 60, 28, 28, 1)).astype(np.uint8)
    labels = RNG.integers(0, 10, EXAMPLES + 60)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 3] += 150
    x, y = (images[:EXAMPLES], labels[:EXAMPLES]), (images[EXAMPLES:], labels[EXAMPLES:])
    return Split(x[0], x[1], y[0][:30], y[1][:30], y[0][30:], y[1][30:])


SPLIT = split()


def spec_of(**changes: Any) -> JobSpec:
    layers = [
        {"type": "conv2d", "filters": 2, "kernel_size": 5, "strides": 3, "use_bias": False},
        {"type": "batch_normalization"},
        {"type": "activation", "activation": "relu"},
        "flatten",
        {"type": "dropout", "rate": 0.2},
        {"type": "dense", "units": 10, "activation": "softmax"},
    ]
    base = {"dataset": "digits", "network": {"layers": layers}, "batch_size": BATCH, "epochs": 3}
    return parse_spec(base | changes)


def fit(model: ResidentModel, chunks: Chunks, first: int, last: int, seed: int = 0) -> dict[str, list[float]]:
    history = model.fit(
        training_rows(chunks, seed, first),
        epochs=last,
        initial_epoch=first,
        steps_per_epoch=chunks.count,
        validation_data=measured_rows(0, 30),
        shuffle=False,
        verbose=0,
    )
    return history.history


@given(examples=st.integers(1, 300), batch_size=st.integers(1, 300), rows=st.integers(1, 40))
def test_chunks_hold_every_example_once_in_batches_of_the_size(examples: int, batch_size: int, rows: int) -> None:
    chunks = Chunks(examples, min(batch_size, examples), rows)
    matrices = list(chunks.cut(np.arange(examples, dtype=np.int32)))
    assert len(matrices) == chunks.count
    assert np.concatenate([matrix.ravel() for matrix in matrices]).tolist() == list(range(examples))
    batches = [row for matrix in matrices for row in matrix]
    assert all(len(batch) == chunks.batch_size for batch in batches[:-1])
    assert all(len(matrix) <= rows for matrix in matrices)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, first: int) -> list[int]:
        taken = training_rows(Chunks(20, 20, 1), seed, first).take(1)
        return [int(n) for rows in taken for n in np.ravel(rows)]

    assert order(0, 1) == order(0, 1)
    assert sorted(order(0, 1)) == list(range(20))
    assert len({tuple(order(0, 0)), tuple(order(0, 1)), tuple(order(1, 0))}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "categorical_crossentropy", "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.05}},
        {"loss": "mse", "optimizer": {"type": "rmsprop", "clipnorm": 1.0}},
        {"class_weight": {"3": 5.0, "4": 0.0}},
    ],
    ids=["sparse", "one-hot", "mse", "class weights"],
)
def test_chunks_learn_exactly_what_stock_fit_learns_from_the_same_batches(changes: dict[str, Any]) -> None:
    """Same batches in the same order: the loss of every epoch and the weights agree, the partial batch included."""
    spec = spec_of(**changes)
    chunks = Chunks(EXAMPLES, BATCH, rows=3)
    chunked = build_model(spec, SPLIT, (1 / 255, 0.0))
    ours = fit(chunked, chunks, 0, 3)

    stock = build_model(spec, SPLIT, (1 / 255, 0.0))
    one_hot = spec.loss.type != "sparse_categorical_crossentropy"
    labels = np.eye(10, dtype=np.float32)[SPLIT.y_train] if one_hot else SPLIT.y_train
    weights = np.ones(10, np.float32)
    for label, weight in (spec.class_weight or {}).items():
        weights[int(label)] = weight
    losses = []
    for epoch in range(3):
        order = np.random.default_rng((0, epoch)).permutation(EXAMPLES)
        stock.reset_metrics()
        for start in range(0, EXAMPLES, BATCH):
            rows = order[start : start + BATCH]
            batch = (SPLIT.x_train[rows].astype(np.float32), labels[rows])
            if spec.class_weight:
                batch += (weights[SPLIT.y_train[rows]],)  # type: ignore[assignment]
            logs = keras.Model.train_step(stock, batch)
        losses.append(float(logs["loss"]))
    np.testing.assert_allclose(ours["loss"], losses, rtol=2e-4)
    for mine, theirs in zip(chunked.network.get_weights(), stock.network.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=2e-4)
    assert losses[-1] < losses[0]


def test_validation_is_measured_as_evaluate_measures_it() -> None:
    model = build_model(spec_of(), SPLIT, (1 / 255, 0.0))
    history = fit(model, Chunks(EXAMPLES, BATCH, 4), 0, 1)
    assert SPLIT.x_val is not None
    outputs = model.network.predict(SPLIT.x_val.astype(np.float32), verbose=0)
    assert history["val_accuracy"] == [pytest.approx(np.mean(outputs.argmax(axis=1) == SPLIT.y_val))]
    expected = -np.log(outputs[np.arange(30), SPLIT.y_val])
    assert history["val_loss"] == [pytest.approx(expected.mean(), rel=1e-4)]


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """Dropout, batch normalisation and Adam: every bit of state is in the checkpoint."""
    chunks = Chunks(EXAMPLES, BATCH, rows=3)
    whole = build_model(spec_of(), SPLIT, (1 / 255, 0.0))
    fit(whole, chunks, 0, 4)

    first = build_model(spec_of(), SPLIT, (1 / 255, 0.0))
    fit(first, chunks, 0, 2)
    keeper = CheckpointKeeper(ArtifactStore(f"file://{tmp_path}"), "job_1", 1)
    key = keeper.write(2, Checkpoint(values_of(variables_of(first)), {"kept": [np.ones(3)]}, {"epoch": 2}))

    second = build_model(spec_of(), SPLIT, (1 / 255, 0.0))
    checkpoint = keeper.read(key)
    assert checkpoint.facts == {"epoch": 2}
    assert checkpoint.weights["kept"][0].tolist() == [1, 1, 1]
    restore(second, checkpoint)
    fit(second, chunks, 2, 4)
    for mine, theirs in zip(values_of(variables_of(second)), values_of(variables_of(whole)), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    model = build_model(spec_of(), SPLIT, (1 / 255, 0.0))
    with pytest.raises(ValueError, match="variables"):
        restore(model, Checkpoint([np.zeros(1)], {}, {}))


def test_a_chunk_is_shorter_for_a_larger_network() -> None:
    small = chunks_for(spec_of(network={"preset": "mlp"}), 54_000)
    large = chunks_for(spec_of(network={"preset": "cnn"}), 54_000)
    assert 1 <= large.rows < small.rows
    assert chunks_for(spec_of(batch_size="full"), 54_000).batch_size == 54_000

"""The engine learns what Keras's own fit learns, whatever the chunks, and goes on where a checkpoint ends."""

from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest

from models.artifacts import ArtifactStore
from models.spec import JobSpec, parse_spec
from models.spec.training import CosineDecay
from worker.checkpoints import Checkpoint, CheckpointKeeper, restore, values_of, variables_of
from worker.chunks import Chunks
from worker.data import Split
from worker.plan import Plan
from worker.training import ResidentModel, build_model, fit

RNG = np.random.default_rng(7)
EXAMPLES, BATCH = 110, 16
DECAY = CosineDecay(initial_learning_rate=0.01, decay_steps=30)


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


def train(model: ResidentModel, chunks: Chunks, first: int, last: int) -> dict[str, list[float]]:
    """From one epoch to another; what Keras recorded."""
    recorded: dict[str, list[float]] = fit(model, chunks, seed=0, epochs=last, done=first, validated=30).history
    return recorded


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
    ours = train(chunked, chunks, 0, 3)

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
    history = train(model, Chunks(EXAMPLES, BATCH, 4), 0, 1)
    assert SPLIT.x_val is not None
    outputs = model.network.predict(SPLIT.x_val.astype(np.float32), verbose=0)
    assert history["val_accuracy"] == [pytest.approx(np.mean(outputs.argmax(axis=1) == SPLIT.y_val))]
    expected = -np.log(outputs[np.arange(30), SPLIT.y_val])
    assert history["val_loss"] == [pytest.approx(expected.mean(), rel=1e-4)]


SCHEDULED = {"optimizer": {"type": "adam", "learning_rate": DECAY.model_dump()}}


@pytest.mark.parametrize("xla", ["none", "update"])
def test_a_convolution_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, xla: Literal["none", "update"]
) -> None:
    """Dropout, batch normalisation, Adam and a schedule: every bit of state is in the checkpoint.

    The chunks of the second part are other ones.
    """
    spec, plan = spec_of(**SCHEDULED), Plan(xla)
    first, second = (build_model(spec, SPLIT, (1 / 255, 0.0), plan) for _ in range(2))
    start = Checkpoint(values_of(variables_of(first)), {}, {})
    train(first, Chunks(EXAMPLES, BATCH, rows=3), 0, 4)
    whole = values_of(variables_of(first))

    restore(first, start)
    train(first, Chunks(EXAMPLES, BATCH, rows=3), 0, 2)
    keeper = CheckpointKeeper(ArtifactStore(f"file://{tmp_path}"), "job_1", 1)
    key = keeper.write(2, Checkpoint(values_of(variables_of(first)), {"kept": [np.ones(3)]}, {"epoch": 2}))

    checkpoint = keeper.read(key)
    assert checkpoint.facts == {"epoch": 2}
    assert checkpoint.weights["kept"][0].tolist() == [1, 1, 1]
    restore(second, checkpoint)
    train(second, Chunks(EXAMPLES, BATCH, rows=2), 2, 4)
    for mine, theirs in zip(values_of(variables_of(second)), whole, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    model = build_model(spec_of(), SPLIT, (1 / 255, 0.0))
    with pytest.raises(ValueError, match="variables"):
        restore(model, Checkpoint([np.zeros(1)], {}, {}))

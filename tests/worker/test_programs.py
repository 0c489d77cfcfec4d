"""What XLA makes programs of, whole chunks or the optimizer's update, learns what is learned without it."""

from typing import Any, Literal, get_args

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from models.spec import JobSpec, parse_spec
from models.spec.layers.core import Dropout, GaussianNoise
from tests.factories.examples import THOROUGH
from tests.worker.spirals import BATCH, EXAMPLES, spiral_model, spiral_spec, trained_by_keras
from tests.worker.test_optimizers import ARGUMENTS, CLASSES, IDS
from tests.worker.test_training import BATCH as IMAGES_BATCH
from tests.worker.test_training import EXAMPLES as IMAGES
from tests.worker.test_training import SPLIT
from worker.checkpoints import Checkpoint, restore, values_of, variables_of
from worker.chunks import Chunks, training_chunks
from worker.plan import COMPILED_LAYERS, COMPILED_METRICS, Plan
from worker.training import ResidentModel, build_model, fit

Xla = Literal["none", "update", "chunk"]
WHOLE = EXAMPLES // BATCH
WARM_UP = {
    "type": "cosine_decay",
    "initial_learning_rate": 0.0,
    "warmup_target": 0.05,
    "warmup_steps": 9,
    "decay_steps": 25,
}
HIDDEN = {"type": "dense", "units": 6, "activation": "tanh"}
END = {"type": "dense", "units": 3}
# What a checkpoint has to keep: averages of batch normalisation, seeds, moments of weights, steps of a schedule.
STATEFUL = {
    "network": {"layers": [HIDDEN, {"type": "batch_normalization"}, {"type": "dropout", "rate": 0.2}, END]},
    "optimizer": {"type": "adam", "learning_rate": WARM_UP},
}
# So little that what is dropped or added leaves no trace: XLA draws other numbers.
LITTLE = 1e-9


def train(spec: JobSpec, model: ResidentModel, rows: int, first: int, last: int) -> list[float]:
    """From one epoch to another in chunks of so many batches; the loss of each."""
    losses: list[float] = fit(model, Chunks(EXAMPLES, BATCH, rows), seed=0, epochs=last, done=first).history["loss"]
    return losses


def train_chunk(model: ResidentModel) -> None:
    """Three batches, in a function of TensorFlow's as Keras has it."""
    chunk = next(iter(training_chunks(Chunks(EXAMPLES, BATCH, 3), 0, 0)))
    tf.function(model.train_step)(chunk)


def check_close(mine: list[np.ndarray], theirs: list[np.ndarray], tolerance: float) -> None:
    """The same weights but for rounding."""
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def programs() -> dict[str, set[str]]:
    """The operations of each function in this process that XLA must compile."""
    definitions = map(context.context().get_function_def, context.context().list_function_names())
    return {
        function.signature.name: {node.op for node in function.node_def}
        for function in definitions
        if function.attr["_XlaMustCompile"].b
    }


@pytest.mark.parametrize(("xla", "whole"), [("none", []), ("update", [False]), ("chunk", [True])])
def test_xla_compiles_what_the_plan_says(xla: Xla, whole: list[bool]) -> None:
    """Nothing; the update, in which nothing is multiplied as matrices; or one loop over batches."""
    before = programs()
    model = spiral_model(spiral_spec(), Plan(xla))
    train_chunk(model)
    made = [operations for name, operations in programs().items() if name not in before]
    assert [bool(operations & {"While", "StatelessWhile"}) for operations in made if operations] == whole


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS, ids=IDS)
def test_every_optimizer_takes_the_same_steps(name: str, arguments: dict[str, Any]) -> None:
    """Three batches against Keras's own; the clippings and decays of weights are among the arguments.

    A program of the update alone has the same operations in it: by default it is tried with two of them.
    """
    spec = spiral_spec(network={"layers": [END]}, optimizer={"type": name, **arguments})
    expected = trained_by_keras(spec, CLASSES[name](**arguments), batches=3)
    ways: list[Xla] = ["update", "chunk"] if THOROUGH or name in ("sgd", "adam") else ["chunk"]
    models = [spiral_model(spec, Plan(xla)) for xla in ways]
    before = models[-1].network.get_weights()
    for model in models:
        train_chunk(model)
        check_close(model.network.get_weights(), expected, 1e-5)
    for first, weight in zip(before, expected, strict=True):
        assert np.abs(weight - first).max() > 1e-3


def test_forty_batches_learn_the_same() -> None:
    """Six epochs with partial batches, batch normalisation, weighted classes, a penalty, a schedule."""
    hidden = {**HIDDEN, "kernel_regularizer": {"type": "l2", "l2": 0.01}}
    spec = spiral_spec(
        network={"layers": [hidden, {"type": "batch_normalization"}, END]},
        optimizer={"type": "adam", "learning_rate": WARM_UP, "global_clipnorm": 1.0},
        class_weight={"0": 3.0, "2": 0.0},
    )
    plain, update, whole = (spiral_model(spec, Plan(xla)) for xla in get_args(Xla))
    losses = [train(spec, model, WHOLE, 0, 6) for model in (plain, update, whole)]
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
    check_close(update.network.get_weights(), plain.network.get_weights(), 2e-4)
    check_close(whole.network.get_weights(), plain.network.get_weights(), 2e-4)


def test_an_update_from_gradients_in_bfloat16_is_the_same() -> None:
    """They are made exact inside of the program, where without one they are before the update."""
    precision = "mixed_bfloat16"
    spec = spiral_spec(optimizer={"type": "adam", "learning_rate": 0.01, "clipnorm": 0.1}, precision=precision)
    plain, update = (spiral_model(spec, Plan(xla, precision)) for xla in ("none", "update"))
    for model in (plain, update):
        assert {layer.compute_dtype for layer in model.network.layers} == {"float32", "bfloat16"}
        train_chunk(model)
    check_close(update.network.get_weights(), plain.network.get_weights(), 1e-5)


@pytest.mark.parametrize("xla", get_args(Xla))
def test_neither_the_length_of_chunks_nor_an_interruption_changes_anything(xla: Xla) -> None:
    """One batch a chunk, or all of them, or another model, as another process would have, going on with three: the same
    bits."""
    spec = spiral_spec(**STATEFUL)
    first, second = (spiral_model(spec, Plan(xla)) for _ in range(2))
    start = Checkpoint(values_of(variables_of(first)), {}, {})
    losses, whole = train(spec, first, 1, 0, 4), values_of(variables_of(first))
    assert any((one != other).any() for one, other in zip(whole, start.variables, strict=True))
    restore(first, start)
    assert train(spec, first, WHOLE, 0, 2) == losses[:2]
    checkpoint = Checkpoint(values_of(variables_of(first)), {}, {})
    restore(second, Checkpoint.from_bytes(checkpoint.to_bytes()))
    assert train(spec, second, 3, 2, 4) == losses[2:]
    for mine, theirs in zip(values_of(variables_of(second)), whole, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_every_layer_and_metric_that_may_be_in_a_program_works_in_one() -> None:
    """The same losses, metrics and weights as without XLA, of one network of them all, and of what would be slow."""
    nodes = {
        "rows": {"layer": {"type": "reshape", "target_shape": [28, 28]}, "inputs": ["input"]},
        "flat": {"layer": "flatten", "inputs": ["rows"]},
        "left": {"layer": {"type": "dense", "units": 8}, "inputs": ["flat"]},
        "active": {"layer": {"type": "activation", "activation": "relu"}, "inputs": ["left"]},
        "right": {"layer": {"type": "dense", "units": 8, "activation": "gelu"}, "inputs": ["flat"]},
        "sum": {"layer": "add", "inputs": ["active", "right"]},
        "both": {"layer": "concatenate", "inputs": ["sum", "right"]},
        "batch": {"layer": "batch_normalization", "inputs": ["both"]},
        "example": {"layer": "layer_normalization", "inputs": ["batch"]},
        "dropped": {"layer": {"type": "dropout", "rate": LITTLE}, "inputs": ["example"]},
        "noisy": {"layer": {"type": "gaussian_noise", "stddev": LITTLE}, "inputs": ["dropped"]},
        "end": {"layer": {"type": "dense", "units": 10, "activation": "softmax"}, "inputs": ["noisy"]},
    }
    metrics = list(COMPILED_METRICS)
    body = {"dataset": "digits", "network": {"graph": nodes}, "metrics": metrics, "batch_size": IMAGES_BATCH}
    spec = parse_spec(body)
    assert {type(node.layer) for node in spec.nodes} == {*COMPILED_LAYERS, Dropout, GaussianNoise}
    plain, whole = (build_model(spec, SPLIT, (1 / 255, 0.0), Plan(xla)) for xla in ("none", "chunk"))
    chunks = Chunks(IMAGES, IMAGES_BATCH, IMAGES // IMAGES_BATCH)
    expected, found = (fit(model, chunks, seed=0, epochs=2, validated=30).history for model in (plain, whole))
    assert {*COMPILED_METRICS, *(f"val_{name}" for name in COMPILED_METRICS)} < set(found)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-5), name
    check_close(whole.network.get_weights(), plain.network.get_weights(), 1e-4)


def test_dropout_drops_anew_in_every_batch_of_a_program() -> None:
    """With a rate of learning that changes nothing, only what is dropped tells one epoch from another."""
    wide = {"type": "dense", "units": 200, "activation": "tanh"}
    optimizer = {"type": "sgd", "learning_rate": 1e-12}

    def losses(rate: float, xla: Xla) -> list[float]:
        layers = [wide, {"type": "dropout", "rate": rate}, END]
        spec = spiral_spec(network={"layers": layers}, optimizer=optimizer)
        return train(spec, spiral_model(spec, Plan(xla)), WHOLE, 0, 12)

    without, plain, whole = losses(LITTLE, "none"), losses(0.5, "none"), losses(0.5, "chunk")
    assert np.ptp(without) < 1e-5
    for dropped in (plain, whole):
        assert min(np.diff(sorted(dropped))) > 1e-6
        assert np.mean(dropped) > without[0]
    assert np.mean(whole) == pytest.approx(np.mean(plain), rel=0.05)

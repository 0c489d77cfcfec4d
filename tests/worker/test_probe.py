"""A look into a network: what it sees is right, and the network is afterwards what it was."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models.diagnoses import LayerSigns
from models.spec import JobSpec, parse_spec
from worker.checkpoints import Checkpoint, restore, values_of, variables_of
from worker.chunks import Chunks
from worker.data import Split, split_for
from worker.diagnosis.activations import Watched, watched_activations
from worker.diagnosis.probe import Probe
from worker.plan import Plan
from worker.training import ResidentModel, build_model, fit

EXAMPLES = 100
RNG = np.random.default_rng(11)
PIXELS = RNG.integers(0, 256, (EXAMPLES, 28, 28, 1)).astype(np.uint8)
CLASSES = RNG.integers(0, 10, EXAMPLES)
IMAGES = Split(PIXELS, CLASSES, PIXELS, CLASSES, PIXELS, CLASSES)
SCALING = (1 / 255, 0.0)
RELU = {"type": "activation", "activation": "relu"}
NORMALIZE = {"type": "batch_normalization"}
ROWS = {"type": "reshape", "target_shape": [28, 28]}
DECAY = {"type": "cosine_decay", "initial_learning_rate": 0.01, "decay_steps": 30}
LEAKY = {"type": "leaky_relu", "negative_slope": 0.1}


def dense(units: int, activation: Any = "linear", **more: Any) -> dict[str, Any]:
    return {"type": "dense", "units": units, "activation": activation, **more}


def conv2d(activation: Any = "linear", **more: Any) -> dict[str, Any]:
    return {"type": "conv2d", "filters": 4, "kernel_size": 5, "strides": 3, "activation": activation, **more}


END = dense(10, "softmax")


def spec_of(*layers: Any, **changes: Any) -> JobSpec:
    return parse_spec({"dataset": "digits", "network": {"layers": layers}, **changes})


def model_of(spec: JobSpec, plan: Plan | None = None, split: Split = IMAGES) -> ResidentModel:
    return build_model(spec, split, SCALING, plan or Plan(precision=spec.precision))


def look(spec: JobSpec, model: ResidentModel | None = None) -> dict[str, LayerSigns]:
    return {signs.layer: signs for signs in Probe(model or model_of(spec), spec).look(1)}


EVERYTHING_RANDOM = spec_of(
    conv2d(use_bias=False),
    NORMALIZE,
    RELU,
    {"type": "gaussian_noise", "stddev": 0.1},
    "flatten",
    {"type": "dropout", "rate": 0.3},
    dense(8, "tanh", kernel_regularizer="l2", activity_regularizer="l2"),
    END,
    dataset={"name": "digits", "augmentation": {"rotation": 0.1, "noise": 0.1}},
    optimizer={"type": "nadam", "clipnorm": 0.1, "learning_rate": DECAY},
    class_weight={"3": 5.0},
    metrics=["accuracy", "f1"],
)
RECURRENT = spec_of(ROWS, {"type": "lstm", "units": 3, "dropout": 0.3, "recurrent_dropout": 0.3}, END)
FLAT = ("flatten", dense(16, "relu"), END)


def assert_a_look_changes_nothing(spec: JobSpec, model: ResidentModel) -> list[LayerSigns]:
    state = [*variables_of(model), *model.metrics_variables]
    before = values_of(state)
    signs = Probe(model, spec).look(1)
    for mine, theirs in zip(values_of(state), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert all(0 < each.gradient_norm < 100 and 0 < each.update_ratio < 1 for each in signs)
    return signs


@pytest.mark.parametrize(
    ("spec", "plan"),
    [
        (RECURRENT, Plan()),
        (spec_of(*FLAT), Plan("update")),
        (spec_of(*FLAT, precision="mixed_bfloat16"), Plan("update", "mixed_bfloat16")),
    ],
    ids=["recurrent", "compiled update", "bfloat16"],
)
def test_a_look_leaves_every_variable_as_it_was(spec: JobSpec, plan: Plan) -> None:
    assert_a_look_changes_nothing(spec, model_of(spec, plan))


def test_under_float16_a_gradient_is_that_of_the_loss_before_it_was_scaled() -> None:
    spec = spec_of(*FLAT, precision="mixed_float16")
    signs = assert_a_look_changes_nothing(spec, model_of(spec))
    exact = look(spec_of(*FLAT))
    assert signs[0].gradient_norm == pytest.approx(exact["dense_1"].gradient_norm, rel=0.01)
    assert signs[0].update_ratio == pytest.approx(exact["dense_1"].update_ratio, rel=0.01)


def test_under_float16_a_scale_that_is_too_large_is_left_out() -> None:
    spec = spec_of(*FLAT, precision="mixed_float16")
    model = model_of(spec)
    model.optimizer.dynamic_scale.assign(2.0**40)
    assert_a_look_changes_nothing(spec, model)


def test_the_values_of_a_regression_are_looked_at() -> None:
    spec = spec_of(dense(4, "tanh"), dense(1), dataset="polynomial")
    split = split_for(spec, Path(), offline=True)
    assert_a_look_changes_nothing(spec, build_model(spec, split, (1.0, 0.0)))


@pytest.mark.parametrize(
    ("spec", "plan"), [(EVERYTHING_RANDOM, Plan()), (spec_of(*FLAT), Plan("chunk"))], ids=["all that is random", "XLA"]
)
def test_a_training_that_is_looked_at_learns_bit_for_bit_the_same(spec: JobSpec, plan: Plan) -> None:
    model = model_of(spec, plan)
    start = Checkpoint(values_of(variables_of(model)), {}, {})
    probe, seen = Probe(model, spec), list[list[LayerSigns]]()
    looking = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: seen.append(probe.look(epoch)))
    outcomes = []
    for callbacks in ([], [looking]):
        restore(model, start)
        history = fit(model, Chunks(EXAMPLES, 16, rows=6), seed=0, epochs=3, validated=30, callbacks=callbacks)
        outcomes.append((history.history, values_of(variables_of(model))))
    assert len(seen) == 3
    assert outcomes[0][0] == outcomes[1][0]
    for mine, theirs in zip(outcomes[0][1], outcomes[1][1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def softmax_regression(model: ResidentModel, weights: np.ndarray | None = None) -> tuple[float, float]:
    """L2 norms of the gradient and the weights, over all examples, worked out by hand."""
    kernel, bias = model.network.get_layer("dense_1").get_weights()
    inputs = PIXELS.reshape(EXAMPLES, -1) / 255
    scores = np.exp(inputs @ kernel + bias)
    errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[CLASSES]
    if weights is not None:
        errors *= weights[CLASSES][:, None]
    slopes = np.concatenate([(inputs.T @ errors / EXAMPLES).ravel(), errors.mean(axis=0)])
    return float(np.linalg.norm(slopes)), float(np.linalg.norm(np.concatenate([kernel.ravel(), bias])))


@pytest.mark.parametrize("changes", [{}, {"class_weight": {"3": 5.0, "4": 0.0}}], ids=["plain", "class weights"])
def test_the_norms_are_those_of_the_gradient_the_weights_and_the_step(changes: dict[str, Any]) -> None:
    """All examples are in the batch: there are fewer than are drawn."""
    spec = spec_of("flatten", END, optimizer={"type": "sgd", "learning_rate": 0.5}, **changes)
    model = model_of(spec)
    class_weights = np.array([1, 1, 1, 5, 0, 1, 1, 1, 1, 1]) if changes else None
    gradient, weights = softmax_regression(model, class_weights)
    signs = look(spec, model)["dense_1"]
    assert signs.gradient_norm == pytest.approx(gradient, rel=1e-4)
    assert signs.weight_norm == pytest.approx(weights, rel=1e-5)
    assert signs.update_ratio == pytest.approx(0.5 * gradient / weights, rel=1e-4)


def test_the_step_is_the_clipped_one_at_the_rate_of_now() -> None:
    spec = spec_of("flatten", END, optimizer={"type": "sgd", "learning_rate": 0.5, "global_clipnorm": 0.01})
    model = model_of(spec)
    model.optimizer.learning_rate = 0.25
    signs = look(spec, model)["dense_1"]
    assert signs.gradient_norm > 0.1
    assert signs.update_ratio * signs.weight_norm == pytest.approx(0.0025, rel=1e-3)


def test_penalties_count_and_frozen_layers_are_left_out() -> None:
    spec = spec_of(
        "flatten", dense(4, "relu", trainable=False), dense(10, kernel_regularizer={"type": "l2", "l2": 10.0})
    )
    model = model_of(spec)
    signs = look(spec, model)
    assert list(signs) == ["dense_2"]
    kernel = model.network.get_layer("dense_2").get_weights()[0]
    assert signs["dense_2"].gradient_norm == pytest.approx(20 * np.linalg.norm(kernel), rel=0.05)


def test_weights_whose_squares_are_beyond_float32_have_a_finite_norm() -> None:
    spec = spec_of("flatten", dense(4, "tanh"), END)
    model = model_of(spec)
    layer = model.network.get_layer("dense_1")
    layer.set_weights([np.full((784, 4), 1e30, np.float32), np.zeros(4)])
    signs = look(spec, model)["dense_1"]
    assert signs.weight_norm == pytest.approx(1e30 * np.sqrt(784 * 4), rel=1e-6)
    assert signs.saturated_share == 1.0


def test_weights_that_are_nan_are_told_and_put_back() -> None:
    spec = spec_of(*FLAT)
    model = model_of(spec)
    model.network.get_layer("dense_1").kernel.assign(np.full((784, 16), np.nan))
    signs = look(spec, model)
    assert np.isnan([signs["dense_1"].weight_norm, signs["dense_2"].gradient_norm]).all()
    assert signs["dense_1"].dead_share == 0.0
    assert np.isfinite(model.network.get_layer("dense_2").get_weights()[0]).all()


def biased(model: ResidentModel, layer: str, biases: list[float]) -> ResidentModel:
    """The model with these biases in a layer, whose kernel is zero."""
    found = model.network.get_layer(layer)
    found.set_weights([np.zeros_like(found.get_weights()[0]), np.array(biases)])
    return model


BIASES = [-1.0, 1.0, -1.0, 2.0]


@pytest.mark.parametrize(
    "layers",
    [
        ("flatten", dense(4, "relu"), END),
        ("flatten", dense(4), {"type": "dropout", "rate": 0.2}, RELU, END),
        ("flatten", dense(4, LEAKY | {"negative_slope": 0.0}), END),
        ("flatten", dense(4), NORMALIZE, {"type": "dropout", "rate": 0.5}, RELU, END),
    ],
    ids=["own", "dropout between", "leaky without a leak", "normalised"],
)
def test_units_that_are_zero_for_every_example_are_dead(layers: tuple[Any, ...]) -> None:
    spec = spec_of(*layers)
    model = biased(model_of(spec), "dense_1", BIASES)
    if NORMALIZE in layers:
        gamma, _, *moving = model.network.get_layer("batch_normalization_1").get_weights()
        model.network.get_layer("batch_normalization_1").set_weights([gamma, np.array(BIASES), *moving])
    signs = look(spec, model)
    assert signs["dense_1"].dead_share == 0.5
    assert [each.dead_share for name, each in signs.items() if name != "dense_1"] == [None] * (len(signs) - 1)


def test_a_unit_of_a_convolution_is_a_channel_at_all_its_places() -> None:
    spec = spec_of(conv2d("relu"), {"type": "max_pooling2d", "pool_size": 2}, "flatten", END)
    model = biased(model_of(spec), "conv2d_1", [-1e-3, -1.0, 0.0, 1.0])
    kernel, bias = model.network.get_layer("conv2d_1").get_weights()
    kernel[0, 0, 0, 0] = 0.01  # above zero where a pixel is bright, and only there
    model.network.get_layer("conv2d_1").set_weights([kernel, bias])
    assert look(spec, model)["conv2d_1"].dead_share == 0.5


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_outputs_on_the_flat_ends_of_an_activation_are_saturated(activation: str) -> None:
    """Slopes fall below a tenth of the largest beyond 3.6 for a sigmoid, beyond 1.8 for a tanh."""
    edge = {"sigmoid": np.log(np.sqrt(10) + 3) * 2, "tanh": np.log(np.sqrt(10) + 3)}[activation]
    spec = spec_of("flatten", dense(4), {"type": "activation", "activation": activation}, END)
    model = biased(model_of(spec), "dense_1", [edge * 0.99, -edge * 1.01, edge * 1.01, 0.0])
    signs = look(spec, model)["dense_1"]
    assert (signs.dead_share, signs.saturated_share) == (None, 0.5)


def watched(*layers: Any, **changes: Any) -> list[Watched]:
    return watched_activations(spec_of(*layers, **changes).nodes)


def test_only_what_can_die_or_saturate_is_watched() -> None:
    hidden = [dense(4, kind) for kind in (LEAKY, "elu", "selu", "softplus", "gelu", "swish", "linear")]
    assert watched("flatten", *hidden, END) == []


def test_an_output_may_saturate_but_not_die() -> None:
    assert watched("flatten", dense(4), dense(1, "sigmoid"), dataset={"name": "digits", "classes": [3, 8]}) == []
    assert watched(dense(4), dense(1, "tanh"), {"type": "dropout", "rate": 0.1}, dataset="polynomial") == []
    assert watched(dense(1, "relu"), dataset="polynomial") == [Watched("dense_1", "dense_1", "relu")]


def test_of_the_recurrent_only_the_simple_one_puts_out_its_activation() -> None:
    layers = [{"type": kind, "units": 3, "return_sequences": True} for kind in ("simple_rnn", "gru", "lstm")]
    assert watched(ROWS, *layers, "flatten", END) == [Watched("simple_rnn_1", "simple_rnn_1", "tanh")]


def test_a_sum_shows_how_its_branches_do_and_a_join_does_not() -> None:
    def node(layer: Any, *inputs: str) -> dict[str, Any]:
        return {"layer": layer, "inputs": inputs}

    graph = {
        "rows": node("flatten", "input"),
        "first": node(dense(4, "relu"), "rows"),
        "left": node(dense(4), "first"),
        "right": node(dense(4), "first"),
        "sum": node("add", "left", "right", "first"),
        "rectified": node(RELU, "sum"),
        "apart": node(dense(4), "rectified"),
        "joined": node("concatenate", "apart", "first"),
        "squeezed": node({"type": "activation", "activation": "tanh"}, "joined"),
        "end": node(END, "squeezed"),
    }
    nodes = parse_spec({"dataset": "digits", "network": {"graph": graph}}).nodes
    assert watched_activations(nodes) == [
        Watched("first", "first", "relu"),
        Watched("left", "rectified", "relu"),
        Watched("right", "rectified", "relu"),
    ]

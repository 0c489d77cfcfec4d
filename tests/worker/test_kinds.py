"""Jobs that do not train: what they find, and how their attempts end."""

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import jobs, requests
from models.history import Event, Result, whole_history
from models.jobs import Job, Status
from models.settings import Settings
from models.spec import JobSpec, parse_spec
from models.spec.initializers import PlainInitializer, RandomNormal
from worker import data
from worker.attempt import try_job
from worker.data import Split
from worker.kinds import steps
from worker.kinds.gradient_check import check_gradients, compare, draw_entries
from worker.kinds.initialization import compare_initializers, label_of
from worker.slot import Slot

END = {"type": "dense", "units": 10, "activation": "softmax"}
SMALL = ["flatten", {"type": "dense", "units": 8, "activation": "tanh"}, END]


def spec_of(kind: str, layers: list[Any], **changes: Any) -> JobSpec:
    return parse_spec({"kind": kind, "dataset": "digits", "network": {"layers": layers}} | changes)


def examples(spec: JobSpec, settings: Settings) -> tuple[Split, tuple[float, float]]:
    split = data.split_for(spec, settings.datasets, True)
    return split, data.scaling_of(spec.dataset, split.x_train)


def dense(units: int, activation: Any = "linear", **changes: Any) -> dict[str, Any]:
    return {"type": "dense", "units": units, "activation": activation} | changes


def submit(slot: Slot, **spec: Any) -> str:
    body = {"dataset": "digits", "network": {"layers": SMALL}} | spec
    with slot.database.write() as session:
        return jobs.create(session, parse_spec(body)).id


def read(slot: Slot, job_id: str) -> tuple[Job, dict[str, Any] | None]:
    with slot.database.read() as session:
        result = session.get(Result, job_id)
        return session.get_one(Job, job_id), result.data if result else None


def hidden_gradients(one: dict[str, Any]) -> list[float]:
    """The standard deviation of the gradient at each layer with a kernel but the last."""
    return [layer["output_gradient"]["stddev"] for layer in one["layers"] if layer["has_kernel"]][:-1]


def test_eight_layers_of_sigmoid_lose_the_gradient_and_batch_normalization_keeps_it(settings: Settings) -> None:
    plain = [dense(100, "sigmoid")] * 8
    normalized = [dense(100), "batch_normalization", {"type": "activation", "activation": "sigmoid"}] * 8
    found = {}
    for name, layers in (("plain", plain), ("normalized", normalized)):
        spec = spec_of("initialization", ["flatten", *layers, END])
        found[name] = compare_initializers(spec, *examples(spec, settings))
    for number in (1, 2, 3):  # the small normal one, Glorot's, He's
        slopes, mended = (hidden_gradients(found[name]["initializers"][number]) for name in ("plain", "normalized"))
        assert slopes == sorted(slopes)
        assert slopes[-1] / slopes[0] > 1000
        assert 0.03 < mended[-1] / mended[0] < 30
    told = found["plain"]["summary"]
    (glorot,) = (sentence for sentence in told if "glorot_normal the gradient shrinks" in sentence)
    assert glorot.endswith("-fold over 8 layers, from dense_9 to dense_1: it vanishes.")
    assert any("random_normal(stddev=1)" in sentence and "saturated" in sentence for sentence in told)
    assert not any("it vanishes" in sentence for sentence in found["normalized"]["summary"])
    json.dumps(found, allow_nan=False)


def test_the_figures_of_a_layer_are_those_of_its_numbers(settings: Settings) -> None:
    """One linear layer, whose outputs and gradients can be written down."""
    layers = ["flatten", dense(10, kernel_initializer="zeros", bias_initializer={"type": "constant", "value": 0.5})]
    wanted = {"kernel_initializers": [{"type": "constant", "value": 0.01}], "examples": 64}
    spec = spec_of("initialization", layers, loss={"type": "mean_squared_error"}, initialization=wanted)
    split, scaling = examples(spec, settings)
    (one,) = compare_initializers(spec, split, scaling)["initializers"]
    chosen = np.random.default_rng([spec.seed, *b"batch"]).permutation(len(split.x_train))[:64]
    x = split.x_train[chosen].reshape(64, -1) / 255.0
    outputs = np.repeat(0.01 * x.sum(axis=1, keepdims=True) + 0.5, 10, axis=1)
    slope = 2 * (outputs - np.eye(10)[split.y_train[chosen]]) / outputs.size
    (layer,) = one["layers"]
    assert one["loss"] == pytest.approx(np.mean((outputs - np.eye(10)[split.y_train[chosen]]) ** 2), rel=1e-5)
    assert layer["outputs"]["mean"] == pytest.approx(outputs.mean(), rel=1e-5)
    assert layer["outputs"]["stddev"] == pytest.approx(outputs.std(), rel=1e-4)
    assert layer["outputs"]["quantiles"]["95"] == pytest.approx(np.percentile(outputs, 95), rel=1e-5)
    assert sum(layer["outputs"]["histogram"]["counts"]) == outputs.size
    assert layer["output_gradient"]["mean_absolute"] == pytest.approx(np.abs(slope).mean(), rel=1e-4)
    (kernel,) = layer["kernel_gradients"]
    assert (kernel["variable"], kernel["stddev"]) == ("kernel", pytest.approx((x.T @ slope).std(), rel=1e-4))


def test_what_is_not_finite_is_null_and_named(settings: Settings) -> None:
    wanted = {"kernel_initializers": [{"type": "constant", "value": 1e6}], "examples": 4}
    spec = spec_of("initialization", ["flatten", *[dense(50, "relu")] * 8, END], initialization=wanted)
    found = compare_initializers(spec, *examples(spec, settings))
    (one,) = found["initializers"]
    assert one["nonfinite"]["dense_8.outputs.mean"] in ("inf", "nan")
    assert next(layer for layer in one["layers"] if layer["name"] == "dense_8")["outputs"]["mean"] is None
    assert "not finite" in found["summary"][0]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "network",
    [
        {"preset": "cnn"},
        {
            "graph": {
                "flat": {"layer": "flatten", "inputs": "input"},
                "left": {"layer": dense(8, "relu"), "inputs": "flat"},
                "right": {"layer": dense(8, {"type": "leaky_relu"}), "inputs": "flat"},
                "sum": {"layer": "add", "inputs": ["left", "right"]},
                "end": {"layer": END, "inputs": "sum"},
            }
        },
        {
            "layers": [
                {"type": "separable_conv2d", "filters": 3, "kernel_size": 3, "strides": 2, "activation": "tanh"},
                {"type": "gaussian_noise", "stddev": 0.5},
                {"type": "reshape", "target_shape": [13, 39]},
                {"type": "lstm", "units": 4, "dropout": 0.5, "recurrent_dropout": 0.5},
                "layer_normalization",
                dense(10),
            ]
        },
    ],
    ids=["preset", "graph", "separable and recurrent"],
)
def test_every_form_of_network_is_looked_at_and_checked(settings: Settings, network: dict[str, Any]) -> None:
    body = {"dataset": "digits", "network": network}
    looked = parse_spec(body | {"kind": "initialization", "initialization": {"examples": 8}})
    checked = parse_spec(body | {"kind": "gradient_check", "gradient_check": {"weights": 20, "examples": 4}})
    found = compare_initializers(looked, *examples(looked, settings))
    for one in found["initializers"]:
        assert {"conv2d_1", "left", "separable_conv2d_1"} & {layer["name"] for layer in one["layers"]}
        assert all(kernel["stddev"] > 0 for layer in one["layers"] for kernel in layer["kernel_gradients"])
        assert one["nonfinite"] == {}
    assert check_gradients(checked, *examples(checked, settings))["passed"]


def test_an_initializer_is_called_by_what_is_said_of_it() -> None:
    assert label_of(RandomNormal(stddev=0.01)) == "random_normal(stddev=0.01)"
    assert label_of(RandomNormal()) == "random_normal"
    assert label_of(PlainInitializer(type="he_normal")) == "he_normal"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sigmoid", "tanh"),
        ("relu", "elu"),
        ("selu", "softplus"),
        ("swish", "gelu"),
        ("softmax", {"type": "leaky_relu"}),
    ],
)
def test_gradients_of_every_activation_are_right(settings: Settings, first: Any, second: Any) -> None:
    spec = spec_of("gradient_check", ["flatten", dense(16, first), dense(8, second), END])
    found = check_gradients(spec, *examples(spec, settings))
    assert found["passed"]
    assert found["largest_relative_error"] < 1e-5
    assert found["compared"] - found["kinks"] >= 90
    assert {variable["variable"] for variable in found["variables"]} == {
        f"dense_{n}/{part}" for n in (1, 2, 3) for part in ("kernel", "bias")
    }


PENALTIES = {"kernel_regularizer": {"type": "l1_l2", "l1": 0.01, "l2": 0.1}, "activity_regularizer": "l2"}


@pytest.mark.parametrize(
    "layers",
    [
        ["flatten", dense(16), "batch_normalization", {"type": "activation", "activation": "relu"}, dense(10)],
        [
            {"type": "conv2d", "filters": 3, "kernel_size": 3, "activation": "relu", "padding": "same"},
            "max_pooling2d",
            {"type": "dropout", "rate": 0.5},
            {"type": "conv2d", "filters": 3, "kernel_size": 3, "activation": "relu"},
            "average_pooling2d",
            "flatten",
            END,
        ],
        ["flatten", dense(16, "tanh", **PENALTIES), END],
    ],
    ids=["batch normalization", "convolutions", "penalties"],
)
def test_gradients_of_networks_of_all_kinds_are_right(settings: Settings, layers: list[Any]) -> None:
    spec = spec_of("gradient_check", layers)
    found = check_gradients(spec, *examples(spec, settings))
    assert found["passed"]
    assert found["largest_relative_error"] < 1e-5
    assert found["compared"] - found["kinks"] >= 50


@pytest.mark.parametrize(
    ("loss", "end"),
    [
        ("huber", "sigmoid"),
        ("kl_divergence", "softmax"),
        ({"type": "categorical_crossentropy", "label_smoothing": 0.1}, "softmax"),
        ({"type": "binary_crossentropy", "from_logits": True}, "linear"),
        ("categorical_hinge", "linear"),
    ],
)
def test_gradients_of_other_losses_are_right(settings: Settings, loss: Any, end: str) -> None:
    wanted = {"weights": 30, "examples": 4}
    spec = spec_of("gradient_check", ["flatten", dense(8, "tanh"), dense(10, end)], loss=loss, gradient_check=wanted)
    found = check_gradients(spec, *examples(spec, settings))
    assert found["passed"]
    assert found["kinks"] <= 5


def test_gradients_of_a_regression_are_right(settings: Settings) -> None:
    spec = spec_of("gradient_check", [dense(5, "softplus"), dense(1)], dataset="polynomial")
    found = check_gradients(spec, *examples(spec, settings))
    assert found["passed"]
    assert found["compared"] == 16  # every weight there is


def test_a_penalty_is_part_of_the_loss(settings: Settings) -> None:
    plain, penalised = (
        spec_of("gradient_check", ["flatten", dense(8, "tanh", **more), END]) for more in ({}, PENALTIES)
    )
    losses = [check_gradients(spec, *examples(spec, settings))["loss"] for spec in (plain, penalised)]
    assert losses[1] > losses[0] + 0.1


def test_a_broken_gradient_is_found_and_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    @tf.custom_gradient
    def broken(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        y = tf.tanh(x)
        return y, lambda upstream: upstream * (1 - y * y) * 1.001

    monkeypatch.setattr("keras.src.backend.numpy.tanh", broken)
    spec = spec_of("gradient_check", SMALL)
    found = check_gradients(spec, *examples(spec, settings))
    assert not found["passed"]
    assert found["largest_relative_error"] == pytest.approx(1e-3, rel=0.02)
    assert found["kinks"] == 0
    assert "gradients are wrong, in dense_1/kernel, dense_1/bias" in found["summary"][0]


@pytest.mark.parametrize("distance", [0.0, 0.2, 1 / 3, 0.5, 0.8])
def test_a_kink_within_the_step_is_no_error(distance: float) -> None:
    """relu with its kink so far above the weight, in steps; the slope below is 0."""
    step = 1e-5
    found = compare(0.0, lambda shift: 1 + max(0.0, shift - distance * step), 1.0, step)
    assert found.kink
    assert found.relative_error > 1e-5


@pytest.mark.parametrize("wrong", [1.0001, 0.5, -1.0, 0.0])
def test_a_wrong_slope_of_a_smooth_function_is_no_kink(wrong: float) -> None:
    found = compare(wrong * np.cos(1.0), lambda shift: float(np.sin(1 + shift)), float(np.sin(1.0)), 1e-5)
    assert not found.kink
    assert found.relative_error > 1e-5
    assert found.numerical == pytest.approx(np.cos(1.0), abs=1e-9)


def test_each_variable_gives_its_share_of_the_weights() -> None:
    drawn = draw_entries([(784, 32), (32,), (3,)], 60, seed=0)
    assert [sum(place == n for place, _ in drawn) for n in range(3)] == [29, 28, 3]
    assert len(set(drawn)) == 60
    assert len(draw_entries([(5,), (2, 2), (7,)], 1, seed=0)) == 3
    assert all(index < (784, 32) for place, index in drawn if place == 0)


def test_a_gradient_check_ends_with_its_result(slot: Slot) -> None:
    job_id = submit(slot, kind="gradient_check", gradient_check={"weights": 10})
    try_job(slot, job_id)
    job, result = read(slot, job_id)
    assert (job.status, job.epoch, job.epochs, job.model_version) == (Status.SUCCEEDED, 10, 10, None)
    assert result is not None
    assert result["passed"]
    told = [row.data for row in whole_history(slot.database, job_id) if isinstance(row, Event)]
    assert told[-1] == {"status": "succeeded", "reason": result["summary"][0]}
    assert {"message": "10 of 10 weights compared"} in told


def cancel_after(slot: Slot, job_id: str, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    """Let somebody cancel the job after so many steps."""
    reach = steps.Steps.reach

    def cancelled_meanwhile(self: steps.Steps, at: int, message: str, **how: Any) -> None:
        if at == done:
            with slot.database.write() as session:
                assert requests.request_cancel(session, job_id, keep_model=False) == "requested"
        reach(self, at, message, **how)

    monkeypatch.setattr(steps.Steps, "reach", cancelled_meanwhile)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 0.0)


@pytest.mark.parametrize("done", [2, 4])
def test_a_cancel_is_obeyed_between_the_passes(slot: Slot, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    job_id = submit(slot, kind="initialization", initialization={"examples": 8})
    cancel_after(slot, job_id, monkeypatch, done)
    try_job(slot, job_id)
    job, result = read(slot, job_id)
    assert (job.status, job.epoch, job.epochs, result) == (Status.CANCELLED, done - 1, 4, None)


def test_a_worker_that_stops_hands_the_job_back_and_the_next_begins_anew(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(slot, kind="initialization", initialization={"examples": 8})
    with monkeypatch.context() as patched:
        patched.setattr(Slot, "stopping", property(lambda _: True))
        try_job(slot, job_id)
    assert read(slot, job_id)[0].status == Status.QUEUED
    try_job(slot, job_id)
    job, result = read(slot, job_id)
    assert (job.status, job.attempt, job.epoch) == (Status.SUCCEEDED, 2, 4)
    assert result is not None
    assert [one["label"] for one in result["initializers"]][1:3] == ["random_normal(stddev=0.01)", "glorot_normal"]


def test_max_seconds_ends_a_check_as_failed(slot: Slot) -> None:
    job_id = submit(slot, kind="gradient_check", max_seconds=1e-6)
    try_job(slot, job_id)
    job, result = read(slot, job_id)
    assert (job.status, job.failure_kind, result) == (Status.FAILED, "timeout", None)
    assert job.failure_message == "The job was not finished within max_seconds. Received: max_seconds=1e-06"


def test_float32_stays_the_default_of_keras_afterwards(settings: Settings) -> None:
    spec = spec_of("gradient_check", SMALL, gradient_check={"weights": 1, "examples": 1})
    check_gradients(spec, *examples(spec, settings))
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy().name == "float32"

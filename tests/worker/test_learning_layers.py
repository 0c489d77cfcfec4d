"""Networks of every kind learn: penalties count, frozen layers stay, recurrent layers and residual blocks train."""

from typing import Any

import keras
import numpy as np
import pytest

from models.spec import parse_spec
from tests.models.spec.test_parsing import END
from tests.worker.test_training import EXAMPLES, SPLIT
from worker.checkpoints import Checkpoint, restore, values_of, variables_of
from worker.chunks import Chunks, Measured
from worker.training import ResidentModel, build_model, fit

UNIT = (1 / 255, 0.0)
MEASURED = 30
CHUNKS = Chunks(EXAMPLES, 16, 3)
ROWS = {"type": "reshape", "target_shape": [28, 28]}


def model_of(*layers: Any, **rest: Any) -> ResidentModel:
    body = {"dataset": "digits", "network": {"layers": [*layers]}, "batch_size": 16, **rest}
    return build_model(parse_spec(body), SPLIT, UNIT)


def measured_loss(model: ResidentModel) -> float:
    """The loss on the validation examples, in one batch."""
    found = model.evaluate(Measured(0, MEASURED).data(), steps=1, verbose=0, return_dict=True)
    return float(found["loss"])


def penalised(layer: dict[str, Any], *weights: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layer, and which penalty each of its weights gets, in Keras's order: each its own, so that none can hide."""
    factors = {weight: {"l1": 0.01 * place, "l2": 0.1 * place} for place, weight in enumerate(weights, start=1)}
    penalties = {f"{weight}_regularizer": {"type": "l1_l2", **factors[weight]} for weight in weights}
    return {**layer, "bias_initializer": "random_normal", **penalties}, factors


ROW_LAYERS = [
    penalised({"type": "simple_rnn", "units": 3, "return_sequences": True}, "kernel", "recurrent", "bias"),
    penalised({"type": "lstm", "units": 4, "return_sequences": True}, "kernel", "recurrent", "bias"),
    penalised({"type": "gru", "units": 5}, "kernel", "recurrent", "bias"),
]
IMAGE_LAYERS = [
    penalised({"type": "conv2d", "filters": 2, "kernel_size": 3}, "kernel", "bias"),
    penalised({"type": "depthwise_conv2d", "kernel_size": 3}, "depthwise", "bias"),
    penalised({"type": "separable_conv2d", "filters": 3, "kernel_size": 3}, "depthwise", "pointwise", "bias"),
    penalised({"type": "dense", "units": 3}, "kernel", "bias"),
]


@pytest.mark.parametrize(("first", "layers"), [([ROWS], ROW_LAYERS), ([], IMAGE_LAYERS)], ids=["rows", "images"])
def test_the_loss_has_the_penalty_on_the_weights(first: list[Any], layers: list[Any]) -> None:
    plain = [{name: value for name, value in layer.items() if not name.endswith("regularizer")} for layer, _ in layers]
    without = model_of(*first, *plain, "flatten", END)
    model = model_of(*first, *[layer for layer, _ in layers], "flatten", END)
    wanted = []
    for layer, factors in layers:
        values = model.network.get_layer(f"{layer['type']}_1").get_weights()
        for value, factor in zip(values, factors.values(), strict=True):
            wanted.append(float(factor["l1"] * np.abs(value).sum() + factor["l2"] * np.square(value).sum()))
    assert sorted(map(float, model.losses)) == pytest.approx(sorted(wanted), rel=1e-5)
    assert measured_loss(model) - measured_loss(without) == pytest.approx(sum(wanted), rel=1e-4)


@pytest.mark.parametrize(("first", "layers"), [([ROWS], ROW_LAYERS), ([], IMAGE_LAYERS)], ids=["rows", "images"])
def test_the_loss_has_the_penalty_on_the_outputs(first: list[Any], layers: list[Any]) -> None:
    factors = [0.01 * place for place in range(1, len(layers) + 1)]
    plain = [{name: value for name, value in layer.items() if not name.endswith("regularizer")} for layer, _ in layers]
    chosen = [
        {**layer, "activity_regularizer": {"type": "l1", "l1": factor}}
        for layer, factor in zip(plain, factors, strict=True)
    ]
    without, model = (model_of(*first, *each, "flatten", END) for each in (plain, chosen))
    inner = [without.network.get_layer(f"{layer['type']}_1").output for layer in plain]
    outputs = keras.Model(without.network.input, inner)(SPLIT.x_val.astype(np.float32))  # type: ignore[union-attr]
    wanted = [
        factor * np.abs(np.array(output)).sum() / MEASURED for factor, output in zip(factors, outputs, strict=True)
    ]
    assert measured_loss(model) - measured_loss(without) == pytest.approx(sum(wanted), rel=1e-4)


def train(model: ResidentModel, first: int, last: int) -> list[float]:
    """The loss of each epoch from `first` to before `last`."""
    return list(fit(model, CHUNKS, seed=0, epochs=last, done=first).history["loss"])


def test_penalties_are_part_of_the_training_loss_and_of_the_gradient() -> None:
    dense = {"type": "dense", "units": 10}
    strong = {**dense, "kernel_regularizer": {"type": "l2", "l2": 1.0}}
    optimizer = {"type": "sgd", "learning_rate": 0.1}
    plain, model = (model_of("flatten", layer, END, optimizer=optimizer) for layer in (dense, strong))
    before = np.square(model.network.get_layer("dense_1").kernel).sum()
    losses = [train(each, 0, 2)[0] for each in (plain, model)]
    assert losses[1] > losses[0] + 0.05 * before
    kept, shrunk = (np.square(each.network.get_layer("dense_1").kernel).sum() for each in (plain, model))
    assert shrunk < 0.1 * before < kept


def test_a_frozen_layer_does_not_change() -> None:
    layers = [
        {"type": "separable_conv2d", "filters": 2, "kernel_size": 3, "trainable": False},
        {"type": "batch_normalization", "trainable": False},
        {"type": "reshape", "target_shape": [26, -1]},
        {"type": "gru", "units": 3, "trainable": False},
        {"type": "layer_normalization", "trainable": False},
    ]
    model = model_of(*layers, END)
    before = [np.array(weight) for weight in model.network.get_weights()]
    train(model, 0, 1)
    changed = [not np.array_equal(*pair) for pair in zip(before, model.network.get_weights(), strict=True)]
    assert changed == [False] * (len(before) - 2) + [True] * 2


def test_recurrent_layers_with_dropout_learn_and_go_on_from_a_checkpoint() -> None:
    dropped = {"dropout": 0.1, "recurrent_dropout": 0.1, "return_sequences": True}
    layers = [
        {"type": "reshape", "target_shape": [7, -1]},
        {"type": "gaussian_noise", "stddev": 0.1},
        *({"type": kind, "units": 16, **dropped} for kind in ("simple_rnn", "lstm", "gru")),
        "flatten",
    ]
    model = model_of(*layers, END, optimizer={"type": "adam", "learning_rate": 0.01})
    first = train(model, 0, 2)
    checkpoint = Checkpoint(values_of(variables_of(model)), {}, {})
    rest = train(model, 2, 4)
    assert rest[-1] < first[0]
    assert train(model, 4, 5)[0] not in rest
    restore(model, checkpoint)
    assert train(model, 2, 4) == rest


def test_the_small_resnet_learns() -> None:
    body = {"dataset": "digits", "network": "resnet_small", "batch_size": 16}
    losses = train(build_model(parse_spec(body), SPLIT, UNIT), 0, 2)
    assert losses[1] < 0.9 * losses[0]

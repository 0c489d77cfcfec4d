"""Pooled convolutions: the same answers and gradients as Keras's own layers give."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.spec import parse_spec
from worker.network import build_network
from worker.pooled import pooled_convolutions

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (6, 28, 28, 1)).astype(np.float32)
LABELS = RNG.integers(0, 10, 6)
END = ["flatten", {"type": "dense", "units": 10, "activation": "softmax"}]
UNIT = (1 / 255, 0.0)


def conv(**changes: Any) -> dict[str, Any]:
    return {"type": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu", **changes}


def pool(**changes: Any) -> dict[str, Any]:
    return {"type": "max_pooling2d", **changes}


def spec_of(network: dict[str, Any], **changes: Any) -> Any:
    return parse_spec({"dataset": "mnist", "network": network, **changes})


def gradients(network: keras.Model) -> tuple[float, list[np.ndarray]]:
    @tf.function
    def run() -> Any:
        with tf.GradientTape() as tape:
            loss = keras.losses.SparseCategoricalCrossentropy()(LABELS, network(IMAGES, training=True))
        return loss, tape.gradient(loss, [variable.value for variable in network.trainable_variables])

    loss, found = run()
    return float(loss), [gradient.numpy() for gradient in found]


@pytest.mark.parametrize(
    ("layers", "pooled"),
    [
        ([conv(), pool(), conv(filters=3, activation="linear"), pool()], 2),
        ([conv(use_bias=False), pool(pool_size=3, strides=1)], 1),
        ([conv(kernel_regularizer={"type": "l2", "l2": 0.1}), pool(padding="same", strides=3)], 1),
        ([conv(trainable=False), pool(), conv(), pool()], 2),
        ([conv(activation="gelu"), pool()], 0),
        ([conv(), conv(), {"type": "average_pooling2d"}], 0),
        ([conv(activity_regularizer={"type": "l1", "l1": 0.1}), pool()], 0),
    ],
    ids=["relu and linear", "no bias", "same", "frozen", "gelu", "not max", "activity"],
)
def test_answers_and_gradients_are_keras_s_own(layers: list[Any], pooled: int) -> None:
    spec = spec_of({"layers": [*layers, *END]})
    assert len(pooled_convolutions(spec.nodes)) == pooled
    plain, ours = build_network(spec, UNIT), build_network(spec, UNIT, pooled=True)
    for variable in plain.weights:
        variable.assign(RNG.normal(0, 0.3, variable.shape))
    ours.set_weights(plain.get_weights())
    assert [variable.path for variable in ours.variables] == [variable.path for variable in plain.variables]
    (loss, expected), (same, found) = gradients(plain), gradients(ours)
    assert same == loss
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_convolution_that_somebody_else_reads_too_is_left_alone() -> None:
    ends = {"f": {"layer": "flatten", "inputs": "end"}, "d": {"layer": END[1], "inputs": "f"}}
    c = {"layer": conv(padding="same"), "inputs": "input"}
    once = {"c": c, "end": {"layer": pool(), "inputs": "c"}, **ends}
    twice = {
        "c": c,
        "p": {"layer": pool(), "inputs": "c"},
        "q": {"layer": pool(), "inputs": "c"},
        "end": {"layer": "add", "inputs": ["p", "q"]},
        **ends,
    }
    assert pooled_convolutions(spec_of({"graph": once}).nodes) == {"end": "c"}
    assert pooled_convolutions(spec_of({"graph": twice}).nodes) == {}


def test_in_bfloat16_they_are_as_near_as_that_can_say() -> None:
    spec = spec_of({"layers": [conv(), pool(), *END]}, precision="mixed_bfloat16")
    plain, ours = build_network(spec, UNIT), build_network(spec, UNIT, pooled=True)
    (loss, expected), (same, found) = gradients(plain), gradients(ours)
    assert same == pytest.approx(loss, rel=1e-2)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.05, atol=0.02 * float(np.abs(theirs).max()))

"""First values are drawn from what the formulas say."""

from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.spec import parse_spec
from tests.models.spec.test_parsing import END, network
from worker.network import build_network

UNITS, INPUTS, CHANNELS, FILTERS = 500, 784, 4, 64


def dense_kernel(initializer: Any) -> npt.NDArray[np.float32]:
    layer = {"type": "dense", "units": UNITS, "kernel_initializer": initializer}
    return np.array(built("flatten", layer, END).get_layer("dense_1").kernel)


def built(*layers: Any) -> Any:
    return build_network(parse_spec(network(*layers)), (1 / 255, 0.0))


SUM = INPUTS + UNITS
# Name, standard deviation, and the bound beyond which nothing may lie; a normal cut at two deviations is stretched by
# 1/0.8796, so that its deviation is the one wanted. Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998.
CUT = 2 / 0.8796256610342398
DRAWN = [
    ("glorot_uniform", sqrt(2 / SUM), sqrt(6 / SUM)),
    ("glorot_normal", sqrt(2 / SUM), CUT * sqrt(2 / SUM)),
    ("he_uniform", sqrt(2 / INPUTS), sqrt(6 / INPUTS)),
    ("he_normal", sqrt(2 / INPUTS), CUT * sqrt(2 / INPUTS)),
    ("lecun_uniform", sqrt(1 / INPUTS), sqrt(3 / INPUTS)),
    ("lecun_normal", sqrt(1 / INPUTS), CUT * sqrt(1 / INPUTS)),
    ("random_normal", 0.05, np.inf),
    ({"type": "random_normal", "stddev": 1.0}, 1.0, np.inf),
    ({"type": "truncated_normal", "stddev": 0.1}, 0.1 * 0.8796256610342398, 0.2),
    ("random_uniform", 0.05 / sqrt(3), 0.05),
    ({"type": "random_uniform", "minval": -0.3, "maxval": 0.3}, 0.3 / sqrt(3), 0.3),
    # The "standard" initial values of some textbooks, uniform in ±1/sqrt(d).
    (
        {"type": "variance_scaling", "scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"},
        sqrt(1 / 3 / INPUTS),
        1 / sqrt(INPUTS),
    ),
    (
        {"type": "variance_scaling", "scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
        sqrt(2 / UNITS),
        np.inf,
    ),
    ({"type": "variance_scaling", "mode": "fan_avg"}, sqrt(2 / SUM), CUT * sqrt(2 / SUM)),
]


@pytest.mark.parametrize(("initializer", "deviation", "bound"), DRAWN, ids=lambda value: str(value)[:40])
def test_random_values_have_the_spread_of_the_formula(initializer: Any, deviation: float, bound: float) -> None:
    kernel = dense_kernel(initializer)
    assert kernel.shape == (INPUTS, UNITS)
    assert abs(kernel.mean()) < 5 * deviation / sqrt(kernel.size)
    assert kernel.std() == pytest.approx(deviation, rel=0.01)
    assert np.abs(kernel).max() <= bound * (1 + 1e-6)
    if np.isfinite(bound):
        assert np.abs(kernel).max() > 0.98 * bound


@pytest.mark.parametrize("mean", [-0.5, 0.25])
@pytest.mark.parametrize("kind", ["random_normal", "truncated_normal"])
def test_random_values_lie_around_their_mean(kind: str, mean: float) -> None:
    kernel = dense_kernel({"type": kind, "mean": mean, "stddev": 0.1})
    assert kernel.mean() == pytest.approx(mean, abs=0.001)


@pytest.mark.parametrize(
    ("initializer", "value"), [("zeros", 0), ("ones", 1), ({"type": "constant", "value": 0.3}, 0.3)]
)
def test_constants(initializer: Any, value: float) -> None:
    assert np.array_equal(dense_kernel(initializer), np.full((INPUTS, UNITS), np.float32(value)))


def test_orthogonal_columns_have_the_length_of_the_gain() -> None:
    kernel = dense_kernel({"type": "orthogonal", "gain": 0.5}).astype(np.float64)
    assert np.allclose(kernel.T @ kernel, 0.25 * np.eye(UNITS), atol=1e-5)


def test_the_fan_of_a_convolution_counts_the_window() -> None:
    first = {"type": "conv2d", "filters": CHANNELS, "kernel_size": 1}
    layer = {"type": "conv2d", "filters": FILTERS, "kernel_size": [5, 7], "kernel_initializer": "lecun_uniform"}
    kernel = np.array(built(first, layer, "flatten", END).get_layer("conv2d_2").kernel)
    fan_in = 5 * 7 * CHANNELS
    assert prod(kernel.shape) == fan_in * FILTERS
    assert kernel.std() == pytest.approx(sqrt(1 / fan_in), rel=0.03)


def test_recurrent_weights_start_orthogonal_and_the_forget_gate_open() -> None:
    rows = {"type": "reshape", "target_shape": [28, 28]}
    kernel, recurrent, bias = built(rows, {"type": "lstm", "units": 16}, END).get_layer("lstm_1").get_weights()
    assert kernel.std() == pytest.approx(sqrt(2 / (28 + 64)), rel=0.1)
    assert np.allclose(recurrent @ recurrent.T, np.eye(16), atol=1e-5)
    assert bias.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32

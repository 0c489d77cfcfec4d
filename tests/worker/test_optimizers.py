"""Every optimizer of a spec is Keras's, with the spec's arguments."""

from typing import Any

import keras
import pytest

from models.spec import parse_spec
from worker.optimizers import build_optimizer

CLASSES = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}


def built(optimizer: Any, **rest: Any) -> Any:
    return build_optimizer(parse_spec({"dataset": "mnist", "optimizer": optimizer, **rest}))


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_defaults_are_keras_own(name: str) -> None:
    optimizer = built(name)
    assert type(optimizer) is CLASSES[name]
    assert optimizer.get_config() == CLASSES[name](name=optimizer.name).get_config()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sgd", {"learning_rate": 0.5, "momentum": 0.75, "nesterov": True, "clipnorm": 2.0}),
        ("adam", {"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 0.25, "amsgrad": True}),
        ("rmsprop", {"learning_rate": 0.5, "rho": 0.5, "momentum": 0.75, "epsilon": 0.25, "centered": True}),
        ("adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 0.25, "epsilon": 0.5, "clipvalue": 2.0}),
        ("adam", {"global_clipnorm": 2.0}),
    ],
)
def test_every_argument_reaches_keras(name: str, arguments: dict[str, Any]) -> None:
    config = built({"type": name, **arguments}).get_config()
    assert {key: config[key] for key in arguments} == arguments


def test_two_builds_share_nothing() -> None:
    assert built("adam") is not built("adam")


def test_float16_scales_the_loss() -> None:
    optimizer = built({"type": "adam", "learning_rate": 0.5}, precision="mixed_float16")
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(optimizer.inner_optimizer, keras.optimizers.Adam)
    optimizer.learning_rate = 0.25
    assert float(optimizer.inner_optimizer.learning_rate) == 0.25


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_other_formats_need_no_scaling(precision: str) -> None:
    assert type(built("adam", precision=precision)) is keras.optimizers.Adam

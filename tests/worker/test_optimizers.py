"""Every optimizer of a spec is Keras's, with the spec's arguments, and takes Keras's steps."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from models.spec import parse_spec, summarize
from tests.worker.spirals import BATCH, EXAMPLES, spiral_model, spiral_spec, trained_by_keras
from worker.chunks import Chunks, training_chunks
from worker.optimizers import build_optimizer

CLASSES = {
    "sgd": keras.optimizers.SGD,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
    "ftrl": keras.optimizers.Ftrl,
    "lion": keras.optimizers.Lion,
}
# What the language leaves out.
NOT_SAID = {
    "self",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "name",
    "kwargs",
}
BETAS = {"beta_1": 0.5, "beta_2": 0.75}
ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {"learning_rate": 0.5, "momentum": 0.75, "nesterov": True, "weight_decay": 0.1, "clipnorm": 0.1}),
    ("sgd", {"learning_rate": 0.5, "clipvalue": 0.05}),
    ("adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 0.25, "epsilon": 0.5, "clipvalue": 0.05}),
    ("adadelta", {"learning_rate": 0.5, "rho": 0.5, "epsilon": 0.25, "weight_decay": 0.1}),
    ("rmsprop", {"learning_rate": 0.05, "rho": 0.5, "momentum": 0.75, "epsilon": 0.25, "centered": True}),
    ("adam", {"learning_rate": 0.05, **BETAS, "epsilon": 0.25, "amsgrad": True, "global_clipnorm": 0.1}),
    ("adamw", {"learning_rate": 0.05, **BETAS, "epsilon": 0.25, "amsgrad": True, "weight_decay": 0.2}),
    ("adamax", {"learning_rate": 0.05, **BETAS, "epsilon": 0.25, "weight_decay": 0.1}),
    ("nadam", {"learning_rate": 0.05, **BETAS, "epsilon": 0.25, "clipnorm": 0.1}),
    (
        "ftrl",
        {
            "learning_rate": 0.05,
            "learning_rate_power": -0.25,
            "initial_accumulator_value": 0.5,
            "l1_regularization_strength": 0.01,
            "l2_regularization_strength": 0.02,
            "l2_shrinkage_regularization_strength": 0.03,
            "beta": 0.04,
        },
    ),
    ("lion", {"learning_rate": 0.05, **BETAS, "weight_decay": 0.1}),
]
IDS = [f"{name}-{list(arguments)[-1]}" for name, arguments in ARGUMENTS]


def built(optimizer: Any, **rest: Any) -> Any:
    return build_optimizer(parse_spec({"dataset": "mnist", "optimizer": optimizer, **rest}))


@pytest.mark.parametrize("name", list(CLASSES))
def test_names_and_defaults_are_those_of_keras_signature(name: str) -> None:
    signature = inspect.signature(CLASSES[name].__init__).parameters.values()
    theirs = {parameter.name: parameter.default for parameter in signature if parameter.name not in NOT_SAID}
    ours = parse_spec({"dataset": "mnist", "optimizer": name}).optimizer.model_dump(exclude={"type"})
    assert ours == theirs


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_defaults_are_keras_own(name: str) -> None:
    optimizer = built(name)
    assert type(optimizer) is CLASSES[name]
    assert optimizer.get_config() == CLASSES[name](name=optimizer.name).get_config()


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS, ids=IDS)
def test_every_argument_reaches_keras(name: str, arguments: dict[str, Any]) -> None:
    optimizer = built({"type": name, **arguments})
    assert optimizer.get_config() == CLASSES[name](name=optimizer.name, **arguments).get_config()


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS, ids=IDS)
def test_its_steps_are_keras_own(name: str, arguments: dict[str, Any]) -> None:
    """Three batches in the engine's loop, here not compiled, against three steps of Keras's own optimizer."""
    spec = spiral_spec(optimizer={"type": name, **arguments})
    model = spiral_model(spec)
    before = model.network.get_weights()
    model.train_step(next(iter(training_chunks(Chunks(EXAMPLES, BATCH, 3), 0, 0))))
    expected = trained_by_keras(spec, CLASSES[name](**arguments), batches=3)
    for first, mine, theirs in zip(before, model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)
        assert np.abs(mine - first).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "arguments"),
    [*((name, {}) for name in CLASSES), *ARGUMENTS],
    ids=[*CLASSES, *IDS],
)
def test_memory_counts_the_numbers_that_keras_keeps(name: str, arguments: dict[str, Any]) -> None:
    weight = keras.Variable(np.zeros((5, 7)))
    optimizer = CLASSES[name](**arguments)
    optimizer.build([weight])
    kept = sum(np.prod(variable.shape) for variable in optimizer.variables if len(variable.shape)) / 35
    spec = {"dataset": "mnist", "optimizer": {"type": name, **arguments}}
    mine, plain = summarize(parse_spec(spec)), summarize(parse_spec({"dataset": "mnist", "optimizer": "sgd"}))
    assert mine.memory_bytes - plain.memory_bytes == 4 * kept * mine.trainable_parameters


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

"""Specs written after the last change of a rule, and judged once: 13 with a known illness and 14 healthy ones."""

from collections.abc import Iterator

from examples.illnesses.specs import (
    FASHION,
    MNIST,
    Json,
    Planted,
    constant,
    conv,
    dense,
    job,
    normal,
    outputs,
    sgd,
    with_dropout,
)
from models.diagnoses import Verdict


def all_later() -> list[Planted]:
    """All of them, the ill ones first."""
    ill = [Planted(name, number, verdict, spec, True) for number, (verdict, name, spec) in enumerate(_ill(), start=1)]
    return ill + [Planted(name, number, None, spec, True) for number, (name, spec) in enumerate(_healthy(), start=1)]


def _by(kind: str, rate: float) -> Json:
    return {"type": kind, "learning_rate": rate}


def _ill() -> Iterator[tuple[Verdict, str, Json]]:
    few: Json = {"batch_size": 32, "data": {"validation": {"split": 0.02}}}
    pool: Json = {"type": "max_pooling2d"}
    network = dense(*[50] * 7, activation="sigmoid")
    yield "vanishing_gradients", "sigmoid x 7, momentum", job(FASHION, 3000, network, sgd(0.02, 0.9), 8)
    uniform = {"type": "random_uniform", "minval": -0.005, "maxval": 0.005}
    network = dense(*[80] * 8, activation="tanh", kernel_initializer=uniform)
    yield "vanishing_gradients", "tanh x 8, U(-0.005, 0.005)", job(MNIST, 3000, network, _by("adamax", 0.002), 6)
    yield "exploding_or_diverged", "lion, 0.5", job(MNIST, 3000, dense(100, 50), _by("lion", 0.5), 5)
    yield "exploding_or_diverged", "tanh, sgd 50", job(FASHION, 3000, dense(64, activation="tanh"), sgd(50.0), 5)
    network = dense(*[60] * 7, kernel_initializer=normal(0.8))
    yield "exploding_or_diverged", "relu x 7, N(0, 0.8)", job(FASHION, 3000, network, sgd(0.01), 5)
    network = [conv(8), conv(12, bias_initializer=constant(-8)), pool, *dense(32)]
    yield "dead_units", "second convolution, bias -8", job(MNIST, 3000, network, "adam", 5)
    network = dense(64, 64, kernel_initializer=constant(-0.01))
    yield "dead_units", "kernels of -0.01", job(FASHION, 3000, network, sgd(0.05), 5)
    network = dense(64, 64, activation="elu")
    yield "learning_rate_too_low", "adamw, 2e-7", job(MNIST, 3000, network, _by("adamw", 2e-7), 8)
    yield "learning_rate_too_low", "lenet5, momentum, 5e-7", job(FASHION, 3000, "lenet5", sgd(5e-7, 0.9), 6)
    yield "overfitting", "400 examples, 256 x 3", job(FASHION, 400, dense(256, 256, 256), "nadam", 40, **few)
    yield "overfitting", "250 examples, cnn", job(MNIST, 250, [conv(16), pool, *dense(100)], "rmsprop", 40, **few)
    yield "too_little_capacity", "two units at the end", job(MNIST, 4000, dense(100, 2), _by("adam", 0.002), 10)
    network = [{"type": "reshape", "target_shape": [28, 28]}, {"type": "gru", "units": 1}, *outputs()]
    yield "too_little_capacity", "gru of one unit", job(FASHION, 3000, network, _by("adam", 0.005), 8)


def _healthy() -> Iterator[tuple[str, Json]]:
    selu = dense(64, 64, 64, activation="selu", kernel_initializer="lecun_normal")
    yield "selu x 3", job(FASHION, 4000, selu, sgd(0.02), 6)
    yield "sigmoid x 2, adam", job(MNIST, 4000, dense(64, 64, activation="sigmoid"), "adam", 8)
    yield "sigmoid x 3, rmsprop", job(FASHION, 4000, dense(64, 64, 64, activation="sigmoid"), "rmsprop", 8)
    yield "adam 0.01", job(FASHION, 4000, dense(128), _by("adam", 0.01), 8)
    yield "sgd 0.5", job(MNIST, 4000, dense(128), sgd(0.5), 8)
    yield "sgd 0.001, momentum", job(MNIST, 4000, dense(128), sgd(0.001, 0.9), 4)
    yield "pixels 0 to 255, adam", job(MNIST, 4000, dense(64), "adam", 6, data={"scaling": "none"})
    standard = {"scaling": "standard"}
    yield "standard pixels, mse", job(FASHION, 4000, dense(64), "adam", 6, data=standard, loss="mean_squared_error")
    yield "batches of 500", job(FASHION, 5000, dense(64, 64), "adam", 8, batch_size=500)
    network = [conv(8), {"type": "max_pooling2d"}, *dense(32)]
    varied = {"augmentation": {"rotation": 0.05, "translation": 0.1}}
    yield "cnn, augmentation", job(MNIST, 3000, network, "adam", 5, data=varied)
    yield "6 units", job(MNIST, 4000, dense(6), _by("adam", 0.005), 10)
    yield "dropout 0.5, one-hot", job(MNIST, 4000, with_dropout(128, 128), "adam", 6, loss="categorical_crossentropy")
    yield "20 epochs", job(MNIST, 5000, dense(64), "adam", 20)
    penalised = dense(64, kernel_regularizer={"type": "l1", "l1": 0.001})
    yield "l1", job(FASHION, 4000, penalised, "adam", 8)

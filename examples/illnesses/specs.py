"""The 48 planted specs: 24 with a known illness, four of each verdict, and 24 that are healthy.

They are fixed together with their halves: the odd ones of each group were tuned on, the even ones only measured. Half
of all are on MNIST, half on Fashion-MNIST, in both halves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from models.diagnoses import Verdict

Json = dict[str, Any]
Group = Literal["ill", "healthy"]
MNIST, FASHION = "mnist", "fashion_mnist"


@dataclass(frozen=True)
class Planted:
    """One of them.

    Attributes:
        name: short and unique.
        number: within its verdict, or among the healthy ones; from 1.
        expected: the verdict that should come first; None for a healthy one, which should get none.
        spec: as it would be sent.
        later: whether it is none of the 48, but was written when the rules were there (`later`).
    """

    name: str
    number: int
    expected: Verdict | None
    spec: Json
    later: bool = False

    @property
    def group(self) -> Group:
        """Whether something is wrong with it."""
        return "healthy" if self.expected is None else "ill"

    @property
    def half(self) -> Literal["tuned", "measured", "later"]:
        """What the rules may know of it."""
        if self.later:
            return "later"
        return "tuned" if self.number % 2 else "measured"


def all_planted() -> list[Planted]:
    """All of them, the ill ones first, by verdict."""
    ill: dict[Verdict, Iterator[tuple[str, Json]]] = {
        "vanishing_gradients": _vanishing(),
        "exploding_or_diverged": _exploding(),
        "dead_units": _dead(),
        "learning_rate_too_low": _too_low(),
        "overfitting": _overfitting(),
        "too_little_capacity": _too_little(),
    }
    planted = [
        Planted(name, number, verdict, spec)
        for verdict, specs in ill.items()
        for number, (name, spec) in enumerate(specs, start=1)
    ]
    return planted + [Planted(name, number, None, spec) for number, (name, spec) in enumerate(_healthy(), start=1)]


def job(dataset: str, size: int, layers: list[Json] | str, optimizer: Json | str, epochs: int, **more: Any) -> Json:
    """A training of `size` examples; of `more`, `data` is for the data set."""
    network = {"preset": layers} if isinstance(layers, str) else {"layers": layers}
    data = {"name": dataset, "train_size": size, **more.pop("data", {})}
    return {"dataset": data, "network": network, "optimizer": optimizer, "epochs": epochs, **more}


def dense(*widths: int, activation: str = "relu", **more: Any) -> list[Json]:
    """Flatten, hidden layers of these widths, ten outputs by softmax; `more` is for the hidden layers."""
    hidden = [{"type": "dense", "units": units, "activation": activation, **more} for units in widths]
    return [{"type": "flatten"}, *hidden, *outputs()]


def outputs() -> list[Json]:
    """The last layer."""
    return [{"type": "dense", "units": 10, "activation": "softmax"}]


def conv(filters: int, activation: str = "relu", **more: Any) -> Json:
    """A convolution of 3x3."""
    return {"type": "conv2d", "filters": filters, "kernel_size": 3, "activation": activation, **more}


def normal(stddev: float, mean: float = 0.0) -> Json:
    """N(mean, stddev)."""
    return {"type": "random_normal", "mean": mean, "stddev": stddev}


def sgd(rate: float | Json, momentum: float = 0.0) -> Json:
    """Gradient descent."""
    return {"type": "sgd", "learning_rate": rate, "momentum": momentum}


def constant(value: float) -> Json:
    """The same initial value everywhere."""
    return {"type": "constant", "value": value}


def _vanishing() -> Iterator[tuple[str, Json]]:
    tiny = normal(0.01)
    yield (
        "sigmoid x 8, N(0, 0.01), adam",
        job(MNIST, 4000, dense(*[32] * 8, activation="sigmoid", kernel_initializer=tiny), "adam", 8),
    )
    yield (
        "tanh x 10, N(0, 0.01), sgd",
        job(FASHION, 4000, dense(*[64] * 10, activation="tanh", kernel_initializer=tiny), sgd(0.05), 8),
    )
    yield (
        "sigmoid x 6, glorot, sgd",
        job(FASHION, 4000, dense(*[64] * 6, activation="sigmoid"), sgd(0.05), 8),
    )
    truncated = {"type": "truncated_normal", "stddev": 0.02}
    yield (
        "tanh x 12, truncated 0.02, rmsprop",
        job(MNIST, 4000, dense(*[48] * 12, activation="tanh", kernel_initializer=truncated), "rmsprop", 8),
    )


def _exploding() -> Iterator[tuple[str, Json]]:
    yield "sgd x 1000", job(MNIST, 4000, dense(128, 64), sgd(10.0), 6)
    yield "adam x 1000", job(FASHION, 4000, dense(128), {"type": "adam", "learning_rate": 1.0}, 6)
    convolutional = [conv(16), {"type": "max_pooling2d"}, *dense(32)]
    yield "rmsprop x 1000, cnn", job(FASHION, 3000, convolutional, {"type": "rmsprop", "learning_rate": 1.0}, 6)
    yield (
        "sgd on pixels 0 to 255",
        job(MNIST, 4000, dense(256, 128), sgd(0.05, 0.9), 6, data={"scaling": "none"}),
    )


def _dead() -> Iterator[tuple[str, Json]]:
    yield "bias -10", job(MNIST, 4000, dense(128, bias_initializer=constant(-10)), "adam", 6)
    convolutional = [conv(16, bias_initializer=constant(-10)), {"type": "max_pooling2d"}, *dense(32)]
    yield "cnn, bias -10", job(FASHION, 3000, convolutional, "adam", 6)
    flatten, first, middle, *rest = dense(128, 64)
    buried = {**middle, "bias_initializer": constant(-6)}
    yield "bias -6 in the middle", job(FASHION, 4000, [flatten, first, buried, *rest], sgd(0.05), 6)
    yield "kernel N(-0.2, 0.05)", job(MNIST, 4000, dense(256, kernel_initializer=normal(0.05, -0.2)), sgd(0.1), 6)


def _too_low() -> Iterator[tuple[str, Json]]:
    yield "sgd / 10,000", job(MNIST, 4000, dense(128), sgd(1e-6), 8)
    yield "adam / 10,000", job(FASHION, 4000, dense(128, 64), {"type": "adam", "learning_rate": 1e-7}, 8)
    yield "adadelta at 0.001", job(FASHION, 4000, dense(128), "adadelta", 8)
    fading = {"type": "exponential_decay", "initial_learning_rate": 1e-4, "decay_steps": 3, "decay_rate": 0.5}
    yield "gone after 30 steps", job(MNIST, 4000, dense(128, 64), {"type": "nadam", "learning_rate": fading}, 8)


def _overfitting() -> Iterator[tuple[str, Json]]:
    # A tenth of all for validation would take longer than to train.
    few: Json = {"batch_size": 32, "data": {"validation": {"split": 0.02}}}
    yield "500 examples, 512 x 2", job(MNIST, 500, dense(512, 512), "adam", 30, **few)
    yield "500 examples, 768", job(FASHION, 500, dense(768), "adam", 40, **few)
    convolutional = [conv(24), {"type": "max_pooling2d"}, *dense(128)]
    yield "300 examples, cnn", job(FASHION, 300, convolutional, "adam", 30, **few)
    yield "200 examples, 1024", job(MNIST, 200, dense(1024), "rmsprop", 40, **few)


def _too_little() -> Iterator[tuple[str, Json]]:
    yield "one unit in the middle", job(MNIST, 5000, dense(128, 1, 128, activation="tanh"), "adam", 10)
    yield "one unit", job(FASHION, 5000, dense(1, activation="sigmoid"), {"type": "adam", "learning_rate": 0.005}, 10)
    convolutional: list[Json] = [conv(1, strides=2), {"type": "global_average_pooling2d"}, *outputs()]
    yield "one filter, averaged", job(FASHION, 4000, convolutional, {"type": "adam", "learning_rate": 0.005}, 10)
    rows: list[Json] = [{"type": "reshape", "target_shape": [28, 28]}, {"type": "lstm", "units": 1}, *outputs()]
    yield "lstm of one unit", job(MNIST, 3000, rows, {"type": "adam", "learning_rate": 0.005}, 8)


def _healthy() -> Iterator[tuple[str, Json]]:
    yield "mlp, adam", job(MNIST, 5000, "mlp", "adam", 5)
    yield "mlp, sgd 0.1", job(FASHION, 5000, "mlp", sgd(0.1), 6)
    yield "cnn, adam", job(FASHION, 3000, "cnn", "adam", 5)
    yield "cnn, rmsprop", job(MNIST, 3000, "cnn", "rmsprop", 4)
    yield "deep_mlp, nadam", job(MNIST, 5000, "deep_mlp", "nadam", 8)
    yield "relu x 8, he_normal", job(FASHION, 5000, dense(*[64] * 8, kernel_initializer="he_normal"), "adam", 8)
    yield "batch normalisation", job(FASHION, 5000, _normalised(128, 64), sgd(0.05, 0.9), 6)
    convolutional = [
        conv(16, "linear", use_bias=False),
        {"type": "batch_normalization"},
        {"type": "activation", "activation": "relu"},
        {"type": "max_pooling2d"},
        *dense(64),
    ]
    yield "cnn, batch normalisation, adamw", job(MNIST, 3000, convolutional, "adamw", 5)
    yield "sigmoid 64, sgd 0.1, slow", job(MNIST, 5000, dense(64, activation="sigmoid"), sgd(0.1), 8)
    yield "tanh 64, sgd 0.01, slow", job(FASHION, 5000, dense(64, activation="tanh"), sgd(0.01), 6)
    yield "softmax regression, adam", job(FASHION, 5000, "softmax_regression", "adam", 8)
    yield "softmax regression, sgd, slow", job(MNIST, 4000, "softmax_regression", sgd(0.01), 4)
    rows: Json = {"type": "reshape", "target_shape": [28, 28]}
    yield "lstm 32", job(MNIST, 3000, [rows, {"type": "lstm", "units": 32}, *outputs()], "adam", 6)
    yield "gru 24", job(FASHION, 3000, [rows, {"type": "gru", "units": 24}, *outputs()], "adam", 6)
    cosine = {"type": "cosine_decay", "initial_learning_rate": 0.002, "decay_steps": 500}
    yield "cosine to nothing", job(FASHION, 5000, dense(128), {"type": "adam", "learning_rate": cosine}, 8)
    steps = {
        "type": "exponential_decay",
        "initial_learning_rate": 0.2,
        "decay_steps": 79,
        "decay_rate": 0.4,
        "staircase": True,
    }
    yield "exponential steps", job(MNIST, 5000, dense(128, 64), sgd(steps), 10)
    yield "dropout 0.5, adamax", job(MNIST, 5000, with_dropout(256, 256), "adamax", 8)
    penalised = dense(128, activation="elu", kernel_regularizer={"type": "l2", "l2": 0.001})
    yield "l2, elu, adagrad", job(FASHION, 5000, penalised, {"type": "adagrad", "learning_rate": 0.05}, 8)
    yield "lenet5, adam", job(FASHION, 3000, "lenet5", "adam", 6)
    yield "leaky relu, adadelta 1", job(MNIST, 5000, dense(128, activation="leaky_relu"), _adadelta(1.0), 6)
    yield "one epoch", job(MNIST, 6000, "mlp", "adam", 1)
    warm = {
        "type": "cosine_decay",
        "initial_learning_rate": 0.0,
        "warmup_target": 0.2,
        "warmup_steps": 90,
        "decay_steps": 300,
    }
    yield "two hidden, warm-up", job(FASHION, 6000, dense(64, 64, activation="swish"), sgd(warm), 4)
    yield "a small network, 12 units", job(FASHION, 5000, dense(12), {"type": "adam", "learning_rate": 0.003}, 10)
    yield (
        "tanh 16, lion",
        job(MNIST, 5000, dense(16, activation="tanh"), {"type": "lion", "learning_rate": 0.0005}, 8),
    )


def _normalised(*widths: int) -> list[Json]:
    """Dense, batch normalisation, relu."""
    parts: list[Json] = [{"type": "flatten"}]
    for units in widths:
        parts += [{"type": "dense", "units": units, "use_bias": False}, {"type": "batch_normalization"}]
        parts.append({"type": "activation", "activation": "relu"})
    return parts + outputs()


def with_dropout(*widths: int) -> list[Json]:
    """Dense, relu, dropout of a half."""
    parts: list[Json] = [{"type": "flatten"}]
    for units in widths:
        parts += [{"type": "dense", "units": units, "activation": "relu"}, {"type": "dropout", "rate": 0.5}]
    return parts + outputs()


def _adadelta(rate: float) -> Json:
    return {"type": "adadelta", "learning_rate": rate}

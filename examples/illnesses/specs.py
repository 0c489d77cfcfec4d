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
    """

    name: str
    number: int
    expected: Verdict | None
    spec: Json

    @property
    def group(self) -> Group:
        """Whether something is wrong with it."""
        return "healthy" if self.expected is None else "ill"

    @property
    def half(self) -> Literal["tuned", "measured"]:
        """What the rules may know of it."""
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


def _job(dataset: str, size: int, layers: list[Json] | str, optimizer: Json | str, epochs: int, **more: Any) -> Json:
    network = {"preset": layers} if isinstance(layers, str) else {"layers": layers}
    data = {"name": dataset, "train_size": size, **more.pop("data", {})}
    return {"dataset": data, "network": network, "optimizer": optimizer, "epochs": epochs, **more}


def _dense(*widths: int, activation: str = "relu", **more: Any) -> list[Json]:
    """Flatten, hidden layers of these widths, ten outputs by softmax; `more` is for the hidden layers."""
    hidden = [{"type": "dense", "units": units, "activation": activation, **more} for units in widths]
    return [{"type": "flatten"}, *hidden, *_outputs()]


def _outputs() -> list[Json]:
    return [{"type": "dense", "units": 10, "activation": "softmax"}]


def _conv(filters: int, activation: str = "relu", **more: Any) -> Json:
    return {"type": "conv2d", "filters": filters, "kernel_size": 3, "activation": activation, **more}


def _normal(stddev: float, mean: float = 0.0) -> Json:
    return {"type": "random_normal", "mean": mean, "stddev": stddev}


def _sgd(rate: float | Json, momentum: float = 0.0) -> Json:
    return {"type": "sgd", "learning_rate": rate, "momentum": momentum}


def _constant(value: float) -> Json:
    return {"type": "constant", "value": value}


def _vanishing() -> Iterator[tuple[str, Json]]:
    tiny = _normal(0.01)
    yield (
        "sigmoid x 8, N(0, 0.01), adam",
        _job(MNIST, 4000, _dense(*[32] * 8, activation="sigmoid", kernel_initializer=tiny), "adam", 8),
    )
    yield (
        "tanh x 10, N(0, 0.01), sgd",
        _job(FASHION, 4000, _dense(*[64] * 10, activation="tanh", kernel_initializer=tiny), _sgd(0.05), 8),
    )
    yield (
        "sigmoid x 6, glorot, sgd",
        _job(FASHION, 4000, _dense(*[64] * 6, activation="sigmoid"), _sgd(0.05), 8),
    )
    truncated = {"type": "truncated_normal", "stddev": 0.02}
    yield (
        "tanh x 12, truncated 0.02, rmsprop",
        _job(MNIST, 4000, _dense(*[48] * 12, activation="tanh", kernel_initializer=truncated), "rmsprop", 8),
    )


def _exploding() -> Iterator[tuple[str, Json]]:
    yield "sgd x 1000", _job(MNIST, 4000, _dense(128, 64), _sgd(10.0), 6)
    yield "adam x 1000", _job(FASHION, 4000, _dense(128), {"type": "adam", "learning_rate": 1.0}, 6)
    convolutional = [_conv(16), {"type": "max_pooling2d"}, *_dense(32)]
    yield "rmsprop x 1000, cnn", _job(FASHION, 3000, convolutional, {"type": "rmsprop", "learning_rate": 1.0}, 6)
    yield (
        "sgd on pixels 0 to 255",
        _job(MNIST, 4000, _dense(256, 128), _sgd(0.05, 0.9), 6, data={"scaling": "none"}),
    )


def _dead() -> Iterator[tuple[str, Json]]:
    yield "bias -10", _job(MNIST, 4000, _dense(128, bias_initializer=_constant(-10)), "adam", 6)
    convolutional = [_conv(16, bias_initializer=_constant(-10)), {"type": "max_pooling2d"}, *_dense(32)]
    yield "cnn, bias -10", _job(FASHION, 3000, convolutional, "adam", 6)
    flatten, first, middle, *rest = _dense(128, 64)
    buried = {**middle, "bias_initializer": _constant(-6)}
    yield "bias -6 in the middle", _job(FASHION, 4000, [flatten, first, buried, *rest], _sgd(0.05), 6)
    yield "kernel N(-0.2, 0.05)", _job(MNIST, 4000, _dense(256, kernel_initializer=_normal(0.05, -0.2)), _sgd(0.1), 6)


def _too_low() -> Iterator[tuple[str, Json]]:
    yield "sgd / 10,000", _job(MNIST, 4000, _dense(128), _sgd(1e-6), 8)
    yield "adam / 10,000", _job(FASHION, 4000, _dense(128, 64), {"type": "adam", "learning_rate": 1e-7}, 8)
    yield "adadelta at 0.001", _job(FASHION, 4000, _dense(128), "adadelta", 8)
    fading = {"type": "exponential_decay", "initial_learning_rate": 1e-4, "decay_steps": 3, "decay_rate": 0.5}
    yield "gone after 30 steps", _job(MNIST, 4000, _dense(128, 64), {"type": "nadam", "learning_rate": fading}, 8)


def _overfitting() -> Iterator[tuple[str, Json]]:
    # A tenth of all for validation would take longer than to train.
    few: Json = {"batch_size": 32, "data": {"validation": {"split": 0.02}}}
    yield "500 examples, 512 x 2", _job(MNIST, 500, _dense(512, 512), "adam", 30, **few)
    yield "500 examples, 768", _job(FASHION, 500, _dense(768), "adam", 40, **few)
    convolutional = [_conv(24), {"type": "max_pooling2d"}, *_dense(128)]
    yield "300 examples, cnn", _job(FASHION, 300, convolutional, "adam", 30, **few)
    yield "200 examples, 1024", _job(MNIST, 200, _dense(1024), "rmsprop", 40, **few)


def _too_little() -> Iterator[tuple[str, Json]]:
    flatten, first, middle, last, *outputs = _dense(128, 1, 128, activation="tanh")
    yield "one unit in the middle", _job(MNIST, 5000, [flatten, first, middle, last, *outputs], "adam", 10)
    yield "one unit", _job(FASHION, 5000, _dense(1, activation="sigmoid"), {"type": "adam", "learning_rate": 0.005}, 10)
    convolutional: list[Json] = [_conv(1, strides=2), {"type": "global_average_pooling2d"}, *_outputs()]
    yield "one filter, averaged", _job(FASHION, 4000, convolutional, {"type": "adam", "learning_rate": 0.005}, 10)
    rows: list[Json] = [{"type": "reshape", "target_shape": [28, 28]}, {"type": "lstm", "units": 1}, *_outputs()]
    yield "lstm of one unit", _job(MNIST, 3000, rows, {"type": "adam", "learning_rate": 0.005}, 8)


def _healthy() -> Iterator[tuple[str, Json]]:
    yield "mlp, adam", _job(MNIST, 5000, "mlp", "adam", 5)
    yield "mlp, sgd 0.1", _job(FASHION, 5000, "mlp", _sgd(0.1), 6)
    yield "cnn, adam", _job(FASHION, 3000, "cnn", "adam", 5)
    yield "cnn, rmsprop", _job(MNIST, 3000, "cnn", "rmsprop", 4)
    yield "deep_mlp, nadam", _job(MNIST, 5000, "deep_mlp", "nadam", 8)
    yield "relu x 8, he_normal", _job(FASHION, 5000, _dense(*[64] * 8, kernel_initializer="he_normal"), "adam", 8)
    yield "batch normalisation", _job(FASHION, 5000, _normalised(128, 64), _sgd(0.05, 0.9), 6)
    convolutional = [
        _conv(16, "linear", use_bias=False),
        {"type": "batch_normalization"},
        {"type": "activation", "activation": "relu"},
        {"type": "max_pooling2d"},
        *_dense(64),
    ]
    yield "cnn, batch normalisation, adamw", _job(MNIST, 3000, convolutional, "adamw", 5)
    yield "sigmoid 64, sgd 0.1, slow", _job(MNIST, 5000, _dense(64, activation="sigmoid"), _sgd(0.1), 8)
    yield "tanh 64, sgd 0.01, slow", _job(FASHION, 5000, _dense(64, activation="tanh"), _sgd(0.01), 6)
    yield "softmax regression, adam", _job(FASHION, 5000, "softmax_regression", "adam", 8)
    yield "softmax regression, sgd, slow", _job(MNIST, 4000, "softmax_regression", _sgd(0.01), 4)
    rows: Json = {"type": "reshape", "target_shape": [28, 28]}
    yield "lstm 32", _job(MNIST, 3000, [rows, {"type": "lstm", "units": 32}, *_outputs()], "adam", 6)
    yield "gru 24", _job(FASHION, 3000, [rows, {"type": "gru", "units": 24}, *_outputs()], "adam", 6)
    cosine = {"type": "cosine_decay", "initial_learning_rate": 0.002, "decay_steps": 500}
    yield "cosine to nothing", _job(FASHION, 5000, _dense(128), {"type": "adam", "learning_rate": cosine}, 8)
    steps = {
        "type": "exponential_decay",
        "initial_learning_rate": 0.2,
        "decay_steps": 79,
        "decay_rate": 0.4,
        "staircase": True,
    }
    yield "exponential steps", _job(MNIST, 5000, _dense(128, 64), _sgd(steps), 10)
    yield "dropout 0.5, adamax", _job(MNIST, 5000, _with_dropout(256, 256), "adamax", 8)
    penalised = _dense(128, activation="elu", kernel_regularizer={"type": "l2", "l2": 0.001})
    yield "l2, elu, adagrad", _job(FASHION, 5000, penalised, {"type": "adagrad", "learning_rate": 0.05}, 8)
    yield "lenet5, adam", _job(FASHION, 3000, "lenet5", "adam", 6)
    yield "leaky relu, adadelta 1", _job(MNIST, 5000, _dense(128, activation="leaky_relu"), _adadelta(1.0), 6)
    yield "one epoch", _job(MNIST, 6000, "mlp", "adam", 1)
    warm = {
        "type": "cosine_decay",
        "initial_learning_rate": 0.0,
        "warmup_target": 0.2,
        "warmup_steps": 90,
        "decay_steps": 300,
    }
    yield "two hidden, warm-up", _job(FASHION, 6000, _dense(64, 64, activation="swish"), _sgd(warm), 4)
    yield "a small network, 12 units", _job(FASHION, 5000, _dense(12), {"type": "adam", "learning_rate": 0.003}, 10)
    yield (
        "tanh 16, lion",
        _job(MNIST, 5000, _dense(16, activation="tanh"), {"type": "lion", "learning_rate": 0.0005}, 8),
    )


def _normalised(*widths: int) -> list[Json]:
    """Dense, batch normalisation, relu."""
    parts: list[Json] = [{"type": "flatten"}]
    for units in widths:
        parts += [{"type": "dense", "units": units, "use_bias": False}, {"type": "batch_normalization"}]
        parts.append({"type": "activation", "activation": "relu"})
    return parts + _outputs()


def _with_dropout(*widths: int) -> list[Json]:
    parts: list[Json] = [{"type": "flatten"}]
    for units in widths:
        parts += [{"type": "dense", "units": units, "activation": "relu"}, {"type": "dropout", "rate": 0.5}]
    return parts + _outputs()


def _adadelta(rate: float) -> Json:
    return {"type": "adadelta", "learning_rate": rate}

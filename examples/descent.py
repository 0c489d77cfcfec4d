"""How optimizers walk downhill: Keras's own, on a narrow bowl, on a curve with several minima, and with three rates.

    python examples/descent.py [picture.png]

Draws one picture and prints its figures as JSON. Nothing is trained; each optimizer moves one point, step by step.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Function = Callable[[Any], Any]
Path2 = np.ndarray[Any, np.dtype[np.float64]]

BOWL_START, BOWL_STEPS = (-7.0, 2.0), 60
CURVE_START, CURVE_STEPS = (4.4,), 80
CLOSE = 0.05

BOWL_WALKERS: dict[str, keras.optimizers.Optimizer] = {
    "sgd": keras.optimizers.SGD(0.95),
    "momentum": keras.optimizers.SGD(0.1, momentum=0.9),
    "adagrad": keras.optimizers.Adagrad(1.5),
    "rmsprop": keras.optimizers.RMSprop(0.3),
    "adam": keras.optimizers.Adam(0.5),
}
CURVE_WALKERS: dict[str, keras.optimizers.Optimizer] = {
    "sgd": keras.optimizers.SGD(0.1),
    "momentum": keras.optimizers.SGD(0.1, momentum=0.9),
    "adagrad": keras.optimizers.Adagrad(0.5),
    "rmsprop": keras.optimizers.RMSprop(0.1),
    "adam": keras.optimizers.Adam(0.3),
}
RATES = {"too_small": 0.005, "right": 0.8, "too_large": 1.02}


def bowl(point: Any) -> Any:
    """f(x, y) = x²/20 + y²: twenty times as steep across as along."""
    return point[0] ** 2 / 20 + point[1] ** 2


def curve(point: Any) -> Any:
    """f(x) = x²/20 - cos(2x) / 4: the lowest of its minima is at 0."""
    return point[0] ** 2 / 20 - tf.cos(2 * point[0]) / 4


def walk(optimizer: keras.optimizers.Optimizer, function: Function, start: tuple[float, ...], steps: int) -> Path2:
    """Where the point is before each step and after the last: (steps + 1, dimensions)."""
    point = tf.Variable(start, dtype=tf.float32)
    places = [point.numpy()]
    for _ in range(steps):
        with tf.GradientTape() as tape:
            height = function(point)
        optimizer.apply_gradients([(tape.gradient(height, point), point)])
        places.append(point.numpy())
    return np.asarray(places, np.float64)


def heights(function: Function, places: Path2) -> Path2:
    """The function's value at each place."""
    return np.asarray(function(tf.constant(places.T)), np.float64)


def figures_of(places: Path2, values: Path2) -> dict[str, float | int | None]:
    """How a walk went: the last height, the first step from which on it stays close to the bottom, sides changed."""
    far = np.flatnonzero(values > CLOSE)
    settled = int(far[-1]) + 1 if len(far) else 0
    across = places[:, -1]
    return {
        "last": float(values[-1]),
        "settled": settled if settled < len(values) else None,
        "turns": int(np.sum(across[1:] * across[:-1] < 0)),
    }


def draw_bowl(axes: Axes, walks: dict[str, Path2]) -> None:
    """The walks over the bowl's contour lines."""
    x, y = np.meshgrid(np.linspace(-8, 8, 200), np.linspace(-3, 3, 120))
    axes.contour(x, y, bowl(np.stack([x, y])), levels=14, colors="0.8", linewidths=0.6)
    for name, places in walks.items():
        axes.plot(*places.T, marker=".", markersize=4, linewidth=1, label=name)
    axes.set(title="A narrow bowl, x²/20 + y²", xlabel="x", ylabel="y", xlim=(-8, 8), ylim=(-3, 3))
    axes.legend(fontsize=7, loc="upper right")


def draw_curve(axes: Axes, walks: dict[str, Path2]) -> None:
    """The walks on the curve, each lifted a little so that all can be seen."""
    x = np.linspace(-5, 5, 400)
    axes.plot(x, heights(curve, x[:, None]), color="0.7", linewidth=1)
    for n, (name, places) in enumerate(walks.items(), start=1):
        axes.plot(places[:, 0], heights(curve, places) + 0.08 * n, marker=".", markersize=4, linewidth=0.7, label=name)
    axes.set(title="Several minima, x²/20 - cos(2x)/4", xlabel="x")
    axes.legend(fontsize=7, loc="upper center")


def draw_rates(axes: Axes, walks: dict[str, Path2]) -> None:
    """Height over steps for each learning rate."""
    for name, places in walks.items():
        axes.plot(heights(bowl, places), label=f"{RATES[name]:g}, {name.replace('_', ' ')}")
    axes.set(title="SGD on the bowl with three rates", xlabel="step", ylabel="height", yscale="log")
    axes.legend(fontsize=7)


def main(picture: Path) -> None:
    """Walk, draw, print."""
    on_bowl = {name: walk(each, bowl, BOWL_START, BOWL_STEPS) for name, each in BOWL_WALKERS.items()}
    on_curve = {name: walk(each, curve, CURVE_START, CURVE_STEPS) for name, each in CURVE_WALKERS.items()}
    rates = {name: walk(keras.optimizers.SGD(rate), bowl, BOWL_START, BOWL_STEPS) for name, rate in RATES.items()}

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    draw_bowl(left, on_bowl)
    draw_curve(middle, on_curve)
    draw_rates(right, rates)
    figure.savefig(picture, dpi=110)

    told = {
        "bowl": {name: figures_of(places, heights(bowl, places)) for name, places in on_bowl.items()},
        "curve": {
            name: {"last_x": float(places[-1, 0]), "last": float(heights(curve, places)[-1])}
            for name, places in on_curve.items()
        },
        "rate": {name: figures_of(places, heights(bowl, places)) for name, places in rates.items()},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("descent.png"))

"""Every activation of the job language beside its derivative, which tf.GradientTape computes.

    python examples/activations.py [picture.png]

Draws one picture and prints its figures as JSON: the derivative at 0 and at its largest, and how much of it is left at
-4 and 4, where a saturated unit hardly learns.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Values = np.ndarray[Any, np.dtype[np.float64]]
Activation = Callable[[Any], Any]


def first_of_two(x: Any) -> Any:
    """Softmax needs company: its first output for the inputs (x, 0)."""
    return keras.ops.softmax(tf.stack([x, tf.zeros_like(x)], axis=-1))[..., 0]


ACTIVATIONS: dict[str, Activation] = {
    "linear": keras.activations.linear,
    "sigmoid": keras.activations.sigmoid,
    "tanh": keras.activations.tanh,
    "relu": keras.activations.relu,
    "leaky_relu": keras.activations.leaky_relu,
    "elu": keras.activations.elu,
    "selu": keras.activations.selu,
    "softplus": keras.activations.softplus,
    "swish": keras.activations.silu,
    "gelu": keras.activations.gelu,
    "softmax": first_of_two,
}


def with_derivative(activation: Activation, x: Values) -> tuple[Values, Values]:
    """The activation's values and derivatives at `x`, both of its shape."""
    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = activation(inputs)
    return np.asarray(outputs, np.float64), np.asarray(tape.gradient(outputs, inputs), np.float64)


def main(picture: Path) -> None:
    """Compute, draw, print."""
    x = np.linspace(-5, 5, 1001)
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    every_axes = figure.subplots(3, 4).ravel()
    told = {}
    for axes, (name, activation) in zip(every_axes, ACTIVATIONS.items(), strict=False):
        values, slopes = with_derivative(activation, x)
        axes.axhline(0, color="0.85", linewidth=0.8)
        axes.plot(x, values, label="value")
        axes.plot(x, slopes, linestyle="--", label="derivative")
        axes.set(title="softmax of (x, 0), first" if name == "softmax" else name, ylim=(-1.6, 3))
        told[name] = {
            "slope_at_0": float(slopes[500]),
            "largest_slope": float(slopes.max()),
            "slope_at_-4": float(slopes[100]),
            "slope_at_4": float(slopes[900]),
        }
    every_axes[0].legend(fontsize=8)
    for axes in every_axes[len(ACTIVATIONS) :]:
        axes.set_axis_off()
    figure.savefig(picture, dpi=100)
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("activations.png"))

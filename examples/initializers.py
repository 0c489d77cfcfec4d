"""Samples of every initializer of the job language, with the spread that its formula promises.

    python examples/initializers.py [picture.png]

The kernel has 256 inputs and 128 outputs. Draws one picture and prints, for each, the expected and the measured
standard deviation as JSON. Formulas: Glorot and Bengio 2010, He et al. 2015, and the Keras documentation; Keras divides
the deviation of its truncated normals by 0.8796 so that what is left after the cut has the promised spread, but not for
`truncated_normal` itself.
"""

import json
import math
import sys
from pathlib import Path

import keras
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INPUTS, OUTPUTS = 256, 128
SEED = 1
# The deviation of a standard normal that is cut at -2 and 2.
CUT = 0.87962566103423978

INITIALIZERS: dict[str, tuple[keras.initializers.Initializer, float]] = {
    "random_normal": (keras.initializers.RandomNormal(stddev=0.05, seed=SEED), 0.05),
    "random_uniform": (keras.initializers.RandomUniform(-0.05, 0.05, seed=SEED), 0.05 / math.sqrt(3)),
    "truncated_normal": (keras.initializers.TruncatedNormal(stddev=0.05, seed=SEED), 0.05 * CUT),
    "glorot_normal": (keras.initializers.GlorotNormal(seed=SEED), math.sqrt(2 / (INPUTS + OUTPUTS))),
    "glorot_uniform": (keras.initializers.GlorotUniform(seed=SEED), math.sqrt(2 / (INPUTS + OUTPUTS))),
    "he_normal": (keras.initializers.HeNormal(seed=SEED), math.sqrt(2 / INPUTS)),
    "he_uniform": (keras.initializers.HeUniform(seed=SEED), math.sqrt(2 / INPUTS)),
    "lecun_normal": (keras.initializers.LecunNormal(seed=SEED), math.sqrt(1 / INPUTS)),
    "lecun_uniform": (keras.initializers.LecunUniform(seed=SEED), math.sqrt(1 / INPUTS)),
    # Uniform between -1/sqrt(inputs) and 1/sqrt(inputs), the "standard" choice of older texts.
    "variance_scaling": (
        keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=SEED),
        1 / math.sqrt(3 * INPUTS),
    ),
    # Its columns have length 1, so 256 squares add up to 1.
    "orthogonal": (keras.initializers.Orthogonal(seed=SEED), 1 / math.sqrt(INPUTS)),
    "zeros": (keras.initializers.Zeros(), 0.0),
    "ones": (keras.initializers.Ones(), 0.0),
    "constant": (keras.initializers.Constant(0.1), 0.0),
}


def main(picture: Path) -> None:
    """Sample, draw, print."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    told = {}
    every_axes = figure.subplots(4, 4).ravel()
    for axes, (name, (initializer, expected)) in zip(every_axes, INITIALIZERS.items(), strict=False):
        sample = np.asarray(initializer((INPUTS, OUTPUTS)), np.float64).ravel()
        axes.hist(sample, bins=np.linspace(-0.3, 0.3, 61) if expected else 21, color="tab:blue")
        for edge in (-expected, expected) if expected else ():
            axes.axvline(edge, color="tab:red", linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.set_yticks([])
        told[name] = {"expected": expected, "measured": float(sample.std()), "mean": float(sample.mean())}
    for axes in every_axes[len(INITIALIZERS) :]:
        axes.set_axis_off()
    figure.suptitle("Samples of a 256 x 128 kernel; red: one expected standard deviation", fontsize=10)
    figure.savefig(picture, dpi=100)
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("initializers.png"))

"""How a billionth grows: the spiral's network trained twice at a constant rate, from almost the same weights.

    python examples/chaos.py [picture.png]

Draws one picture and prints its figures as JSON. It computes in NumPy and double precision, so that nothing but the
initial weights differs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.synthetic import spiral

Array = npt.NDArray[np.float64]
UNITS, CLASSES, STDDEV = 64, 3, 0.01
RATE, STEPS, EVERY = 1.0, 10_001, 20
FACTOR = 1 + 1e-9


def train(factor: float) -> list[tuple[float, float, Array]]:
    """Accuracy, loss and all weights, every 20 steps of descent on the initial weights (seed 0) times `factor`."""
    points, labels = spiral(100, CLASSES, 0)
    points = points.astype(np.float64)
    rows, wanted = np.arange(len(labels)), np.eye(CLASSES)[labels]
    draw = np.random.default_rng(0)
    hidden = STDDEV * draw.standard_normal((2, UNITS)) * factor
    outer = STDDEV * draw.standard_normal((UNITS, CLASSES)) * factor
    hidden_bias, outer_bias = np.zeros(UNITS), np.zeros(CLASSES)
    kept = []
    for step in range(STEPS):
        values = np.maximum(points @ hidden + hidden_bias, 0)
        scores = values @ outer + outer_bias
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        if step % EVERY == 0:
            loss = -np.log(np.maximum(shares[rows, labels], 1e-300)).mean()
            accuracy = (shares.argmax(axis=1) == labels).mean()
            kept.append((float(accuracy), float(loss), np.concatenate([hidden.ravel(), outer.ravel()])))
        slope = (shares - wanted) / len(labels)
        back = (slope @ outer.T) * (values > 0)
        outer -= RATE * values.T @ slope
        outer_bias -= RATE * slope.sum(axis=0)
        hidden -= RATE * points.T @ back
        hidden_bias -= RATE * back.sum(axis=0)
    return kept


def main(picture: Path) -> None:
    """Draw both runs and the distance between their weights; print how both end."""
    one, other = train(1.0), train(FACTOR)
    distance = [float(np.linalg.norm(a[2] - b[2]) / np.linalg.norm(a[2])) for a, b in zip(one, other, strict=True)]
    epochs = [EVERY * n for n in range(len(one))]
    figure = Figure(figsize=(10, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for run, label in ((one, "the weights as drawn"), (other, "the same times 1 + 1e-9")):
        left.plot(epochs, [row[1] for row in run], label=label, linewidth=0.9)
    left.set(title="loss", xlabel="epoch")
    left.legend(fontsize=8)
    right.plot(epochs, distance, linewidth=1.2)
    right.set(title="relative distance between the weights", xlabel="epoch", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=100)
    apart = next((epoch for epoch, far in zip(epochs, distance, strict=True) if far > 0.01), None)
    told = {"one_percent_apart_at": apart, "distance_at_the_end": distance[-1]}
    print(json.dumps({"as_drawn": end(one), "scaled": end(other)} | told))


def end(run: list[tuple[float, float, Array]]) -> dict[str, Any]:
    """Accuracy and loss at the end of a run, and how far the loss ranged over its last 1,000 epochs."""
    last = [row[1] for row in run[-1000 // EVERY :]]
    return {"accuracy": run[-1][0], "loss": run[-1][1], "late_loss": {"least": min(last), "greatest": max(last)}}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("chaos.png"))

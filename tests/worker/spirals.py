"""A tiny problem for whole trainings: points on a spiral, a network of 22 weights, and Keras's own steps beside it."""

from typing import Any

import keras
import numpy as np

from models.spec import JobSpec, parse_spec
from worker.data import Split
from worker.plan import PLAIN, Plan
from worker.training import ResidentModel, build_model

EXAMPLES, BATCH = 50, 8


def spirals() -> Split:
    """50 points of three classes to train on, 10 to test."""
    rng = np.random.default_rng(11)
    points = rng.normal(0, 1, (EXAMPLES + 10, 2)).astype(np.float32)
    labels = (np.arctan2(points[:, 1], points[:, 0]) // 2.1 + 2).astype(np.int64).clip(0, 2)
    return Split(points[:EXAMPLES], labels[:EXAMPLES], None, None, points[EXAMPLES:], labels[EXAMPLES:])


SPIRALS = spirals()


def spiral_spec(**changes: Any) -> JobSpec:
    layers = [{"type": "dense", "units": 4, "activation": "tanh"}, {"type": "dense", "units": 3}]
    return parse_spec({"dataset": "spiral", "network": {"layers": layers}, "batch_size": BATCH, **changes})


def spiral_model(spec: JobSpec, plan: Plan = PLAIN) -> ResidentModel:
    return build_model(spec, SPIRALS, (1.0, 0.0), plan)


def trained_by_keras(spec: JobSpec, optimizer: keras.optimizers.Optimizer, batches: int) -> list[np.ndarray]:
    """The weights after so many batches, taken in the engine's order one at a time by Keras with its own optimizer."""
    model = spiral_model(spec)
    model.compile(optimizer=optimizer, loss=model.loss)
    size = EXAMPLES if spec.batch_size == "full" else spec.batch_size
    done, epoch = 0, 0
    while done < batches:
        order = np.random.default_rng((spec.seed, epoch)).permutation(EXAMPLES)
        for start in range(0, EXAMPLES, size):
            if done < batches:
                rows = order[start : start + size]
                keras.Model.train_step(model, (SPIRALS.x_train[rows], SPIRALS.y_train[rows]))
                done += 1
        epoch += 1
    return model.network.get_weights()

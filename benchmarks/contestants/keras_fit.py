"""Stock Keras, as a user would write it: `model.fit` over float32 images in memory."""

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.cases import CASES, IMAGE, Case
from benchmarks.contestants.turn_callback import turn_callback
from benchmarks.protocol import Data, Task, Turns

LAYERS: dict[str, Any] = {
    "flatten": keras.layers.Flatten,
    "dense": keras.layers.Dense,
    "conv2d": keras.layers.Conv2D,
    "max_pooling2d": keras.layers.MaxPooling2D,
    "dropout": keras.layers.Dropout,
}


def main() -> None:
    """Train as the task says, an epoch a turn."""
    turns, task = Turns(), Task.from_arguments()
    case, data = CASES[task.case], Data.read(task.data)
    keras.utils.set_random_seed(task.seed)
    model = build(case)
    model.compile(
        optimizer=keras.optimizers.Adam(0.001),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=task.steps_per_execution,
    )
    x_train, x_val = (_as_floats(images) for images in (data.x_train, data.x_val))
    turns.ready()
    # The progress bar is left out, which is in favour of `fit`.
    model.fit(
        x_train,
        data.y_train,
        batch_size=case.batch_size,
        epochs=task.epochs,
        validation_data=(x_val, data.y_val),
        shuffle=True,
        callbacks=[turn_callback(turns)],
        verbose=0,
    )
    turns.finish(os.cpu_count() or 1, {"keras": keras.__version__, "tensorflow": tf.__version__})


def build(case: Case) -> Any:
    """The network, from floats between 0 and 1 to probabilities."""
    layers = []
    for layer in case.layers:
        arguments = {name: value for name, value in layer.items() if name != "type"}
        layers.append(LAYERS[layer["type"]](**arguments))
    return keras.Sequential([keras.Input(IMAGE), *layers])


def _as_floats(images: np.ndarray) -> np.ndarray:
    return (images.reshape(-1, *IMAGE) / 255).astype(np.float32)


if __name__ == "__main__":
    main()

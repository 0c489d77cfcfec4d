"""Taking turns inside Keras's `fit`."""

from typing import Any

import keras

from benchmarks.protocol import Turns


def turn_callback(turns: Turns) -> Any:
    """A callback whose epochs wait for their turn before they begin; `fit` validates before an epoch ends."""

    def end(epoch: int, logs: dict[str, Any]) -> None:
        turns.end(*(float(logs[name]) for name in ("loss", "val_loss", "val_accuracy")))

    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: turns.begin(), on_epoch_end=end)

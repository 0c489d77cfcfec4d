"""What watches a training: early stopping and the plateau rule, with the arguments of Keras's callbacks."""

from typing import Annotated, Literal

from pydantic import Field

from models.spec.base import Part
from models.spec.metrics_direction import higher_is_better

Monitor = Annotated[str, Field(max_length=64, examples=["val_loss", "val_accuracy", "loss", "accuracy"])]
Patience = Annotated[int, Field(ge=0, le=100_000)]
Mode = Literal["auto", "min", "max"]


class EarlyStopping(Part):
    """Stop when a figure no longer gets better: the arguments of Keras's EarlyStopping."""

    monitor: Monitor = "val_loss"
    """The figure."""
    patience: Patience = 0
    """Epochs without an improvement that are borne."""
    mode: Mode = "auto"
    """Whether better is lower or higher; `auto` goes by the figure: losses and errors fall, everything else rises."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """The smallest change that counts."""
    baseline: float | None = None
    """A value that the figure must get better than within `patience` epochs; null for none."""
    restore_best_weights: bool = False
    """Whether the weights of the best epoch are kept rather than the last."""
    start_from_epoch: Patience = 0
    """Epochs before it begins to watch."""


class ReduceOnPlateau(Part):
    """Lower the learning rate when a figure no longer gets better: the arguments of Keras's ReduceLROnPlateau."""

    monitor: Monitor = "val_loss"
    """The figure."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What the rate is multiplied by."""
    patience: Patience = 10
    """Epochs without an improvement that are borne."""
    mode: Mode = "auto"
    """Whether better is lower or higher; `auto` goes by the figure: losses and errors fall, everything else rises."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0001
    """The smallest change that counts."""
    cooldown: Patience = 0
    """Epochs to wait after a change."""
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    """The rate never goes below."""


def rises(watcher: EarlyStopping | ReduceOnPlateau) -> bool:
    """Whether the figure that `watcher` monitors is better when higher."""
    return higher_is_better(watcher.monitor) if watcher.mode == "auto" else watcher.mode == "max"

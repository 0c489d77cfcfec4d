"""What a diagnosis goes by: the epochs of a job as far as it has come, with what was seen of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.diagnoses import LayerSigns


@dataclass(frozen=True)
class EpochSigns:
    """One epoch.

    Attributes:
        epoch: counted from 1.
        learning_rate: that of its last batch.
        metrics: by Keras's names, those of validation with `val_`; a number may be infinite or NaN.
        layers: the signs of every layer that learns, in the order of the network; None where nobody looked.
    """

    epoch: int
    learning_rate: float
    metrics: dict[str, float]
    layers: Sequence[LayerSigns] | None = None

"""What a diagnosis goes by: the epochs of a job as far as it has come, with what was seen of its layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.diagnoses import Finding, LayerSigns


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


@dataclass(frozen=True)
class Observations:
    """What is to be put on record: the signs of every layer by epoch, and what was found."""

    signs: Mapping[int, Sequence[LayerSigns]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()

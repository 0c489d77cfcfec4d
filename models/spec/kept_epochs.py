"""Which epochs of a job leave their weights, so that another job can go on from there."""

from math import ceil

from models.spec.data import shape_of
from models.spec.job import JobSpec
from models.spec.shapes import trace

MOST_EPOCHS = 20
MOST_BYTES = 64_000_000  # of one job's weights in all


def keeps_weights(spec: JobSpec, epoch: int) -> bool:
    """Whether the weights after `epoch`, counted from 1, are kept.

    Those of every epoch are while there are at most 20 and 64 MB of them in all, else of every n-th, evenly. The last
    epoch's always are; which one that is early stopping decides.
    """
    return epoch % kept_every(spec) == 0 or epoch == spec.epochs


def kept_every(spec: JobSpec) -> int:
    """The weights of every n-th epoch are kept: this n."""
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    size = 4 * sum(layer.parameters for layer in layers)
    return ceil(spec.epochs / max(1, min(MOST_EPOCHS, MOST_BYTES // max(size, 1))))


def file_of(epoch: int) -> str:
    """The artifact that has the weights after `epoch`."""
    return f"epoch-{epoch}.npz"

"""Which epochs of a job leave their weights, so that another job can go on from there."""

from math import ceil

from models.spec.data import shape_of
from models.spec.job import JobSpec
from models.spec.shapes import trace

MOST_EPOCHS = 20
MOST_BYTES = 64_000_000  # of one job's weights in all


def kept_every(spec: JobSpec, epochs: int | None = None) -> int:
    """The weights of every n-th epoch, counted from 1, are kept: this n, for so many epochs, else the spec's.

    It is 1 while there are at most 20 epochs and 64 MB of weights in all. Those of the last epoch are always kept;
    which one that is early stopping decides.
    """
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    size = 4 * sum(layer.parameters for layer in layers)
    return ceil((epochs or spec.epochs) / max(1, min(MOST_EPOCHS, MOST_BYTES // max(size, 1))))


def file_of(epoch: int) -> str:
    """The artifact that has the weights after `epoch`."""
    return f"epoch-{epoch}.npz"

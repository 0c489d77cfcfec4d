"""What the arithmetic alone would take: the operations of an epoch at the rate of this machine's matrix products."""

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.cases import Case, Product, epoch_operations, products

CUBE: Product = (2048, 2048, 2048)
# Long enough that the fastest repeat was not disturbed, short enough to be measured anew for each case.
SECONDS_A_SHAPE = 2.0


@dataclass(frozen=True)
class Floor:
    """Operations of an epoch, and the quickest rate seen, in float32; `rates` has each shape's own.

    bfloat16 has a higher rate where the processor has it, so it may go below this floor.
    """

    operations: int
    rates: dict[str, float]

    @property
    def seconds(self) -> float:
        """The epoch at the best rate."""
        return self.operations / max(self.rates.values())


def measure_floor(case: Case, trained: int, validated: int) -> Floor:
    """Multiply matrices of the case's own shapes and a cube, and count the case's operations."""
    measured = {" x ".join(map(str, shape)): rate(shape) for shape in (*products(case), CUBE)}
    return Floor(epoch_operations(case, trained, validated), measured)


def rate(shape: Product) -> float:
    """Operations a second of the quickest of several float32 products of one shape, by NumPy's BLAS on all cores."""
    rows, shared, columns = shape
    random = np.random.default_rng(0)
    left = random.random((rows, shared), np.float32)
    right = random.random((shared, columns), np.float32)
    product = left @ right
    quickest, until = float("inf"), time.perf_counter() + SECONDS_A_SHAPE
    while time.perf_counter() < until:
        began = time.perf_counter()
        np.matmul(left, right, out=product)
        quickest = min(quickest, time.perf_counter() - began)
    return 2 * rows * shared * columns / quickest

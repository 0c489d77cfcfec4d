"""Data sets that are computed from a seed: the spiral and the noisy polynomial.

Numbers come from `numpy.random.RandomState(seed)`, whose stream NumPy has frozen for good (NEP 19): a seed means the
same points in years to come, and seed 0 of the spiral the points that `numpy.random.seed(0)` gives in the tutorials.
"""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SPIRAL_JITTER = 0.2
POLYNOMIAL_END = 10.0
POLYNOMIAL_TEST_SIZE = 200


def spiral(samples: int, n_classes: int, seed: int) -> tuple[Float32, Labels]:
    """Points of intertwined spiral arms, one a class: float32 (samples * n_classes, 2), and labels int64, in order.

    Point i of class c, of n = `samples` >= 2, has the radius r = i / (n - 1) and the angle 2.5 t, where t runs evenly
    from 4c to 4 (c + 1) and has 0.2 N(0, 1) added; it lies at (r sin 2.5t, r cos 2.5t). The normal numbers are drawn
    class after class. The formula is that of A. Karpathy's CS231n notes with the angle written as 2.5 t:
    https://cs231n.github.io/neural-networks-case-study/.
    """
    random = np.random.RandomState(seed)
    radius = np.linspace(0.0, 1.0, samples)
    points = np.empty((n_classes, samples, 2))
    for label in range(n_classes):
        t = np.linspace(4.0 * label, 4.0 * (label + 1), samples) + SPIRAL_JITTER * random.standard_normal(samples)
        points[label] = np.stack([radius * np.sin(2.5 * t), radius * np.cos(2.5 * t)], axis=1)
    return points.reshape(-1, 2).astype(np.float32), np.repeat(np.arange(n_classes, dtype=np.int64), samples)


def polynomial(degree: int, samples: int, noise: float, seed: int) -> tuple[Float32, Float32]:
    """Noisy values of `curve`: x float32 (samples, 1), drawn evenly from [0, 10), and y float32 (samples, 1).

    `noise` is the standard deviation of the normal number added to each y; every x is drawn before the noise.
    """
    random = np.random.RandomState(seed)
    x = random.uniform(0.0, POLYNOMIAL_END, (samples, 1))  # nosec B311 # data, no secret
    y = curve(degree, x) + noise * random.standard_normal((samples, 1))
    return x.astype(np.float32), y.astype(np.float32)


def polynomial_test(degree: int) -> tuple[Float32, Float32]:
    """`curve` itself, without noise, at 200 even steps from 0 to 10: x and y, float32 (200, 1)."""
    x = np.linspace(0.0, POLYNOMIAL_END, POLYNOMIAL_TEST_SIZE)[:, None]
    return x.astype(np.float32), curve(degree, x).astype(np.float32)


def curve(degree: int, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The Chebyshev polynomial of the first kind T_degree(x / 5 - 1) for x in [0, 10]; its values reach from -1 to 1.

    T_n(cos a) = cos(n a): https://dlmf.nist.gov/18.5.E1.
    """
    values: npt.NDArray[np.float64] = np.cos(degree * np.arccos(np.clip(2 * x / POLYNOMIAL_END - 1, -1.0, 1.0)))
    return values

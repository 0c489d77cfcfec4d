"""What is computed follows its formula, the seed alone decides it, and it stays within its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.synthetic import curve, polynomial, polynomial_test, spiral

seeds = st.integers(0, 2**31 - 1)


@given(samples=st.integers(2, 50), n_classes=st.integers(2, 10), seed=seeds)
def test_the_spiral_winds_outwards_one_arm_a_class(samples: int, n_classes: int, seed: int) -> None:
    points, labels = spiral(samples, n_classes, seed)
    assert points.shape == (samples * n_classes, 2)
    assert points.dtype == np.float32
    assert labels.tolist() == [label for label in range(n_classes) for _ in range(samples)]
    arms = points.reshape(n_classes, samples, 2)
    np.testing.assert_allclose(np.hypot(*np.moveaxis(arms, -1, 0)), [np.linspace(0, 1, samples)] * n_classes, atol=1e-6)


def test_the_spiral_is_the_one_of_the_tutorials() -> None:
    """Their lines, run on NumPy's global generator."""
    state = np.random.get_state()
    np.random.seed(0)
    expected = []
    for class_number in range(3):
        r = np.linspace(0.0, 1, 100)
        t = np.linspace(class_number * 4, (class_number + 1) * 4, 100) + np.random.randn(100) * 0.2
        expected.append(np.c_[r * np.sin(t * 2.5), r * np.cos(t * 2.5)])
    np.random.set_state(state)
    np.testing.assert_array_equal(spiral(100, 3, 0)[0], np.concatenate(expected).astype(np.float32))


def test_the_angle_strays_by_a_fifth() -> None:
    points, _ = spiral(10_000, 2, 1)
    arm = points[10_000:].astype(np.float64)
    turned = np.arctan2(arm[:, 0], arm[:, 1]) - 2.5 * np.linspace(4, 8, 10_000)
    strayed = (turned + np.pi) % (2 * np.pi) - np.pi
    assert strayed[1:].mean() == pytest.approx(0, abs=0.02)
    assert strayed[1:].std() == pytest.approx(0.5, abs=0.02)


@given(degree=st.integers(1, 10))
def test_the_curve_is_chebyshevs(degree: int) -> None:
    x = np.linspace(0, 10, 101)
    expected = np.polynomial.chebyshev.Chebyshev.basis(degree)(x / 5 - 1)
    np.testing.assert_allclose(curve(degree, x), expected, atol=1e-9)
    assert curve(degree, x).max() == pytest.approx(1)


@given(degree=st.integers(1, 10), samples=st.integers(2, 50), seed=seeds)
def test_the_polynomial_stays_in_its_range(degree: int, samples: int, seed: int) -> None:
    x, y = polynomial(degree, samples, 0.0, seed)
    assert x.shape == y.shape == (samples, 1)
    assert x.dtype == y.dtype == np.float32
    assert x.min() >= 0
    assert x.max() <= 10
    np.testing.assert_allclose(y, curve(degree, x.astype(np.float64)), atol=1e-5)
    grid, clean = polynomial_test(degree)
    assert (grid[0], grid[-1], len(grid)) == (0, 10, 200)
    np.testing.assert_allclose(clean, curve(degree, grid.astype(np.float64)), atol=1e-5)


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    x, y = polynomial(3, 20_000, 0.3, 7)
    noise = y - curve(3, x.astype(np.float64))
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(0.3, rel=0.02)


def test_the_seed_alone_decides() -> None:
    for once, again, other in (
        (spiral(50, 3, 4)[0], spiral(50, 3, 4)[0], spiral(50, 3, 5)[0]),
        *zip(polynomial(2, 20, 0.1, 4), polynomial(2, 20, 0.1, 4), polynomial(2, 20, 0.1, 5), strict=True),
    ):
        assert np.array_equal(once, again)
        assert not np.array_equal(once, other)

"""Ink becomes a digit of the size and in the place that MNIST gives it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.pictures import Float32, fit_digit, ink_box
from tests.factories.datasets import needs_real_datasets, real_datasets_dir
from tests.factories.photos import mnist_test_images

INK = arrays(
    np.float32,
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    elements=st.floats(2**-10, 1, width=32),
    fill=st.just(0.0),
)


def bar(height: int, width: int) -> Float32:
    """A full rectangle of ink somewhere in a 100x100 field."""
    field = np.zeros((100, 100), np.float32)
    field[10 : 10 + height, 30 : 30 + width] = 1
    return field


def test_the_longer_side_becomes_20_and_the_aspect_is_kept() -> None:
    for height, width, expected in [(40, 20, (20, 10)), (20, 40, (10, 20)), (60, 60, (20, 20)), (5, 5, (20, 20))]:
        top, left, bottom, right = ink_box(fit_digit(bar(height, width))) or (0, 0, 0, 0)
        assert (bottom - top, right - left) == expected


def test_ink_fainter_than_12_percent_does_not_widen_the_box() -> None:
    field = bar(40, 20)
    field[0, 0] = 0.11
    assert ink_box(field) == (10, 30, 50, 50)
    field[0, 0] = 0.13
    assert ink_box(field) == (0, 0, 50, 50)


def test_the_centre_of_mass_lies_in_the_middle() -> None:
    lopsided = bar(40, 40)
    lopsided[10:50, 40:70] *= 0.3
    digit = fit_digit(lopsided)
    places = np.arange(28)
    assert digit.sum(axis=0) @ places / digit.sum() == pytest.approx(14, abs=0.5)
    assert digit.sum(axis=1) @ places / digit.sum() == pytest.approx(14, abs=0.5)


def test_no_ink_is_an_empty_field() -> None:
    assert not fit_digit(np.zeros((9, 40), np.float32)).any()
    assert ink_box(np.zeros((9, 40), np.float32)) is None


@given(INK)
def test_any_ink_gives_28x28_between_0_and_255_with_its_peak_at_255(ink: Float32) -> None:
    digit = fit_digit(ink)
    assert digit.shape == (28, 28)
    assert digit.dtype == np.float32
    assert digit.min() >= 0
    assert digit.max() == pytest.approx(255 if ink.max() > 0 else 0, abs=0.01)


@given(INK, st.sampled_from([0.5, 0.25, 2**-9]))
def test_the_strength_of_the_ink_does_not_matter(ink: Float32, strength: float) -> None:
    np.testing.assert_allclose(fit_digit(ink * np.float32(strength)), fit_digit(ink), atol=0.5)


@needs_real_datasets()
def test_mnist_digits_stay_as_they_are() -> None:
    folder = real_datasets_dir()
    assert folder is not None
    originals = mnist_test_images(folder)[:1000].astype(np.float32)
    fitted = np.stack([fit_digit(pixels / 255) for pixels in originals])
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99 for a, b in zip(originals, fitted, strict=True)]
    assert np.mean(alike) > 0.98

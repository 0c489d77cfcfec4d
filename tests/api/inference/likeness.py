"""Ten drawn digits, what a model should see of them, and how alike two pictures are."""

import numpy as np
from PIL import Image

from api.inference.recipe import see_digit
from models.pictures import Float32
from tests.factories.files import encoded, handwriting

INKS = [handwriting(digit) for digit in range(10)]
REFERENCES = [see_digit(encoded(Image.fromarray(ink))).pixels for ink in INKS]


def alike(one: Float32, other: Float32) -> float:
    """Correlation of two pictures."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def alike_within_a_pixel(one: Float32, other: Float32) -> float:
    """Correlation of two pictures, one of which may lie a pixel off: centring goes by whole pixels."""
    return max(alike(np.roll(one, (down, right), (0, 1)), other) for down in (-1, 0, 1) for right in (-1, 0, 1))

"""How ink becomes a 28x28 digit in the manner of MNIST; shared by the data sets and by prediction."""

import numpy as np
import numpy.typing as npt
from PIL import Image

Float32 = npt.NDArray[np.float32]

SIDE = 28  # the whole picture
BOX = 20  # what the digit itself is fitted into
NOTHING = 1e-6  # less than any file can hold: only rounding
FAINT = 0.12  # ink below this part of the strongest does not count towards the box


Box = tuple[int, int, int, int]  # top, left, bottom, right, ends excluded


def ink_box(ink: Float32) -> Box | None:
    """The smallest box that holds all ink above 12 % of the strongest.

    `ink` has shape (h, w), 0 to 1, light on dark. None when there is no ink at all.
    """
    strongest = float(ink.max(initial=0.0))
    if strongest < NOTHING:
        return None
    inked = ink > FAINT * strongest
    rows = np.flatnonzero(inked.any(axis=1))
    columns = np.flatnonzero(inked.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def fit_digit(ink: Float32, box: Box | None = None) -> Float32:
    """Ink of shape (h, w), 0 to 1, light on dark, as a digit of shape (28, 28), 0 to 255.

    What its `ink_box`, given where it is known already, holds is fitted into 20x20, keeping its aspect, and placed
    with its centre of mass in the middle, as MNIST's authors did: http://yann.lecun.org/exdb/mnist/. No ink is zeros.
    """
    box = box or ink_box(ink)
    if box is None:
        return np.zeros((SIDE, SIDE), np.float32)
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    scale = BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cut = Image.fromarray(np.ascontiguousarray(ink[top:bottom, left:right], dtype=np.float32))
    if size != cut.size:
        cut = cut.resize(size, Image.Resampling.LANCZOS)
    fitted = np.clip(np.asarray(cut), 0.0, None)
    return _centred(fitted * (255.0 / float(fitted.max())))


def _centred(digit: Float32) -> Float32:
    """`digit`, at most 20x20, in a 28x28 field of zeros, its centre of mass as near the middle as whole pixels go."""
    height, width = digit.shape
    mass = float(digit.sum())
    centre_y = float(digit.sum(axis=1) @ np.arange(height)) / mass
    centre_x = float(digit.sum(axis=0) @ np.arange(width)) / mass
    middle = SIDE / 2 - 1e-3  # half-way cases go up and left, whatever the last bit of a sum says
    top = min(max(round(middle - centre_y), 0), SIDE - height)
    left = min(max(round(middle - centre_x), 0), SIDE - width)
    field = np.zeros((SIDE, SIDE), np.float32)
    field[top : top + height, left : left + width] = digit
    return field

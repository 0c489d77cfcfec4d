"""Strokes far thinner or thicker than those of MNIST, brought to its width."""

import numpy as np
import numpy.typing as npt

from api.inference.scipy_images import ndimage
from models.pictures import BOX, ink_box

Float32 = npt.NDArray[np.float32]

# All in pixels of a digit that is fitted into 20x20. One MNIST digit in a hundred has strokes under 1.3, one over 4.4.
THIN, THICKENED = 1.1, 2.0
THICK, THINNED = 4.8, 3.8
MOST_THINNED = 0.6  # at either side of a stroke: more would eat what is no stroke
BLOB = 6.0


def mend_strokes(ink: Float32) -> tuple[Float32, list[str], list[str]]:
    """`ink`, (h, w) and 0 to 1, with strokes of a width that a model knows; steps and warnings.

    A digit of 20 pixels or fewer is left as it is.
    """
    box = ink_box(ink)
    if box is None:
        return ink, [], []
    top, left, bottom, right = box
    scale = max(bottom - top, right - left) / BOX
    if scale <= 1:
        return ink, [], []
    width = stroke_width(ink[top:bottom, left:right]) / scale
    if width < THIN:
        radius = max(1, round((THICKENED - width) / 2 * scale))
        return _grown(ink, box, radius), ["strokes thickened"], []
    if width > THICK:
        radius = round(min((width - THINNED) / 2, MOST_THINNED) * scale)
        mended = -_grown(-ink, box, radius) if radius else ink
        doubts = ["The strokes are very thick: they may have run together."] if width > BLOB else []
        return (mended, ["strokes thinned"], doubts) if mended.max() > 0 else (ink, [], doubts)
    return ink, [], []


def stroke_width(ink: Float32) -> float:
    """The mean width, in pixels, of the strokes of `ink`, (h, w).

    A stroke of length l and width w has the area l w and two edges, which rows and columns together cross 4/pi times a
    pixel of length when all directions are alike (Crofton's formula). Hence w = 8/pi area/crossings.
    """
    solid = ink > 0.5 * float(ink.max())
    crossings = np.count_nonzero(solid[1:] != solid[:-1]) + np.count_nonzero(solid[:, 1:] != solid[:, :-1])
    crossings += sum(np.count_nonzero(edge) for edge in (solid[0], solid[-1], solid[:, 0], solid[:, -1]))
    return 8 / np.pi * np.count_nonzero(solid) / crossings


def _grown(ink: Float32, box: tuple[int, int, int, int], radius: int) -> Float32:
    """`ink` with everything in `box` wider by `radius` on each side."""
    top, left, bottom, right = box
    rows = slice(max(0, top - radius), bottom + radius)
    columns = slice(max(0, left - radius), right + radius)
    size = 2 * radius + 1
    across = ndimage().maximum_filter1d(ink[rows, columns], size, axis=1)
    grown = ink.copy()
    grown[rows, columns] = ndimage().maximum_filter1d(across, size, axis=0)
    return grown

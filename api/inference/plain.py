"""The plain recipe: a picture of one thing as Fashion-MNIST would show it."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from api.inference.light import in_blocks, smooth_ground
from api.inference.pixels import Opened, read_picture
from api.inference.seen import Seen, see_nothing
from models.pictures import SIDE

Float32 = npt.NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's conversion to grey
BLANK = 0.04  # less contrast than this part of the full range is nothing
TRIM = 0.05  # the tolerance with which Fashion-MNIST's edges were trimmed
LAXEST = 0.15  # where the ground of a photograph is not clean, the tolerance is as much wider, up to this
FINE = 128  # noise is averaged out in pictures of more pixels a side before their edges are looked for
UNEVEN = 0.08  # of full: less than that is no shadow


def see_plain(file: bytes | Opened) -> Seen:
    """A picture file of one thing as Fashion-MNIST would show it; raises InputError.

    The steps of the data set's authors (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747, figure 1): edges close to the
    colour of the ground trimmed, the longer edge resized to 28, the shorter one extended, negated when the ground is
    light. Before them uneven light is evened. A grey picture that is 28x28 already is only negated.
    """
    picture = read_picture(file)
    steps = list(picture.steps)
    grey = picture.colours[:, :, 0] if picture.colours.shape[2] == 1 else picture.colours @ LUMA
    ground = np.float32(np.median(grey[[0, 0, -1, -1], [0, -1, 0, -1]]))
    bare: Float32 | np.float32 = ground
    if max(grey.shape) > 2 * SIDE and _corners_differ(grey):
        surface = smooth_ground(grey[:, :, None])
        if surface is not None and np.ptp(surface) > UNEVEN:
            bare, ground = surface[:, :, 0], np.float32(np.median(surface))
            steps.append("light evened")
    if ground > 0.5:
        grey = 1 - grey / bare
        steps.append("inverted")
        if ground < 1:
            steps.append("ground subtracted")
    elif ground > 0:
        grey = (grey - bare) / (1 - bare)
        steps.append("ground subtracted")
    grey = np.clip(grey, 0, 1)
    if float(grey.max()) < BLANK:
        return see_nothing(steps)
    if grey.shape != (SIDE, SIDE):
        grey = _fitted(_trimmed(grey))
        steps += ["trimmed", f"fitted into {SIDE}x{SIDE}"]
    return Seen(np.clip(grey * 255, 0, 255).astype(np.float32), steps)


def _corners_differ(grey: Float32) -> bool:
    """Whether the four corners, each a sixteenth of the sides, are so unlike that the light may be uneven."""
    height, width = (max(1, side // 16) for side in grey.shape)
    corners = [grey[rows, columns].mean() for rows in (slice(height), slice(-height, None))
               for columns in (slice(width), slice(-width, None))]  # fmt: skip
    return bool(np.ptp(corners) > UNEVEN / 2)


def _trimmed(grey: Float32) -> Float32:
    """`grey` without the ground around the thing."""
    blocks = in_blocks(grey[:, :, None], FINE)[:, :, 0]
    factor = -(-max(grey.shape) // FINE)
    border = np.concatenate([blocks[0], blocks[-1], blocks[:, 0], blocks[:, -1]])
    tolerance = min(max(TRIM, 1.3 * float(np.quantile(border, 0.9))), LAXEST)
    rows = np.flatnonzero((blocks > tolerance).any(axis=1)) * factor
    columns = np.flatnonzero((blocks > tolerance).any(axis=0)) * factor
    if not rows.size:
        return grey
    return grey[rows[0] : rows[-1] + factor, columns[0] : columns[-1] + factor]


def _fitted(grey: Float32) -> Float32:
    height, width = grey.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.LANCZOS)
    field = np.zeros((SIDE, SIDE), np.float32)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    field[top : top + size[1], left : left + size[0]] = np.asarray(resized)
    return field

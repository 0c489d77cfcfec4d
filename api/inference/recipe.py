"""The recipe: how a picture of any kind becomes the 28x28 pixels that a model was trained on, and what was done to it.

A plain resize of a photograph to 28x28 is read right about one time in four; put through the steps that the authors of
the data sets took, nearly every time.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from api.inference.pixels import read_picture
from models.pictures import FAINT, SIDE, fit_digit, ink_box

Float32 = npt.NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's conversion to grey
BLANK = 0.04  # less contrast than this part of the full range is no ink
SMALL = 12  # a digit of fewer pixels than this, on its longer side, is guesswork
TRIM = 0.05  # the tolerance with which Fashion-MNIST's edges were trimmed


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model gets to see: `pixels` (28, 28), 0 to 255, light on dark; the steps there; what may be wrong."""

    pixels: Float32
    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def see_digit(data: bytes) -> Seen:
    """A picture file of one digit as MNIST would show it; raises InputError.

    The ground is the median colour of the border and ink is how far a pixel goes from it towards the colour farthest
    away: for grey pictures this is to invert when light, subtract the ground and stretch the contrast. The ink is cut
    out, fitted into 20x20 and centred by mass. A blank picture is an empty field, with a warning.
    """
    picture = read_picture(data)
    colours, steps = picture.colours, list(picture.steps)
    border = np.concatenate([colours[0], colours[-1], colours[1:-1, 0], colours[1:-1, -1]])
    ground = np.median(border, axis=0)
    away = colours - ground
    distance = np.abs(away[:, :, 0]) if away.shape[2] == 1 else np.einsum("hwc,hwc->hw", away, away)
    pen = away.reshape(-1, away.shape[2])[int(distance.argmax())]
    contrast = float(np.sqrt(pen @ pen / pen.size))
    if contrast < BLANK:
        blank = "The picture is blank: no mark stands out from its ground. The answer means nothing."
        return Seen(np.zeros((SIDE, SIDE), np.float32), steps, [blank])
    ink = _without_specks(np.clip(_towards(pen, away), 0, 1))
    if pen.sum() < 0:
        steps.append("inverted")
    if ground.any():
        steps.append("ground subtracted")
    if contrast < 0.95:
        steps.append("contrast stretched")
    return Seen(fit_digit(ink), [*steps, "cropped", "fitted into 20x20", "centred by mass"], _doubts(ink))


def _towards(pen: Float32, away: Float32) -> Float32:
    """How far each pixel of `away`, (h, w, c), goes in the direction of `pen`, (c,); 1 at `pen` itself."""
    direction = pen / (pen @ pen)
    along: Float32 = away[:, :, 0] * direction[0] if pen.size == 1 else away @ direction
    return along


def see_array(pixels: Float32) -> Seen:
    """Pixels (28, 28), 0 to 255, that a client sent: taken as they are, with a warning where they look mistaken."""
    brightest = float(pixels.max(initial=0))
    warnings = []
    if brightest == 0:
        warnings.append("The array is blank: all zeros. The answer means nothing.")
    elif brightest <= 1:
        warnings.append("No value is above 1: pixels are 0 to 255, taken as they are.")
    if np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])) > 127:
        warnings.append("The ground is light: pixels are light on dark, taken as they are.")
    return Seen(pixels, [], warnings)


def _without_specks(ink: Float32) -> Float32:
    """`ink` with zeros where a blur leaves less than 12 % of the strongest: noise would widen the digit's box."""
    side = max(ink.shape)
    if side <= 2 * SIDE:  # every pixel counts
        return ink
    radius = math.ceil(side / 128)
    blurred = np.asarray(Image.fromarray((ink * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(radius)))
    return np.where(blurred > FAINT * blurred.max(), ink, np.float32(0))


def _doubts(ink: Float32) -> list[str]:
    """Warnings about a digit that can be read but perhaps not trusted."""
    box = ink_box(ink)
    if box is None:
        return []
    top, left, bottom, right = box
    height, width = ink.shape
    warnings = []
    if max(bottom - top, right - left) < SMALL:
        warnings.append(f"The digit is very small: {right - left}x{bottom - top} pixels. Send it larger.")
    if top == 0 or left == 0 or bottom == height or right == width:
        warnings.append("The digit touches the border of the picture: part of it may be cut off.")
    return warnings


def see_plain(data: bytes) -> Seen:
    """A picture file of one thing as Fashion-MNIST would show it; raises InputError.

    The steps of the data set's authors (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747, figure 1): edges close to the
    colour of the corners trimmed, the longer edge resized to 28, the shorter one extended, negated when the ground is
    light. A grey picture that is 28x28 already is only negated.
    """
    picture = read_picture(data)
    steps = list(picture.steps)
    grey = picture.colours[:, :, 0] if picture.colours.shape[2] == 1 else picture.colours @ LUMA
    ground = float(np.median(grey[[0, 0, -1, -1], [0, -1, 0, -1]]))
    if ground > 0.5:
        grey, ground = 1 - grey, 1 - ground
        steps.append("inverted")
    if ground > 0:
        grey = np.clip((grey - ground) / (1 - ground), 0, 1)
        steps.append("ground subtracted")
    if float(grey.max()) < BLANK:
        blank = "The picture is blank: nothing stands out from its ground. The answer means nothing."
        return Seen(np.zeros((SIDE, SIDE), np.float32), steps, [blank])
    if grey.shape != (SIDE, SIDE):
        grey = _fitted(_trimmed(grey))
        steps += ["trimmed", f"fitted into {SIDE}x{SIDE}"]
    return Seen(np.clip(grey * 255, 0, 255).astype(np.float32), steps)


def _trimmed(grey: Float32) -> Float32:
    rows = np.flatnonzero((grey > TRIM).any(axis=1))
    columns = np.flatnonzero((grey > TRIM).any(axis=0))
    if not rows.size:
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fitted(grey: Float32) -> Float32:
    height, width = grey.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.LANCZOS)
    field = np.zeros((SIDE, SIDE), np.float32)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    field[top : top + size[1], left : left + size[0]] = np.asarray(resized)
    return field

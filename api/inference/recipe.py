"""The recipe: how a picture of any kind becomes the 28x28 pixels that a model was trained on, and what was done to it.

A plain resize of a photograph to 28x28 is read right about one time in five; cured of what ails photographs and put
through the steps that the authors of MNIST took, nearly every time. docs/recipe.md tells it step by step.
"""

import numpy as np
import numpy.typing as npt

from api.inference.frames import without_frame
from api.inference.light import bare_ground
from api.inference.pixels import Opened, read_picture
from api.inference.plain import see_plain
from api.inference.rules import without_rules
from api.inference.seen import Seen, see_array, see_nothing
from api.inference.shapes import choose_digit
from api.inference.strokes import mend_strokes
from models.pictures import SIDE, Box, fit_digit, ink_box

__all__ = ["Seen", "see_array", "see_digit", "see_plain", "warm"]

Float32 = npt.NDArray[np.float32]

BLANK = 0.04  # less contrast than this part of the full range is no ink
SMALL = 12  # a digit of fewer pixels than this, on its longer side, is guesswork
DRAWN = 2 * SIDE  # in a picture up to this size every pixel counts
EVEN = 0.03  # of full: border that strays no farther from its ground is as even as paper can be
MOSTLY, ALL = 0.75, 0.995  # of the border: less shows uneven light, more shows that no line ends there
UNEVEN = 0.08  # of the ground: less than that is no shadow
BRIGHTEN = 2.5  # ink in the shadow is made stronger by so much at most
NOISES = 3.6  # ink below so many standard deviations of the paper is noise
ONE_IN = 300  # pixels: the strongest ink is the mean of so many


def see_digit(file: bytes | Opened) -> Seen:
    """A picture file of one digit as MNIST would show it; raises InputError.

    A frame is taken off. The ground is the median colour of the border, or `bare_ground` where the border shows shadows
    or lines. Ink is how far a pixel goes from the ground towards the colour farthest away: for grey pictures this is to
    invert when light, subtract the ground and stretch the contrast. Printed lines, noise and what is not the digit are
    taken away, strokes mended, the ink cut out, fitted into 20x20 and centred by mass. A blank picture is an empty
    field, with a warning.
    """
    picture = read_picture(file)
    colours, steps = without_frame(picture.colours), list(picture.steps)
    if colours is not picture.colours:
        steps.append("frame removed")
    every_pixel = max(colours.shape) <= DRAWN
    border = np.concatenate([colours[0], colours[-1], colours[1:-1, 0], colours[1:-1, -1]])
    ground = _median(border)
    even = 1.0 if every_pixel else _evenness(border, ground)
    if even > MOSTLY:
        away = colours - ground
        pen = _farthest(away)
    else:
        bare = bare_ground(colours)
        some = bare[::8, ::8]  # smooth: a few pixels tell as much
        ground = np.median(some, axis=(0, 1))
        away = (colours - bare) * np.minimum(ground / bare, np.float32(BRIGHTEN))
        pen = _strongest(away)
        if np.ptp(some / ground) > UNEVEN:
            steps.append("light evened")
    contrast = float(np.sqrt(pen @ pen / pen.size))
    if contrast < BLANK:
        return see_nothing(steps)
    ink = np.clip(_towards(pen, away), 0, 1)
    if pen.sum() < 0:
        steps.append("inverted")
    if ground.any():
        steps.append("ground subtracted")
    if contrast < 0.95:
        steps.append("contrast stretched")
    warnings: list[str] = []
    if even < ALL:
        ink = _without_print(ink, steps)
    if not every_pixel:
        ink = _digit_of(ink, steps, warnings)
    box = ink_box(ink)
    steps += ["cropped", "fitted into 20x20", "centred by mass"]
    return Seen(fit_digit(ink, box), steps, warnings + _doubts(ink, box))


def warm() -> None:
    """Imports what only photographs need, so that the first of them need not wait for it."""
    bare_ground(np.ones((8, 8, 1), np.float32))
    without_rules(np.zeros((8, 8), np.float32))


def _median(colours: Float32) -> Float32:
    """The median, (c,), of `colours`, (n, c); of so few numbers NumPy's own takes three times as long."""
    ordered = np.sort(colours, axis=0)
    middle = len(ordered) // 2
    median: Float32 = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return median


def _evenness(border: Float32, ground: Float32) -> float:
    """The part of the border, (n, c), that has the colour of the ground."""
    off = np.abs(border - ground)
    if border.shape[1] > 1:
        off = off.max(axis=1)
    return np.count_nonzero(off < EVEN) / len(border)


def _farthest(away: Float32) -> Float32:
    """Where the pixel lies, (c,), that is farthest from the ground."""
    distance = np.abs(away[:, :, 0]) if away.shape[2] == 1 else np.einsum("hwc,hwc->hw", away, away)
    pen: Float32 = away.reshape(-1, away.shape[2])[int(distance.argmax())]
    return pen


def _strongest(away: Float32) -> Float32:
    """Where the strongest ink lies, (c,): the mean of the farthest pixels, for a single one may be noise."""
    some = away[::2, ::2].reshape(-1, away.shape[2])
    distance = np.einsum("nc,nc->n", some, some)
    count = max(1, len(some) // ONE_IN)
    pen: Float32 = some[np.argpartition(distance, -count)[-count:]].mean(axis=0)
    return pen


def _towards(pen: Float32, away: Float32) -> Float32:
    """How far each pixel of `away`, (h, w, c), goes in the direction of `pen`, (c,); 1 at `pen` itself."""
    direction = pen / (pen @ pen)
    along: Float32 = away[:, :, 0] * direction[0] if pen.size == 1 else away @ direction
    return along


def _without_print(ink: Float32, steps: list[str]) -> Float32:
    """`ink` of a photograph, (h, w) and 0 to 1, without printed lines, stretched again if these were stronger, and
    without noise: what is too faint to be told from it is nothing."""
    ink, families = without_rules(ink)
    if families:
        steps.append("lines removed" if families == 1 else "squares removed")
        strongest = _strongest(ink[:, :, None])
        ink = np.minimum(ink / np.float32(max(float(strongest[0]), 0.1)), np.float32(1))
    some = ink[::3, ::3]
    paper = some[some < 0.3]
    floor = min(NOISES * float(np.sqrt(np.mean(paper**2))), 0.3) if paper.size else 0.0
    clear: Float32 = np.maximum((ink - np.float32(floor)) / np.float32(1 - floor), np.float32(0))
    return clear


def _digit_of(ink: Float32, steps: list[str], warnings: list[str]) -> Float32:
    """The digit among what is drawn in `ink`, (h, w) and 0 to 1, its strokes mended."""
    digit = choose_digit(ink)
    ink, mended, doubts = mend_strokes(digit.ink)
    steps += [*digit.left_out, *mended]
    if digit.shapes > 1:
        warnings.append(f"There are {digit.shapes} shapes. Only the largest is read: send one digit a picture.")
    warnings += doubts
    return ink


def _doubts(ink: Float32, box: Box | None) -> list[str]:
    """Warnings about a digit that can be read but perhaps not trusted."""
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

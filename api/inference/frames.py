"""A frame around a picture, as a screenshot or a cell cut out of a table has, is found and taken off."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

WIDEST = 8  # a frame takes at most one part in so many of a side, at each end
DIFFERENT = 0.1  # of full, in one of the colours: no noise
BLENDED = 0.04  # of full: a row that much nearer to the frame than the next two is a mixture of frame and paper
UNIFORM = 0.65  # of the border is of one colour where there is a frame, on three sides at least
PAPER = 0.75  # of the first row inside it is not of the frame's colour
MOSTLY = 0.6  # of the middle is not: a broad digit with square corners has too much ink to pass as paper
ENOUGH = 64  # pixels along a side are looked at, of those that are many


def without_frame(colours: Float32) -> Float32:
    """`colours`, (h, w, c) and 0 to 1, without a frame around them; the very same array when there is none.

    A frame is a straight band of one colour along three or four sides, at most an eighth of the side wide. Inside it
    lies mostly something else, the paper. In most pictures a few pixels in a corner tell that there is none.
    """
    height, width, depth = colours.shape
    down, across = height // WIDEST, width // WIDEST
    corner = colours.reshape(-1, depth)[: min(down, across) * (width + 1) + 1 : width + 1]  # its diagonal
    if all(max(tones) - min(tones) <= DIFFERENT for tones in corner.T.tolist()):
        return colours
    border = np.concatenate([colours[0], colours[-1], colours[1:-1, 0], colours[1:-1, -1]])
    frame = np.median(border, axis=0)
    if np.mean(_off(border, frame) <= DIFFERENT) < UNIFORM:
        return colours
    rows, columns = slice(down, height - down, -(-height // ENOUGH)), slice(across, width - across, -(-width // ENOUGH))
    if np.mean(_off(colours[rows, columns], frame) > DIFFERENT) < MOSTLY:
        return colours
    level, upright = colours[:, columns], colours[rows].swapaxes(0, 1)
    strips = level[: down + 1], level[::-1][: down + 1], upright[: across + 1], upright[::-1][: across + 1]
    thick = [_thickness(strip, frame) for strip in strips]
    if None in thick:
        return colours
    top, bottom, left, right = (each or 0 for each in thick)
    return colours[top : height - bottom, left : width - right]


def _thickness(rows: Float32, frame: Float32) -> int | None:
    """How many of `rows`, (n, m, c), the outermost first, are the frame's or mixed with it; None if all are."""
    paper = np.mean(_off(rows, frame) > DIFFERENT, axis=1) >= PAPER
    if not paper.any():
        return None
    first = int(paper.argmax())
    away = _off(np.median(rows[first : first + 3], axis=1), frame)
    return first + int(np.argmax(away > away.max() - BLENDED))


def _off(colours: Float32, colour: Float32) -> Float32:
    """How far each of `colours`, (..., c), lies from `colour`, (c,), in the colour in which it is farthest."""
    off: Float32 = np.abs(colours - colour).max(axis=-1)
    return off

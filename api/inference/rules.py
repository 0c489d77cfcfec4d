"""Ruled and squared paper: straight thin lines right across the picture, found by their slope and taken away."""

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from api.inference.scipy_images import ndimage

Float32 = npt.NDArray[np.float32]
Complex64 = npt.NDArray[np.complex64]

SIDE = 192  # the picture is judged at this size
STRIPS = 24  # upright strips, in each of which a line is nearly level
WAVES = slice(4, 68)  # a picture; fewer are shades, more is noise
STEEPEST = 12  # degrees
SLOPES = np.linspace(-0.36, 0.36, 73).astype(np.float32)  # of the square picture: 12 degrees in one of 5:3
FINE = np.linspace(-0.005, 0.005, 11).astype(np.float32)  # around the best of them
THICKEST = 0.05  # of the shorter side; what is thicker is a pen's
COHERENT = 0.16  # of 1: how well the strips agree where there are lines
ENDS = 8  # one part in so many, left and right: a line shows there too
FAINT = 0.06  # of the pen: fainter lines do no harm


def without_rules(ink: Float32) -> tuple[Float32, int]:
    """`ink`, (h, w) and 0 to 1, without lines that cross the picture; and how many families there were: 0 to 2.

    Level lines come first, then upright ones, each up to 12 degrees off; on squared paper the two are at right angles.
    The ink of a line is taken to lie under the pen: a pixel that shows p on the paper and more where the pen crosses
    came from a pen of strength (pixel - p) / (1 - p).
    """
    level = _slope(ink)
    upright = _slope(ink.T, None if level is None else -level)
    families = 0
    for turned, slope in ((False, level), (True, upright)):
        if slope is None:
            continue
        mended = _without_lines(ink.T if turned else ink, slope)
        if mended is not None:
            families += 1
            ink = np.ascontiguousarray(mended.T) if turned else mended
    return ink, families


def _slope(ink: Float32, expected: float | None = None) -> float | None:
    """Pixels down for each pixel to the right along the level lines of `ink`; None when there are none.

    The rows' profile of each strip becomes waves; strips that show the same lines have the same waves, moved by the
    slope. How well they agree, the mean over all pairs of strips, is tried for each slope, or around the expected one.
    """
    height, width = ink.shape
    square = np.asarray(Image.fromarray(np.ascontiguousarray(ink)).resize((SIDE, SIDE), Image.Resampling.BOX))
    profiles = _thin(square, int(SIDE * THICKEST)).reshape(SIDE, STRIPS, SIDE // STRIPS).mean(axis=2)
    waves = np.fft.rfft(profiles, axis=0)[WAVES].astype(np.complex64)
    waves /= np.sqrt((np.abs(waves) ** 2).sum(axis=0)) + np.float32(1e-6)
    aspect = width / height
    agreement = _agreement(waves, _turns())
    steepest = np.tan(np.deg2rad(STEEPEST)) * aspect
    agreement[np.abs(SLOPES) > steepest] = 0
    if expected is not None:
        agreement[np.abs(SLOPES - expected * aspect) > 0.02 * aspect + 0.005] = 0
    best = int(agreement.argmax())
    if agreement[best] < COHERENT:
        return None
    fine = SLOPES[best] + FINE
    finest = int(_agreement(waves, _waves_turned(fine)).argmax())
    return float(fine[finest] / aspect)


def _thin(ink: Float32, most: int) -> Float32:
    """What of `ink` is less than `most` pixels high: the top hat of an upright line."""
    eroded = ndimage().minimum_filter1d(ink, most, axis=0)
    thin: Float32 = ink - ndimage().maximum_filter1d(eroded, most, axis=0)
    return thin


def _agreement(waves: Complex64, turns: Complex64) -> Float32:
    """For each slope: the squared length of the strips' mean wave; 1 when all are alike, 1/24 by chance."""
    moved = np.matmul(waves[:, None, :], turns)[:, 0, :]
    agreement: Float32 = (moved.real**2 + moved.imag**2).sum(axis=0) / STRIPS**2
    return agreement


@cache
def _turns() -> Complex64:
    return _waves_turned(SLOPES)


def _waves_turned(slopes: Float32) -> Complex64:
    """(waves, strips, slopes): by how much each wave is turned when a strip is moved back along the slope."""
    frequencies = np.arange(WAVES.start, WAVES.stop, dtype=np.float32)
    places = (np.arange(STRIPS, dtype=np.float32) + 0.5) / STRIPS - 0.5
    angles = 2 * np.pi * frequencies[:, None, None] * places[:, None] * slopes
    turns: Complex64 = np.exp(1j * angles).astype(np.complex64)
    return turns


def _without_lines(ink: Float32, slope: float) -> Float32 | None:
    """`ink` without the lines of that slope; None when no row stands out."""
    height, width = ink.shape
    columns = np.arange(0, width, max(1, width // 96))
    thin = _thin(ink[:, columns], max(3, round(min(ink.shape) * THICKEST)))
    shifts = np.rint((columns - width / 2) * slope).astype(int)
    reach = int(np.abs(shifts).max()) + 2
    rows = np.arange(-reach, height + reach)[:, None] + shifts
    inside = (rows >= 0) & (rows < height)
    along = np.where(inside, thin[np.clip(rows, 0, height - 1), np.arange(len(columns))], np.inf)
    end = max(2, len(columns) // ENDS)
    profile = np.minimum(_middle(along), _middle(np.hstack([along[:, :end], along[:, -end:]])))
    profile = np.clip(profile - np.median(profile), 0, 1).astype(np.float32)
    if profile.max() < FAINT:
        return None
    every = np.rint((np.arange(width) - width / 2) * slope).astype(int)
    under = profile[np.clip(np.arange(height)[:, None] - every + reach, 0, len(profile) - 1)]
    pen: Float32 = np.clip((ink - under) / np.maximum(1 - under, np.float32(0.25)), 0, 1)
    return pen


def _middle(values: Float32) -> Float32:
    """The median of what is finite in each row of `values`; 0 where that is less than a quarter."""
    counts = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)
    middle: Float32 = np.where(counts > values.shape[1] // 4, ordered[np.arange(len(values)), counts // 2], 0)
    middle[~np.isfinite(middle)] = 0
    return middle

"""Uneven light: what the bare paper looks like everywhere, whatever shadow falls on it."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from api.inference.scipy_images import ndimage

Float32 = npt.NDArray[np.float32]

BLOCKS = 48  # the light is judged on a picture of at most so many blocks a side
STROKE = 11  # blocks; what is narrower is ink, what is wider is paper
DIGIT = 7  # blocks four times as large; in a square so wide most is paper, even around a digit
RING = 1  # of these blocks at the border, where paper is expected
DIM = np.float32(0.05)  # of full: what is as dark as that is mostly noise
MEETS = 0.05  # of full: a block no farther off lies on the surface
DEEPEST = 0.25  # of the smooth surface: paper does not leave it by more than this on the ink's side
PAPER = 0.1  # of full: no farther from the ground is paper


def bare_ground(colours: Float32) -> Float32:
    """The ground of `colours`, (h, w, c) and 0 to 1, as if nothing were written on it.

    Against a median over a wide surrounding ink is either darker or lighter. A grey closing, wider than a stroke, takes
    dark ink away and leaves the edges of shadows where they are; an opening does so with light ink (Serra 1982, Image
    Analysis and Mathematical Morphology, chapter XII). A smooth surface through the border of the picture keeps broad
    strokes from passing as paper.
    """
    small = in_blocks(colours, BLOCKS)
    coarse = in_blocks(small, BLOCKS // 4)
    common = ndimage().median_filter(coarse, (*(min(DIGIT, side) for side in coarse.shape[:2]), 1), mode="nearest")
    size = (*(min(STROKE, side) for side in small.shape[:2]), 1)
    smallest, largest = ndimage().minimum_filter, ndimage().maximum_filter
    smooth = _enlarged(_surface(coarse)[0], small.shape[:2])
    stops = np.log((small + DIM) / (_enlarged(common, small.shape[:2]) + DIM))  # a shadow is the same on any paper
    if float((stops**3).sum()) < 0:  # dark ink
        ground = np.maximum(smallest(largest(small, size), size), smooth * (1 - DEEPEST))
    else:
        ground = np.minimum(largest(smallest(small, size), size), smooth * (1 + DEEPEST))
    ground = ndimage().uniform_filter(ground, (3, 3, 1))
    paper = np.abs(small - ground).max(axis=2) < PAPER
    if paper.any():  # the extremes of noisy blocks lie off the middle
        ground += np.median((small - ground)[paper], axis=0)
    return np.maximum(_enlarged(ground, colours.shape[:2]), np.float32(1 / 255))


def smooth_ground(colours: Float32) -> Float32 | None:
    """The ground of `colours`, (h, w, c), by the border alone; None where the border is not mostly ground."""
    coarse = in_blocks(colours, BLOCKS // 4)
    surface, explained = _surface(coarse)
    return _enlarged(surface, colours.shape[:2]) if explained > 0.7 else None


def _surface(blocks: Float32) -> tuple[Float32, float]:
    """The quadratic surface, (h, w, c), through most blocks at the border; and how many it meets, 0 to 1.

    Least squares, again and again without what lies farther off than usual.
    """
    height, width, depth = blocks.shape
    terms, ring = _terms(height, width)
    values, basis = blocks.reshape(-1, depth)[ring], terms[ring]
    off = np.abs(values - np.median(values, axis=0)).max(axis=1)
    for _ in range(4):
        near = off <= max(2.5 * float(np.median(off)), 0.02)
        factors = np.linalg.lstsq(basis[near], values[near], rcond=None)[0]
        off = np.abs(values - basis @ factors).max(axis=1)
    surface: Float32 = (terms @ factors).reshape(blocks.shape)
    return surface, float(np.mean(off < MEETS))


@lru_cache(maxsize=256)
def _terms(height: int, width: int) -> tuple[Float32, npt.NDArray[np.intp]]:
    """1, x, y, xx, xy and yy for each of `height` times `width` points, x and y from -1 to 1; which are the border."""
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    y, x = down.ravel(), across.ravel()
    outer = np.ones((height, width), bool)
    outer[RING:-RING, RING:-RING] = False
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1).astype(np.float32)
    return terms, np.flatnonzero(outer)


def in_blocks(colours: Float32, most: int) -> Float32:
    """The means of square blocks, (h', w', c), as large as makes at most `most` a side; a ragged edge is left out."""
    factor = -(-max(colours.shape[:2]) // most)
    if factor == 1:
        return colours
    height, width = max(1, colours.shape[0] // factor), max(1, colours.shape[1] // factor)
    cut = colours[: height * factor, : width * factor]
    tall, wide = min(factor, len(cut)), min(factor, cut.shape[1])
    rows = cut[::factor].copy()
    for i in range(1, tall):  # in single slices: many times quicker than a mean over axes of such a shape
        rows += cut[i::factor]
    sums = rows[:, ::factor].copy()
    for i in range(1, wide):
        sums += rows[:, i::factor]
    sums /= np.float32(tall * wide)
    return sums


def _enlarged(small: Float32, size: tuple[int, ...]) -> Float32:
    """`small` stretched to (height, width), in steps of 1/255."""
    levels = np.clip(small * 255 + 0.5, 0, 255).astype(np.uint8)
    image = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    stretched = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float32)
    return np.atleast_3d(stretched) / np.float32(255)

"""Which marks of a picture are the digit: its pieces, and neither specks nor an edge nor a digit beside it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from api.inference.light import in_blocks
from api.inference.scipy_images import ndimage
from models.pictures import FAINT

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
EVERY_NEIGHBOUR = np.ones((3, 3), bool)

BLOCKS = 96  # shapes are judged on a picture of at most so many blocks a side
SPECK = 0.02  # of the largest piece's ink
MARK = 0.25  # of the largest piece's ink: as much as that is a shape of its own, far from the others
NEAR = 0.25  # of the digit's longer side: a piece no farther away belongs to it
AS_TALL = 0.6  # of the digit's height: a piece beside it of that height is a digit of its own
EDGE = 0.5  # of a side: what touches so much of it is a table or a frame
BAND = 8  # one part in so many of a box: what has all its ink there, along all four sides, is a rectangle
ALONG = 0.9  # of a side; an ellipse covers two thirds
FRAMED = 0.3  # of a rectangle's height: what is as tall in it is what it was drawn around


@dataclass(frozen=True, slots=True)
class Digit:
    """`ink` of the chosen shape, (h, w), the rest zero; how many shapes there were; what was left out in words."""

    ink: Float32
    shapes: int
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class _Piece:
    label: int
    mass: float
    top: int
    left: int
    bottom: int
    right: int
    at_border: float  # the part of the most touched side

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def longer(self) -> int:
        return max(self.bottom - self.top, self.right - self.left)

    def gap(self, other: "_Piece") -> int:
        """Blocks between the boxes, along the axis on which they are farther apart; negative where they overlap."""
        across = max(self.left, other.left) - min(self.right, other.right)
        down = max(self.top, other.top) - min(self.bottom, other.bottom)
        return max(across, down)

    def surrounds(self, other: "_Piece") -> bool:
        """Whether the other's box lies within this one's and touches it nowhere."""
        return (
            self.top < other.top and self.left < other.left and self.bottom > other.bottom and self.right > other.right
        )

    def beside(self, other: "_Piece") -> bool:
        """Whether the two stand side by side like digits of a number."""
        across = max(self.left, other.left) - min(self.right, other.right)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across >= 0 and down > 0.5 * min(self.height, other.height)


def choose_digit(ink: Float32) -> Digit:
    """The digit among the shapes of `ink`, (h, w), 0 to 1; what is fainter than 12 % of the strongest is no shape."""
    blocks = in_blocks(ink[:, :, None], BLOCKS)[:, :, 0]
    mask = blocks > FAINT * float(blocks.max())
    labels, count = ndimage().label(mask, EVERY_NEIGHBOUR)
    if count <= 1:
        return Digit(_kept(ink, mask), 1, [])
    pieces = _pieces(blocks, labels)
    left_out = []
    unframed = [piece for piece in pieces if not _is_frame(piece, pieces, labels)]
    if len(unframed) < len(pieces):
        left_out.append("frame removed")
        pieces = unframed
    inner = [piece for piece in pieces if piece.at_border < EDGE]
    if inner and len(inner) < len(pieces) and inner[0].mass > SPECK * pieces[0].mass:
        left_out.append("edge left out")
        pieces = inner
    digit, others, specks = _sorted_out(pieces)
    if specks:
        left_out.append("specks left out")
    return Digit(_kept(ink, np.isin(labels, [piece.label for piece in digit])), 1 + others, left_out)


def _pieces(blocks: Float32, labels: npt.NDArray[np.int32]) -> list[_Piece]:
    """The connected pieces, the one with most ink first."""
    masses = np.bincount(labels.ravel(), weights=blocks.ravel())
    sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    touching = np.max([np.bincount(side, minlength=len(masses)) / len(side) for side in sides], axis=0)
    pieces = [
        _Piece(i, float(masses[i]), rows.start, columns.start, rows.stop, columns.stop, float(touching[i]))
        for i, (rows, columns) in enumerate(ndimage().find_objects(labels), 1)
        if masses[i] > SPECK / 4 * masses[1:].max()
    ]
    return sorted(pieces, key=lambda piece: -piece.mass)


def _is_frame(piece: _Piece, pieces: list[_Piece], labels: npt.NDArray[np.int32]) -> bool:
    """Whether the piece is a thin rectangle, perhaps a little askew, around another piece as tall as a digit in it."""
    if not any(piece.surrounds(other) and other.height > FRAMED * piece.height for other in pieces):
        return False
    own = labels[piece.top : piece.bottom, piece.left : piece.right] == piece.label
    down, across = -(-own.shape[0] // BAND), -(-own.shape[1] // BAND)
    if own[down:-down, across:-across].any():
        return False
    sides = own[:down], own[-down:], own[:, :across].T, own[:, -across:].T
    return all(np.mean(side.any(axis=0)) > ALONG for side in sides)


def _sorted_out(pieces: list[_Piece]) -> tuple[list[_Piece], int, int]:
    """The pieces of the digit; how many other shapes there are; how many specks."""
    main = pieces[0]
    digit, others, specks = [main], 0, 0
    for piece in pieces[1:]:
        small = piece.mass < MARK * main.mass
        if piece.beside(main) and piece.height > AS_TALL * main.height and main.height > AS_TALL * piece.height:
            others += 1
        elif piece.mass > SPECK * main.mass and min(piece.gap(one) for one in digit) <= NEAR * main.longer:
            digit.append(piece)
        elif small:
            specks += 1
        else:
            others += 1
    return digit, others, specks


def _kept(ink: Float32, blocks: Mask) -> Float32:
    """`ink` where `blocks`, or one next to them, is set."""
    factor = -(-max(ink.shape) // BLOCKS)
    mask = _grown(blocks).repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = ink.shape
    missing = ((0, max(0, height - mask.shape[0])), (0, max(0, width - mask.shape[1])))
    mask = np.pad(mask, missing, "edge")[:height, :width] if mask.shape != ink.shape else mask
    return np.where(mask, ink, np.float32(0))


def _grown(blocks: Mask) -> Mask:
    """`blocks` and their eight neighbours."""
    tall = blocks.copy()
    tall[1:] |= blocks[:-1]
    tall[:-1] |= blocks[1:]
    grown = tall.copy()
    grown[:, 1:] |= tall[:, :-1]
    grown[:, :-1] |= tall[:, 1:]
    return grown

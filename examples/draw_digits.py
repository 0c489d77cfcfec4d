"""Draws examples/digits/0.png to 9.png: ten digits in an unsteady hand, on all sorts of paper.

    python examples/draw_digits.py

Every digit is a list of strokes, every stroke a smooth curve through the points given for it. The points lie in a box
from (0, 0), top left, to (1, 1). The pen trembles a little and presses unevenly, always in the same way: the files
come out the same each time.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

Point = tuple[float, float]
Stroke = tuple[Point, ...]
Colour = tuple[int, ...]

FOLDER = Path(__file__).parent / "digits"
FINER = 4  # drawn so many times larger, then reduced: smooth edges


@dataclass(frozen=True)
class Drawing:
    """One picture. `box` is left, top, width and height of the digit in pixels, `pen` the width of its line."""

    strokes: tuple[Stroke, ...]
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    pen: float
    mode: str
    paper: Colour
    ink: Colour
    slant: float = 0.1


WHITE, BLACK = (255,), (0,)

DRAWINGS = (
    Drawing(
        (((0.62, 0.04), (0.3, 0.1), (0.08, 0.45), (0.18, 0.85), (0.5, 0.97), (0.85, 0.72), (0.86, 0.28),
          (0.52, 0.03)),),
        (240, 240), (70, 45, 100, 150), 15, "L", WHITE, (25,),
    ),
    Drawing(
        (((0.2, 0.24), (0.4, 0.12), (0.52, 0.02)), ((0.52, 0.02), (0.5, 0.35), (0.52, 0.7), (0.5, 0.98))),
        (200, 280), (60, 60, 80, 160), 17, "L", BLACK, (235,),
    ),
    Drawing(
        (((0.1, 0.27), (0.25, 0.07), (0.58, 0.03), (0.78, 0.24), (0.62, 0.52), (0.33, 0.78), (0.08, 0.95),
          (0.45, 0.9), (0.92, 0.94)),),
        (260, 240), (75, 40, 110, 155), 13, "L", (246,), (50,),
    ),
    Drawing(
        (((0.14, 0.14), (0.42, 0.02), (0.76, 0.14), (0.7, 0.36), (0.38, 0.47)),
         ((0.38, 0.47), (0.74, 0.52), (0.86, 0.74), (0.62, 0.95), (0.28, 0.98), (0.08, 0.84))),
        (260, 260), (80, 50, 100, 160), 14, "RGB", (252, 232, 140), (28, 48, 140),
    ),
    Drawing(
        (((0.5, 0.02), (0.28, 0.34), (0.08, 0.64), (0.4, 0.66), (0.94, 0.61)),
         ((0.74, 0.3), (0.7, 0.62), (0.62, 0.98))),
        (220, 260), (55, 50, 110, 160), 18, "L", (12,), (250,),
    ),
    Drawing(
        (((0.26, 0.05), (0.2, 0.26), (0.16, 0.46), (0.44, 0.4), (0.76, 0.5), (0.84, 0.72), (0.62, 0.93), (0.32, 0.97),
          (0.06, 0.88)), ((0.26, 0.05), (0.55, 0.06), (0.86, 0.03))),
        (380, 320), (230, 130, 100, 150), 14, "L", (250,), (30,),
    ),
    Drawing(
        (((0.7, 0.02), (0.42, 0.18), (0.2, 0.48), (0.14, 0.76), (0.36, 0.96), (0.68, 0.92), (0.82, 0.72), (0.64, 0.54),
          (0.36, 0.58), (0.18, 0.76)),),
        (240, 260), (65, 50, 110, 160), 15, "RGBA", (255, 255, 255, 0), (40, 20, 60, 255),
    ),
    Drawing(
        (((0.08, 0.1), (0.4, 0.08), (0.86, 0.06)), ((0.86, 0.06), (0.66, 0.36), (0.5, 0.66), (0.42, 0.98))),
        (240, 240), (70, 45, 100, 150), 15, "RGB", (244, 238, 226), (70, 30, 30),
    ),
    Drawing(
        (((0.76, 0.14), (0.5, 0.02), (0.22, 0.14), (0.3, 0.36), (0.56, 0.5), (0.8, 0.7), (0.72, 0.92), (0.44, 0.98),
          (0.2, 0.84), (0.3, 0.62), (0.58, 0.42), (0.78, 0.26), (0.74, 0.12)),),
        (280, 280), (90, 55, 100, 165), 13, "RGB", (38, 78, 62), (238, 240, 232),
    ),
    Drawing(
        (((0.8, 0.2), (0.56, 0.03), (0.24, 0.14), (0.18, 0.38), (0.42, 0.5), (0.7, 0.38), (0.82, 0.18)),
         ((0.82, 0.18), (0.8, 0.5), (0.72, 0.78), (0.6, 0.98))),
        (220, 260), (60, 50, 100, 160), 14, "L", (215,), (90,),
    ),
)  # fmt: skip


def smooth(points: Stroke, steps: int = 24) -> list[Point]:
    """Points along the Catmull-Rom curve through `points`."""
    padded = (points[0], *points, points[-1])
    curve = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(steps):
            t = step / steps
            curve.append((_catmull_rom(a[0], b[0], c[0], d[0], t), _catmull_rom(a[1], b[1], c[1], d[1], t)))
    return [*curve, points[-1]]


def _catmull_rom(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def draw(drawing: Drawing, seed: int) -> Image.Image:
    """The picture of `drawing`; `seed` decides how the hand trembles."""
    hand = random.Random(seed)
    left, top, width, height = drawing.box
    mask = Image.new("L", (drawing.size[0] * FINER, drawing.size[1] * FINER))
    canvas = ImageDraw.Draw(mask)
    for stroke in drawing.strokes:
        phase, pressure = hand.uniform(0, math.tau), hand.uniform(0, math.tau)
        for i, (x, y) in enumerate(smooth(stroke)):
            tremble = 0.012 * math.sin(phase + i / 9) + 0.006 * math.sin(i / 4)
            across = left + (x + drawing.slant * (0.5 - y) + tremble) * width
            down = top + (y + tremble / 2) * height
            radius = drawing.pen / 2 * (1 + 0.12 * math.sin(pressure + i / 17))
            dot = (across - radius, down - radius, across + radius, down + radius)
            canvas.ellipse([FINER * edge for edge in dot], fill=255)
    mask = mask.resize(drawing.size, Image.Resampling.BOX)
    ground = Image.new(drawing.mode, drawing.size, drawing.paper)
    return Image.composite(Image.new(drawing.mode, drawing.size, drawing.ink), ground, mask)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for digit, drawing in enumerate(DRAWINGS):
        draw(drawing, seed=digit).save(FOLDER / f"{digit}.png", optimize=True)


if __name__ == "__main__":
    main()

"""MNIST digits made to look like pictures that people send: on clean canvases, and as photographs of paper."""

import gzip
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

PENS = (  # RGB, dark on paper
    (25, 25, 30),  # black
    (35, 55, 140),  # blue
    (40, 60, 95),  # washed-out blue
    (175, 40, 50),  # red
    (30, 100, 60),  # green
    (90, 90, 95),  # pencil
)
RULES = ((120, 160, 215), (150, 150, 160), (215, 130, 140), (130, 190, 190))  # RGB of printed lines
EXIF_ORIENTATION = 0x0112
TURNED = {  # how a camera that is held like this stores the picture: EXIF orientation, what it did to the pixels
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def blow_up(pixels: Pixels, rng: np.random.Generator) -> bytes:
    """A PNG or JPEG file of 60 to 400 pixels a side that shows `pixels`, (28, 28) and light on dark, off centre.

    Half are dark on light, half JPEG (quality 60 to 95), half RGB with a tint. The digit takes 35 to 90 % of the
    shorter side and stays a pixel or more away from the edge. All choices come from `rng`.
    """
    canvas_width, canvas_height = (int(side) for side in rng.integers(60, 401, 2))
    rows, columns = np.nonzero(pixels.any(axis=1))[0], np.nonzero(pixels.any(axis=0))[0]
    digit = Image.fromarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = rng.uniform(0.35, 0.9) * min(canvas_width, canvas_height) / max(digit.size)
    width, height = (max(2, round(side * scale)) for side in digit.size)
    digit = digit.resize((width, height), Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR)
    left = int(rng.integers(1, canvas_width - width))
    top = int(rng.integers(1, canvas_height - height))
    ink = np.zeros((canvas_height, canvas_width, 1), np.float32)
    ink[top : top + height, left : left + width, 0] = np.asarray(digit, np.float32) / 255

    dark, light = rng.uniform(0, 70), rng.uniform(170, 255)
    paper, pen = (dark, light) if rng.random() < 0.5 else (light, dark)
    tint = rng.uniform(0.8, 1.0, 3) if rng.random() < 0.5 else np.ones(1)
    shades = np.clip((paper + (pen - paper) * ink) * tint, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(shades if shades.shape[2] == 3 else shades[:, :, 0])

    file = io.BytesIO()
    if rng.random() < 0.5:
        picture.save(file, "PNG")
    else:
        picture.save(file, "JPEG", quality=int(rng.integers(60, 96)))
    return file.getvalue()


def photograph(pixels: Pixels, rng: np.random.Generator) -> bytes:
    """A JPEG file of quality 70 that shows `pixels`, (28, 28) and light on dark, as a phone would a piece of paper.

    The longer side has 60 to 600 pixels, the shorter one 60 to 100 % of it, never under 60. The digit takes 35 to 80 %
    of the shorter side and lies anywhere, down to two pixels from the edge. The page is turned by up to 10 degrees
    either way, its lines with it. It is tinted paper under a dark or coloured pen, one time in seven a blackboard.
    Half the pages have lines, ruled or squared. The light falls by up to 40 % across the page, gradually or at the
    soft edge of a shadow. The camera blurs, adds noise, and stores one picture in four turned, with EXIF's word on it.
    All choices come from `rng`.
    """
    width, height = _canvas(rng)
    angle = np.deg2rad(rng.uniform(-10, 10))
    digit_side = rng.uniform(0.35, 0.8) * min(width, height)
    ink = _written(pixels, (width, height), digit_side, angle, rng)
    page, pen = _paper_and_pen(rng)
    scene = np.broadcast_to(page, (height, width, 3))
    if rng.random() < 0.5:
        rules = _rules((width, height), digit_side, angle, rng)[:, :, None] * rng.uniform(0.25, 0.75)
        scene = scene + rules * (_rule_colour(page, rng) - scene)
    scene = scene + ink[:, :, None] * (pen - scene)
    return _taken(scene * _light((width, height), rng)[:, :, None], rng)


def _canvas(rng: np.random.Generator) -> tuple[int, int]:
    longer = int(rng.integers(60, 601))
    shorter = max(60, round(longer * rng.uniform(0.6, 1.0)))
    return (longer, shorter) if rng.random() < 0.5 else (shorter, longer)


def _written(
    pixels: Pixels, size: tuple[int, int], side: float, angle: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """`pixels` as ink, (height, width), 0 to 1: the longer side of the digit about `side`, with a pen's sharp edges."""
    rows, columns = np.nonzero(pixels.any(axis=1))[0], np.nonzero(pixels.any(axis=0))[0]
    cut = Image.fromarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = side / max(cut.size)
    large = cut.resize((max(2, round(cut.width * scale)), max(2, round(cut.height * scale))), Image.Resampling.BICUBIC)
    margin = max(large.size) // 4
    field = Image.new("L", (large.width + 2 * margin, large.height + 2 * margin))
    field.paste(large, (margin, margin))
    turned = field.rotate(-np.rad2deg(angle), Image.Resampling.BICUBIC)
    left, top, right, bottom = turned.point([0] * 60 + [255] * 196).getbbox() or (0, 0, *turned.size)
    turned = turned.crop((left, top, right, bottom))
    turned.thumbnail((size[0] - 4, size[1] - 4))
    edge = rng.uniform(0.3, 0.5)  # a lower one makes a thicker pen
    crisp = np.clip((np.asarray(turned) / 255 - edge) / 0.3 + 0.5, 0, 1)
    at_x, at_y = (int(rng.integers(2, free - 1)) for free in (size[0] - turned.width, size[1] - turned.height))
    ink = np.zeros((size[1], size[0]))
    ink[at_y : at_y + turned.height, at_x : at_x + turned.width] = crisp
    return ink


def _paper_and_pen(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The colours of both, RGB."""
    if rng.random() < 1 / 7:
        return rng.uniform(25, 75) * rng.uniform(0.7, 1.0, 3), rng.uniform(190, 250) * rng.uniform(0.85, 1.0, 3)
    pen = np.array(PENS[int(rng.integers(len(PENS)))]) + rng.uniform(-15, 15, 3)
    return rng.uniform(170, 255) * rng.uniform(0.8, 1.0, 3), np.clip(pen, 0, 255)


def _rule_colour(page: Floats, rng: np.random.Generator) -> Floats:
    printed = np.array(RULES[int(rng.integers(len(RULES)))], float)
    return printed * 0.55 if page.mean() > 127 else np.minimum(page + 110, 200)


def _rules(size: tuple[int, int], digit_side: float, angle: float, rng: np.random.Generator) -> Floats:
    """Where the page is printed, (height, width), 0 to 1: parallel lines, or squares."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    squared = rng.random() < 0.4
    spacing = max(8.0, digit_side * (rng.uniform(0.2, 0.6) if squared else rng.uniform(0.4, 1.2)))
    thickness = max(1.0, digit_side * rng.uniform(0.01, 0.03))
    printed = _lines(down * np.cos(angle) - across * np.sin(angle), spacing, thickness, rng)
    if squared:
        other = _lines(across * np.cos(angle) + down * np.sin(angle), spacing, thickness, rng)
        printed = np.maximum(printed, other)
    return printed


def _lines(along: Floats, spacing: float, thickness: float, rng: np.random.Generator) -> Floats:
    away = np.abs((along + rng.uniform(0, spacing)) % spacing - spacing / 2)
    return np.clip(thickness / 2 + 0.5 - away, 0, 1)


def _light(size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """The part of the full light that reaches each point, (height, width): 1 down to 0.6."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    towards = rng.uniform(0, 2 * np.pi)
    along = np.cos(towards) * across + np.sin(towards) * down
    along = (along - along.min()) / np.ptp(along)
    if rng.random() < 0.3:  # the shadow of a hand or a phone
        along = 1 / (1 + np.exp(-(along - rng.uniform(0.2, 0.8)) / rng.uniform(0.02, 0.1)))
    return 1 - rng.uniform(0, 0.4) * along


def _taken(scene: Floats, rng: np.random.Generator) -> bytes:
    """`scene`, (height, width, 3) and 0 to 255, as the file of a camera."""
    sharp = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    radius = rng.uniform(0.2, 0.5 + max(sharp.size) / 500)
    seen = np.asarray(sharp.filter(ImageFilter.GaussianBlur(radius)), float)
    grain = rng.uniform(0, 10)
    noise = rng.normal(0, 0.8 * grain, (*seen.shape[:2], 1)) + rng.normal(0, 0.6 * grain, seen.shape)
    photo = Image.fromarray(np.clip(seen + noise, 0, 255).astype(np.uint8))
    exif = Image.Exif()
    if rng.random() < 0.25:
        orientation = list(TURNED)[int(rng.integers(len(TURNED)))]
        photo = photo.transpose(TURNED[orientation])
        exif[EXIF_ORIENTATION] = orientation
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=70, exif=exif.tobytes())
    return file.getvalue()


def contact_sheet(pictures: list[Image.Image], columns: int, side: int = 120) -> Image.Image:
    """`pictures`, each fitted into a square of `side` pixels, row by row on grey."""
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side), (128, 128, 128))
    for i, picture in enumerate(pictures):
        small = picture.convert("RGB")
        factor = (side - 4) / max(small.size)
        small = small.resize((max(1, round(small.width * factor)), max(1, round(small.height * factor))))
        sheet.paste(small, (i % columns * side + 2, i // columns * side + 2))
    return sheet


def mnist_test_images(folder: Path) -> Pixels:
    """MNIST's 10,000 test images, (10000, 28, 28), from `folder`/mnist, gzipped or not."""
    return images_for_tests(folder, "mnist")


def images_for_tests(folder: Path, name: str) -> Pixels:
    """The 10,000 test images, (10000, 28, 28), of the data set in `folder`/`name`, gzipped or not."""
    path = folder / name / "t10k-images-idx3-ubyte"
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)

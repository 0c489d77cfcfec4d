"""MNIST digits made to look like pictures that people send: bigger, moved, inverted, coloured, compressed."""

import gzip
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def blow_up(pixels: npt.NDArray[np.uint8], rng: np.random.Generator) -> bytes:
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


def mnist_test_images(folder: Path) -> npt.NDArray[np.uint8]:
    """MNIST's 10,000 test images, (10000, 28, 28), from `folder`/mnist, gzipped or not."""
    path = folder / "mnist" / "t10k-images-idx3-ubyte"
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".gz").read_bytes())
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 28, 28)

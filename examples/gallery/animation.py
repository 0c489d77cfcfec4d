"""The spiral's decision regions over the epochs: an animated GIF from the weights that the service keeps."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from examples.gallery.service import Service
from models.synthetic import spiral

Array = npt.NDArray[Any]
SIDE, REACH = 260, 1.15
REGION = np.array([[178, 203, 233], [250, 214, 165], [190, 225, 190]], np.uint8)
POINT = ((31, 80, 150), (200, 100, 0), (40, 120, 40))
FRAME_MS, LAST_MS = 350, 2500
KEPT = re.compile(r"epoch-(\d+)\.npz")


def animate(service: Service, job_id: str) -> bytes:
    """A GIF with one frame for each epoch of the job whose weights are kept."""
    dataset = service.job(job_id)["spec"]["dataset"]
    points, labels = spiral(dataset["samples"], dataset["n_classes"], dataset["seed"])
    epochs = sorted(int(found[1]) for file in service.artifacts(job_id) if (found := KEPT.fullmatch(file["name"])))
    frames = []
    for epoch in epochs:
        data = service.file(f"/v1/jobs/{job_id}/artifacts/epoch-{epoch}.npz")
        with np.load(io.BytesIO(data), allow_pickle=False) as weights:
            frames.append(draw(dict(weights), points, labels, f"epoch {epoch:,}"))
    return gif(frames)


def scores(weights: Mapping[str, Array], points: Array) -> Array:
    """The last layer's inputs to softmax, (n, classes): dense layers in order, relu between them.

    `weights` has the arrays `<layer>/0` (kernel) and `<layer>/1` (bias); layers are `dense`, `dense_1` and so on.
    """
    names = sorted({key.rpartition("/")[0] for key in weights}, key=lambda name: (len(name), name))
    values = points
    for place, name in enumerate(names):
        values = values @ weights[f"{name}/0"] + weights[f"{name}/1"]
        if place < len(names) - 1:
            values = np.maximum(values, 0)
    return values


def draw(weights: Mapping[str, Array], points: Array, labels: Array, title: str) -> Image.Image:
    """The plane in the colours of the answers, and the points in those of their classes."""
    line = np.linspace(-REACH, REACH, SIDE)
    plane = np.stack(np.meshgrid(line, line[::-1]), axis=-1).reshape(-1, 2)
    answers = scores(weights, plane).argmax(axis=1).reshape(SIDE, SIDE)
    picture = Image.fromarray(REGION[answers])
    pen = ImageDraw.Draw(picture)
    places = (points * [1, -1] + REACH) / (2 * REACH) * (SIDE - 1)
    for (x, y), label in zip(places, labels, strict=True):
        pen.ellipse([x - 2, y - 2, x + 2, y + 2], fill=POINT[label])
    pen.text((6, 4), title, fill=(0, 0, 0))
    return picture


def gif(frames: Sequence[Image.Image]) -> bytes:
    """The frames as an animation that stays a while at its end."""
    flat = [frame.quantize(32, dither=Image.Dither.NONE) for frame in frames]
    out = io.BytesIO()
    durations = [*[FRAME_MS] * (len(flat) - 1), LAST_MS]
    flat[0].save(out, "GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=True)
    return out.getvalue()

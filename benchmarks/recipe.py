"""How well photographs are read: the recipe, a plain resize and the original pixels before the same models.

`python -m benchmarks.recipe --out FOLDER model.onnx ...` takes the `model.onnx` of jobs that learned MNIST, and MNIST
from TRAINYARD_DATASETS_DIR. It prints the tables and writes the worst failures, each beside what the model was shown,
to FOLDER/failures.png. Nothing is trained and no service is needed.
"""

import argparse
import gzip
import io
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from api.inference.recipe import Seen, see_digit, warm
from api.inference.sessions import Predictor
from tests.factories.datasets import real_datasets_dir
from tests.factories.photos import blow_up, contact_sheet, mnist_test_images, photograph

Float32 = npt.NDArray[np.float32]
Make = Callable[[npt.NDArray[np.uint8], np.random.Generator], bytes]

CURES = ("frame removed", "light evened", "lines removed", "squares removed", "strokes thickened", "strokes thinned",
         "edge left out", "specks left out", "turned upright")  # fmt: skip
SHOWN = 48  # failures on the sheet


def main() -> None:
    """Print the tables, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    models = {f"{path.parent.name}/{path.stem}": Predictor(path.read_bytes()) for path in asked.models}
    images, labels = _mnist()
    chosen = np.random.default_rng(asked.seed).choice(len(images), asked.photos, replace=False)
    images, labels = images[chosen], labels[chosen]
    warm()
    photos, seen, seconds = _photographed(images, photograph, asked.seed)
    _, clean, _ = _photographed(images, blow_up, asked.seed)
    print(f"{len(photos)} photographs of seed {asked.seed}; the recipe takes {1000 * seconds:.1f} ms each (median)\n")
    shown = {
        "original pixels": images.astype(np.float32),
        "recipe, photographs": _pixels(seen),
        "plain resize, photographs": np.stack([_resized(photo) for photo in photos]),
        "plain resize, inverted where light": np.stack([_dark(_resized(photo)) for photo in photos]),
        "recipe, blown up": _pixels(clean),
    }
    print("| % right | " + " | ".join(models) + " |\n|---|" + "---:|" * len(models))
    for name, pixels in shown.items():
        right = [100 * np.mean(_read(model, pixels) == labels) for model in models.values()]
        print(f"| {name} | " + " | ".join(f"{share:.1f}" for share in right) + " |")
    first = next(iter(models.values()))
    answers = _read(first, shown["recipe, photographs"])
    same = np.mean(_read(first, shown["recipe, blown up"]) == _read(first, shown["original pixels"]))
    print(f"\nThe first model: {100 * same:.1f} % of blown-up pictures get the answer of their pixels.\n")
    _by_cure(seen, answers == labels)
    asked.out.mkdir(parents=True, exist_ok=True)
    _sheet(photos, seen, answers, labels, first).save(asked.out / "failures.png")


def _mnist() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    folder = real_datasets_dir()
    if folder is None:
        raise SystemExit("MNIST is needed: set TRAINYARD_DATASETS_DIR to a folder with mnist/.")
    path = folder / "mnist" / "t10k-labels-idx1-ubyte"
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".gz").read_bytes())
    return mnist_test_images(folder), np.frombuffer(data, np.uint8, offset=8)


def _photographed(images: npt.NDArray[np.uint8], make: Make, seed: int) -> tuple[list[bytes], list[Seen], float]:
    """The files, what is seen in them, and the median seconds of seeing."""
    rng = np.random.default_rng(seed)
    files = [make(image, rng) for image in images]
    seen, seconds = [], []
    for file in files:
        began = time.perf_counter()
        seen.append(see_digit(file))
        seconds.append(time.perf_counter() - began)
    return files, seen, statistics.median(seconds)


def _pixels(seen: list[Seen]) -> Float32:
    return np.stack([one.pixels for one in seen])


def _resized(photo: bytes) -> Float32:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(photo)))
    return np.asarray(upright.convert("L").resize((28, 28)), np.float32)


def _dark(pixels: Float32) -> Float32:
    return 255 - pixels if np.median(pixels) > 127 else pixels


def _read(model: Predictor, pixels: Float32) -> npt.NDArray[np.intp]:
    answers: npt.NDArray[np.intp] = model.predict(pixels[..., None]).argmax(axis=1)
    return answers


def _by_cure(seen: list[Seen], right: npt.NDArray[np.bool_]) -> None:
    print("| what was done, or doubted | photographs | % right |\n|---|---:|---:|")
    told = [set(one.steps) | {warning.split(":")[0].split(".")[0] for warning in one.warnings} for one in seen]
    doubts = Counter(each for said, one in zip(told, seen, strict=True) for each in said - set(one.steps))
    for name in (*CURES, *sorted(doubts)):
        hits = np.array([name in said for said in told])
        if hits.any():
            print(f"| {name} | {hits.sum()} | {100 * right[hits].mean():.1f} |")
    none = np.array([not said & {*CURES, *doubts} for said in told])
    if none.any():
        print(f"| none of these | {none.sum()} | {100 * right[none].mean():.1f} |")


def _sheet(
    photos: list[bytes],
    seen: list[Seen],
    answers: npt.NDArray[np.intp],
    labels: npt.NDArray[np.uint8],
    model: Predictor,
) -> Image.Image:
    """The failures of which the model is surest, each a photograph and what was seen; their list is printed."""
    wrong = np.flatnonzero(answers != labels)
    sure = model.predict(_pixels(seen)[wrong][..., None]).max(axis=1) if wrong.size else np.zeros(0)
    pictures: list[Image.Image] = []
    print("\nThe worst failures, row by row:\n")
    for i in wrong[np.argsort(-sure)][:SHOWN]:
        print(f"photograph {i}, a {labels[i]} read as {answers[i]}: {', '.join(seen[i].steps)} {seen[i].warnings}")
        pictures.append(ImageOps.exif_transpose(Image.open(io.BytesIO(photos[i]))))
        pictures.append(Image.fromarray(seen[i].pixels.astype(np.uint8)))
    return contact_sheet(pictures or [Image.new("L", (28, 28))], columns=8, side=150)


if __name__ == "__main__":
    main()

"""From the bytes of a picture file to an array of bounded size, whatever the file claims to be."""

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile

from api.inference.errors import InputError

Float32 = npt.NDArray[np.float32]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 50_000_000
MAX_SIDE = 512  # far more than 28x28 can show, little enough to be quick

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# WebP's decoder reserves its canvas as soon as a file is opened, so Pillow's own bound has to be as tight as ours. Its
# warnings about that bound, bad EXIF and the like are answered or ignored here; the log is no place for them.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: `colours` of shape (h, w, 1) or (h, w, 3), 0 to 1, and what was done to it on the way."""

    colours: Float32
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture file whose header was read, and nothing more; `size` is the file's, in bytes."""

    image: ImageFile.ImageFile
    size: int

    @property
    def pixels(self) -> int:
        """How many it says it has."""
        return self.image.width * self.image.height


def open_picture(data: bytes) -> Opened:
    """A PNG, JPEG, WebP, BMP or GIF file, judged by its header.

    Raises InputError: 413 above 50 million pixels, 422 for anything else.
    """
    return Opened(_opened(data), len(data))


def read_picture(file: bytes | Opened) -> Picture:
    """The first frame of a picture file, upright, without alpha, at most 512 pixels a side.

    Raises InputError: what `open_picture` raises, and 422 for a file that is not whole.
    """
    opened = open_picture(file) if isinstance(file, bytes) else file
    try:
        return _decoded(opened.image)
    except Exception as error:  # a decoder fed with damaged bytes raises almost anything
        detail = f"The picture is damaged or cut short. Received: {opened.size:,} bytes of {opened.image.format}."
        raise InputError(422, "picture_damaged", detail, received=f"{opened.size} bytes") from error


def _opened(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise InputError(422, "picture_empty", "The picture is empty. Received: 0 bytes.", received=_size(data))
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("more") from error
    except Exception as error:
        detail = f"Not a picture in the format {', '.join(FORMATS)}. Received: {len(data):,} bytes{_looks_like(data)}."
        raise InputError(422, "picture_unreadable", detail, received=_size(data)) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(f"{image.width}x{image.height}")
    return image


def _too_large(size: str) -> InputError:
    detail = f"A picture may have at most {MAX_PIXELS:,} pixels. Received: {size}."
    return InputError(413, "picture_too_large", detail, received=size)


def _size(data: bytes) -> str:
    return f"{len(data)} bytes"


def _looks_like(data: bytes) -> str:
    """A guess worth adding to an error message, else nothing."""
    if data.startswith(b"%PDF"):
        return " of PDF"
    if data.startswith((b"II*\0", b"MM\0*")):
        return " of TIFF"
    if data[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif"):
        return " of HEIC or AVIF"
    if data.lstrip()[:5].lower() in (b"<svg ", b"<?xml"):
        return " of SVG or XML"
    return " of text" if data[:200].isascii() and b"\0" not in data[:200] else ""


def _decoded(image: ImageFile.ImageFile) -> Picture:
    full_size = image.size
    image.draft(None, (MAX_SIDE, MAX_SIDE))  # JPEG alone: decodes to a half, a quarter or an eighth, at least this big
    image.load()
    orientation = _orientation(image)
    small = _without_palette(image)
    factor = math.ceil(max(small.size) / MAX_SIDE)
    if factor > 1:
        small = small.reduce(factor)
    steps = [] if small.size == full_size else [f"reduced to {small.width}x{small.height}"]
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
        steps.append("turned upright")
    values = np.atleast_3d(np.asarray(small))
    if small.mode in ("LA", "RGBA") and values[:, :, -1].min() < 255:
        colours, ground = _laid_on_ground(values.astype(np.float32) / np.float32(255))
        return Picture(colours, (*steps, f"laid on {ground}"))
    if small.mode in ("LA", "RGBA"):
        values = values[:, :, :-1]
    if values.shape[2] > 1 and (values == values[:, :, :1]).all():  # grey all the same: a third of the work
        values = values[:, :, :1]
    return Picture(values.astype(np.float32) / np.float32(255), tuple(steps))


def _orientation(image: Image.Image) -> int:
    """EXIF's word on which way is up, 1 to 8; 1 when it says nothing sensible."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the picture is worth more than its notes
        return 1


def _without_palette(image: Image.Image) -> Image.Image:
    """`image` in one of the modes L, LA, RGB and RGBA."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        deep = np.asarray(image)
        return Image.fromarray((deep * (255 / max(float(deep.max()), 1e-9))).astype(np.uint8))
    if image.mode in ("LA", "RGBA"):
        return image
    if image.mode in ("PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode == "L":
        return image
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB")


def _laid_on_ground(values: Float32) -> tuple[Float32, str]:
    """The colours of `values`, (h, w, 2) or (h, w, 4), on white; on black where all that is solid is white."""
    colours, alpha = values[:, :, :-1], values[:, :, -1:]
    solid = alpha[:, :, 0] >= 0.9 * float(alpha.max())
    all_light = float(colours[solid].min(initial=1.0)) > 0.9
    ground = 0.0 if all_light else 1.0
    return colours * alpha + ground * (1 - alpha), "black" if all_light else "white"

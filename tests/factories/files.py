"""Picture files for tests: encoded in memory, whole or hostile."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from examples.draw_digits import DRAWINGS, draw

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """`image` as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def handwriting(digit: int) -> npt.NDArray[np.uint8]:
    """A drawn digit, grey, light on dark, its paper exactly 0 and its ink 255."""
    grey = np.asarray(draw(DRAWINGS[digit], seed=digit).convert("RGBA"), np.float32)
    ink = np.abs(grey - grey[0, 0]).max(axis=2)
    return (ink * (255 / ink.max())).astype(np.uint8)


def hollow_png(width: int, height: int) -> bytes:
    """A valid PNG of nothing but zeros, grey: a few kilobytes even for 30,000x30,000 pixels."""
    packer = zlib.compressobj(9)
    rows = b"\0" * (1 + width)
    pixels = b"".join([packer.compress(rows) for _ in range(height)]) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def form(*files: tuple[str, bytes], fields: dict[str, str] | None = None) -> tuple[str, bytes]:
    """Content type and body of a multipart/form-data request with `files`, pairs of field name and bytes."""
    parts = [
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    for name, value in (fields or {}).items():
        parts.append(f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    return "multipart/form-data; boundary=frontier", b"".join(parts) + b"--frontier--\r\n"


def never(*_: object) -> None:
    """In place of what must not happen."""
    raise AssertionError("this should not have been called")

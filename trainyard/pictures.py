"""What a caller calls a picture, as the body of a predict request."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol


class HasToList(Protocol):
    """A NumPy array, and what behaves like one."""

    def tolist(self) -> Any: ...


Picture = str | os.PathLike[str] | bytes | HasToList | Sequence[Any]

# How the formats that the service reads begin; a WEBP is told by the name that follows its RIFF length.
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"BM": "image/bmp",
    b"GIF8": "image/gif",
}


def predict_body(picture: Picture) -> dict[str, Any]:
    """The arguments for httpx2 that send `picture`: a file's bytes raw, an array as JSON."""
    if isinstance(picture, bytes | bytearray):
        return {"content": bytes(picture), "headers": {"Content-Type": media_type(picture)}}
    if isinstance(picture, str | os.PathLike):
        return predict_body(Path(picture).read_bytes())
    values = picture.tolist() if hasattr(picture, "tolist") else picture
    return {
        "json": {"pixels": values} if is_picture(values) else {"instances": values if depth(values) > 1 else [values]}
    }


def media_type(data: bytes | bytearray) -> str:
    """The media type that the first bytes tell; the service refuses what is no image with a sentence."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "application/octet-stream")


def is_picture(values: Any) -> bool:
    """Whether `values` is one picture of 28x28; a list of such, or rows of features, is not."""
    return depth(values) == 2 and len(values) == 28 and all(len(row) == 28 for row in values)


def depth(values: Any) -> int:
    """How deep lists are nested: 0 for a number, 2 for rows of numbers."""
    levels = 0
    while isinstance(values, list | tuple):
        levels += 1
        values = values[0] if values else None
    return levels

"""Everything that `predict` takes, as one batch of arrays: files, forms, base64 and plain numbers."""

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from api.inference.arrays import brief, check_count, read_numbers
from api.inference.errors import InputError
from api.inference.forms import read_form
from api.inference.pieces import PIECE_BYTES, pieces_of
from api.inference.pixels import Opened, open_picture
from api.inference.recipe import Seen, see_array, see_digit, see_plain
from models.datasets import Recipe

Float32 = npt.NDArray[np.float32]
Sent = TypeVar("Sent")
Result = TypeVar("Result")

PICTURE_NDIM = 4
MAX_ITEMS = 1_000
MAX_TOTAL_PIXELS = 400_000_000  # of all pictures in one request: some seconds of decoding
KEYS = ("image", "pixels", "instances")
IMAGE_TYPES = ("image/png", "image/jpeg", "image/jpg", "image/webp", "image/bmp", "image/x-ms-bmp", "image/gif")
ACCEPTED = "image/png, image/jpeg, image/webp, image/bmp, image/gif, multipart/form-data or application/json"
RECIPES: dict[Recipe, Callable[[bytes | Opened], Seen]] = {"digit": see_digit, "plain": see_plain}


@dataclass(frozen=True, slots=True)
class Inputs:
    """A batch for a model: `images` (n, *shape), and what became of each of the `pictures` that came as files."""

    images: Float32
    pictures: list[Seen] | None = None

    @property
    def seen(self) -> list[Seen] | None:
        """What the model is shown of each picture or array of pixels; None for feature vectors."""
        if self.pictures is not None or self.images.ndim != PICTURE_NDIM:
            return self.pictures
        return [see_array(image[:, :, 0]) for image in self.images]


class Heavy(Exception):
    """The pictures have more pixels than the caller wants to decode here and now."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """What the model that is asked takes, and how many pixels the caller is ready to decode."""

    shape: tuple[int, ...]
    recipe: Recipe | None
    most_pixels: int

    def json(self, body: bytes) -> Inputs:
        check_count(body)
        if len(body) > PIECE_BYTES and (read := self.in_pieces(body)) is not None:
            return read
        try:
            sent = from_json(body, allow_inf_nan=False, cache_strings="none")
        except ValueError as error:
            raise InputError(422, "json_invalid", f"The body is not valid JSON: {error}.", "", _size(body)) from error
        if not isinstance(sent, dict):
            detail = f"The body should be an object with one of {', '.join(KEYS)}. Received: {brief(sent)}."
            raise InputError(422, "dict_type", detail, "", brief(sent))
        present = [key for key in KEYS if key in sent]
        if not present:
            detail = f"One of {', '.join(KEYS)} is required. Received keys: {', '.join(sent)[:100] or 'none'}."
            raise InputError(
                422,
                "missing",
                detail,
                "/image" if self.recipe is not None else "/instances",
                [key[:40] for key in list(sent)[:10]],
            )
        if len(sent) > 1:
            extra = next(key for key in sent if key != present[0])
            detail = f"Only one key is taken, here {present[0]!r}. Received also: {extra[:40]!r}."
            raise InputError(422, "extra_forbidden", detail, f"/{_escape(extra)}", extra[:40])
        key = present[0]
        if key == "image":
            return self.base64(sent[key])
        if key not in self._keys_of_numbers:
            raise InputError(422, "pixels_unexpected", self._wants("pixels"), "/pixels", brief(sent[key]))
        return self.numbers(sent[key], f"/{key}", single=key == "pixels")

    def in_pieces(self, body: bytes) -> Inputs | None:
        """Many arrays, a piece after the other; None for any other body, also one with a mistake, which is found in the
        whole."""
        if (found := pieces_of(body)) is None or found[0] not in self._keys_of_numbers:
            return None
        read: list[Inputs] = []
        try:
            for piece in found[1]:
                items = from_json(piece, allow_inf_nan=False, cache_strings="none")[1:]
                read.append(self.numbers(items, "", single=False))
        except (ValueError, InputError):
            return None
        images = np.concatenate([one.images for one in read])
        return Inputs(images) if len(images) <= MAX_ITEMS else None

    @property
    def _keys_of_numbers(self) -> tuple[str, ...]:
        return ("instances",) if self.recipe is None else ("pixels", "instances")

    def base64(self, sent: object) -> Inputs:
        texts = sent if isinstance(sent, list) else [sent]
        _check_count(len(texts), "/image")
        pointers = [f"/image/{i}" for i in range(len(texts))] if isinstance(sent, list) else ["/image"]
        return self.pictures([_unbase64(text, at) for text, at in zip(texts, pointers, strict=True)], pointers)

    def numbers(self, sent: object, pointer: str, *, single: bool) -> Inputs:
        """Arrays of `shape`, or without its last dimension where that is 1; also just one of them if `single`."""
        is_image = len(self.shape) == 3
        if not isinstance(sent, list):
            detail = f"Input should be a list. Received: {brief(sent)}."
            raise InputError(422, "list_type", detail, pointer, brief(sent))
        flat = self.shape[:-1] if self.shape[-1] == 1 and len(self.shape) > 1 else self.shape
        depth = _depth(sent)
        upper = 255.0 if is_image else None
        if single and (depth == len(flat) or _starts_like(sent, self.shape)):
            item = self.shape if depth == len(self.shape) else flat
            images = read_numbers(sent, item, pointer, upper=upper)[None]
        else:
            _check_count(len(sent), pointer)
            item = self.shape if depth == len(self.shape) + 1 else flat
            images = read_numbers(sent, (len(sent), *item), pointer, upper=upper)
        return Inputs(images.reshape(-1, *self.shape))

    def form(self, content_type: str, body: bytes) -> Inputs:
        files = read_form(content_type, body)
        _check_count(len(files), "/file")
        names = [f"/{_escape(file.name)}" for file in files]
        pointers = names if len(files) == 1 else [f"{name}/{i}" for i, name in enumerate(names)]
        return self.pictures([file.data for file in files], pointers)

    def pictures(self, files: Sequence[bytes], pointers: Sequence[str]) -> Inputs:
        if self.recipe is None:
            received = "a picture" if len(files) == 1 else f"{len(files):,} pictures"
            raise InputError(422, "picture_unexpected", self._wants("pictures"), pointers[0], received)
        # One is opened once. Of many, each is closed before the next: an open WebP file holds its whole canvas.
        given: Sequence[bytes | Opened] = files if len(files) > 1 else [_at(pointers[0], open_picture, files[0])]
        total = sum(_at(pointer, _pixels, one) for one, pointer in zip(given, pointers, strict=True))
        if total > MAX_TOTAL_PIXELS:
            most = f"{MAX_TOTAL_PIXELS:,}"
            detail = f"The pictures of a request may have at most {most} pixels in all. Received: {total:,}."
            raise InputError(413, "picture_too_large", detail, received=total)
        if total > self.most_pixels:
            raise Heavy
        see = RECIPES[self.recipe]
        seen = [_at(pointer, see, one) for one, pointer in zip(given, pointers, strict=True)]
        return Inputs(np.stack([one.pixels for one in seen])[..., None], seen)

    def _wants(self, sent: str) -> str:
        size = math.prod(self.shape)
        numbers = ", ".join(f"x{n}" for n in range(1, size + 1))
        return (
            f"This model takes {size} {'number' if size == 1 else 'numbers'} an example, not {sent}: "
            f'send {{"instances": [[{numbers}], ...]}}. Received: {sent}.'
        )


def read_inputs(
    content_type: str,
    body: bytes,
    *,
    shape: tuple[int, ...] = (28, 28, 1),
    recipe: Recipe | None = "digit",
    most_pixels: int = MAX_TOTAL_PIXELS,
) -> Inputs:
    """The body of a predict request as a batch of float32 arrays of `shape`; pictures go through `recipe`.

    Taken are: a picture file; multipart/form-data with files; JSON `{"image": base64 or a list}`, `{"pixels": one
    array or a list}`, `{"instances": a list of arrays}`. Arrays are 28x28 or 28x28x1, 0 to 255, light on dark, and used
    as they are. Without a recipe a model takes features: only `instances`, lists of finite numbers. Raises InputError:
    413 too many or too large, 415 another content type, 422 what cannot be read; and Heavy, before anything is decoded,
    when the pictures have more than `most_pixels`.
    """
    kind = content_type.partition(";")[0].strip().lower()
    reader = _Reader(shape, recipe, most_pixels)
    if kind in IMAGE_TYPES:
        return reader.pictures([body], [""])
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return reader.json(body)
    if kind == "multipart/form-data":
        return reader.form(content_type, body)
    detail = f"Content-Type should be {ACCEPTED}. Received: {kind[:60] or 'none'}."
    raise InputError(415, "content_type", detail, received=kind[:60])


def _check_count(count: int, pointer: str) -> None:
    if count == 0:
        raise InputError(422, "too_short", "At least one item is needed. Received: an empty list.", pointer, 0)
    if count > MAX_ITEMS:
        detail = f"At most {MAX_ITEMS:,} items a request. Received: {count:,}."
        raise InputError(413, "too_long", detail, pointer, count)


def _pixels(given: bytes | Opened) -> int:
    return (open_picture(given) if isinstance(given, bytes) else given).pixels


def _at(pointer: str, read: Callable[[Sent], Result], sent: Sent) -> Result:
    try:
        return read(sent)
    except InputError as error:
        raise error.at(pointer) from error


def _unbase64(text: object, pointer: str) -> bytes:
    if not isinstance(text, str):
        detail = f"Input should be a string, a picture file in base64. Received: {brief(text)}."
        raise InputError(422, "string_type", detail, pointer, brief(text))
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(422, "base64_invalid", f"Not valid base64: {error}.", pointer, brief(text)) from error


def _depth(sent: Any) -> int:
    depth = 0
    while isinstance(sent, list):
        depth += 1
        sent = sent[0] if sent else None
    return depth


def _starts_like(sent: Any, shape: tuple[int, ...]) -> bool:
    """Whether `sent` follows `shape` along its first items."""
    for side in shape:
        if not isinstance(sent, list) or len(sent) != side:
            return False
        sent = sent[0]
    return not isinstance(sent, list)


def _escape(key: str) -> str:
    """A key as part of a JSON pointer (RFC 6901), cut to a length fit for a message."""
    return key[:40].replace("~", "~0").replace("/", "~1")


def _size(body: bytes) -> str:
    return f"{len(body)} bytes"

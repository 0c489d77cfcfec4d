"""Pictures and bodies with something wrong in them: whatever is sent is answered, and little is decoded for it."""

import base64
import functools
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from api.deps import Room
from api.inference.pixels import MAX_PIXELS
from tests.api.conftest import add_version
from tests.factories.examples import examples
from tests.factories.files import FORMATS, form, hollow_png

MODES = {"PNG": ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"], "JPEG": ["L", "RGB", "CMYK"], "WEBP": ["RGB", "RGBA"]}
KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "BMP": "image/bmp", "GIF": "image/gif"}
HOSTILE = [0, 1, 2, 0x7F, 0x80, 0xFF]
SIDES = [0, 1, 255, 7_000, 7_072, 30_000, 2**16 - 1, 2**31 - 1, 2**32 - 1]
BOMBS = [(7_000, 7_000), (7_100, 7_100), (1, 65_000), (65_000, 1)]
# Where a file says how large the picture is, and how that is written.
SIZES = {"BMP": (18, "<I", 4), "GIF": (6, "<H", 2), "WEBP": (24, "<H", 2)}


@functools.cache
def bomb(width: int, height: int) -> bytes:
    return hollow_png(width, height)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid picture and its format."""
    kind = draw(st.sampled_from(FORMATS))
    mode = draw(st.sampled_from(MODES.get(kind, ["L", "RGB", "P"])))
    sides = st.integers(1, 60)
    file = io.BytesIO()
    Image.new(mode, (draw(sides), draw(sides)), draw(st.integers(0, 1))).save(file, kind)
    return kind, file.getvalue()


def resized(draw: st.DrawFn, kind: str, data: bytes) -> bytes:
    """The same file, of which the header tells another size."""
    sides = st.sampled_from(SIDES)
    if kind == "PNG":
        header = struct.pack(">II", draw(sides), draw(sides)) + data[24:29]
        return data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]
    if kind == "JPEG":
        # Baseline: marker, two bytes of length, one of precision, then height and width.
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + struct.pack(">HH", draw(sides) % 2**16, draw(sides) % 2**16) + data[at + 4 :]
    at, form, size = SIZES[kind]
    told = b"".join(struct.pack(form, draw(sides) % 256**size) for _ in range(2))
    return data[:at] + told + data[at + len(told) :]


def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` cut, with bytes changed (the first hundred more often than others), a piece doubled, or more behind it."""
    match draw(st.sampled_from(["cut", "changed", "doubled", "longer"])):
        case "cut":
            return data[: draw(st.integers(0, len(data)))]
        case "changed":
            changed = bytearray(data)
            for _ in range(draw(st.integers(1, 8))):
                at = draw(st.integers(0, min(99, len(data) - 1)) | st.integers(0, len(data) - 1))
                changed[at] = draw(st.sampled_from(HOSTILE) | st.integers(0, 255))
            return bytes(changed)
        case "doubled":
            first = draw(st.integers(0, len(data) - 1))
            piece = data[first : draw(st.integers(first, len(data)))]
            return data[:first] + piece * draw(st.integers(2, 50)) + data[first:]
        case _:
            return data + draw(st.binary(max_size=200))


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A picture with something wrong in it, and its format."""
    kind, data = draw(pictures())
    match draw(st.integers(0, 9)):
        case 0:
            return "PNG", bomb(*draw(st.sampled_from(BOMBS)))
        case 1 | 2 | 3:
            return kind, resized(draw, kind, data)
        case _:
            return kind, mutated(draw, data)


@st.composite
def uploads(draw: st.DrawFn) -> tuple[str, bytes]:
    """A content type and a body: such a picture by itself, in a form or in base64; or its whole body mutated."""
    kind, data = draw(files())
    said = draw(st.sampled_from([KINDS[kind], KINDS[kind], *KINDS.values()]))
    how = draw(st.sampled_from(["file", "file", "form", "image"]))
    body = (said, data)
    if how == "form":
        body = form(*[("file", data)] * draw(st.integers(1, 3)))
    elif how == "image":
        body = ("application/json", json.dumps({"image": base64.b64encode(data).decode()}).encode())
    if how != "file" and len(body[1]) > 0 and draw(st.integers(0, 2)) == 0:
        body = (body[0], mutated(draw, body[1]))
    return body


@pytest.fixture
def asked(client: TestClient, room: Room) -> TestClient:
    """The API with a model to ask."""
    add_version(room, says=3)
    return client


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many pixels each picture had that was decoded."""
    counts: list[int] = []
    load = ImageFile.ImageFile.load

    def counted(self: ImageFile.ImageFile) -> Any:
        counts.append(self.size[0] * self.size[1])
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    yield counts
    assert counts, "nothing was ever decoded: the examples show nothing"


@settings(max_examples=examples(500), suppress_health_check=list(HealthCheck))
@given(upload=uploads())
def test_whatever_is_uploaded_is_answered(asked: TestClient, decoded: list[int], upload: tuple[str, bytes]) -> None:
    """By a prediction or with what is wrong; and no picture is decoded that has more pixels than the limit allows."""
    before = len(decoded)
    answer = asked.post("/predict", content=upload[1], headers={"Content-Type": upload[0]})
    assert answer.status_code in (200, 413, 415, 422), answer.text[:500]
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
    assert all(count <= MAX_PIXELS for count in decoded[before:])

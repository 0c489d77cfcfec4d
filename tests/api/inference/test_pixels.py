"""Any picture file becomes an array of bounded size, or an InputError."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from api.inference.errors import InputError
from api.inference.pixels import MAX_SIDE, open_picture, read_picture
from tests.factories.files import FORMATS, encoded, handwriting, hollow_png, never

STRIPES = np.zeros((40, 60, 3), np.uint8)
STRIPES[:20] = (200, 40, 40)  # red above, black below


def refused(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        read_picture(data)
    return caught.value


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_read(format: str) -> None:
    colours = read_picture(encoded(Image.fromarray(STRIPES), format)).colours
    assert colours.shape == (40, 60, 3)
    np.testing.assert_allclose(colours[5, 5], np.array([200, 40, 40]) / 255, atol=0.05)
    np.testing.assert_allclose(colours[35, 5], 0, atol=0.05)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_read(mode: str) -> None:
    grey = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 30, axis=0).repeat(60, axis=1))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("RGB").convert(mode) if mode != "1" else grey.convert("1")
    colours = read_picture(encoded(image, "JPEG" if mode == "CMYK" else "PNG")).colours
    assert colours.shape[:2] == (60, 60)
    assert colours[:28].max() < 0.05
    assert colours[32:].min() > 0.95


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    upright = Image.fromarray(STRIPES)
    stored = {  # how a camera that was turned would have stored it
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(encoded(stored, "PNG", exif=exif.tobytes()))
    np.testing.assert_allclose(picture.colours, STRIPES / 255, atol=1e-6)
    assert ("turned upright" in picture.steps) == (orientation != 1)


@pytest.mark.filterwarnings(r"ignore:Corrupt EXIF data:UserWarning:PIL\.")  # as api.inference.pixels does by itself
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01x\0\0\0"])
def test_bad_exif_does_no_harm(exif: bytes) -> None:
    assert read_picture(encoded(Image.fromarray(STRIPES), "JPEG", exif=exif)).colours.shape == (40, 60, 3)


@pytest.mark.parametrize(("stroke", "ground"), [((20, 20, 90), "white"), ((255, 255, 255), "black")])
def test_transparency_is_laid_on_a_ground_that_shows_the_strokes(stroke: tuple[int, int, int], ground: str) -> None:
    rgba = np.zeros((50, 50, 4), np.uint8)
    rgba[:, :, :3] = stroke
    rgba[10:40, 20:30, 3] = 255
    for format in ("PNG", "WEBP"):
        picture = read_picture(
            encoded(Image.fromarray(rgba), format, **({"lossless": True} if format == "WEBP" else {}))
        )
        assert f"laid on {ground}" in picture.steps
        assert np.abs(picture.colours[25, 25] - picture.colours[2, 2]).max() > 0.5


def test_white_paper_with_transparent_corners_stays_paper() -> None:
    rgba = np.full((50, 50, 4), 255, np.uint8)
    rgba[:4, :4, 3] = 0
    rgba[15:35, 22:28, :3] = 0
    assert read_picture(encoded(Image.fromarray(rgba))).colours[0, 0] == pytest.approx(1)


def test_palette_transparency_and_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("P", (30, 20), i) for i in range(2)]
    for frame in frames:
        frame.putpalette([255, 0, 0, 0, 0, 255])
    animated = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=2)
    np.testing.assert_allclose(read_picture(animated).colours[10, 10], [1, 0, 0], atol=0.01)
    clear = Image.fromarray(np.pad(np.ones((10, 10), np.uint8), 10))
    clear.putpalette([255, 255, 255, 0, 0, 0])
    colours = read_picture(encoded(clear, "PNG", transparency=0)).colours
    assert colours[0, 0].min() == 1
    assert colours[15, 15].max() == 0


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_large_picture_is_reduced(format: str) -> None:
    picture = read_picture(encoded(Image.fromarray(STRIPES.repeat(100, axis=0).repeat(100, axis=1)), format))
    assert max(picture.colours.shape) <= MAX_SIDE
    assert picture.colours.shape[1] > MAX_SIDE / 2
    assert picture.steps[0].startswith("reduced to ")


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    bomb = hollow_png(30_000, 30_000)
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    error = refused(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (error.status, error.code) == (413, "picture_too_large")
    assert "50,000,000" in error.detail
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "data",
    [
        hollow_png(7_100, 7_100),  # a little above the bound
        hollow_png(9_000, 9_000),  # where Pillow only warns
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\0\0,"
        + struct.pack("<HHHH", 0, 0, 65535, 65535)
        + b"\0\x02",
        b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 30000, 30000, 1, 24, *[0] * 6),
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xfe\x3f\0" * 2,
    ],
    ids=["png just above", "png", "gif", "bmp", "webp"],
)
def test_too_many_pixels_in_any_format(data: bytes) -> None:
    assert refused(data).status == 413


@pytest.mark.parametrize(
    ("data", "code", "mention"),
    [
        (b"", "picture_empty", "0 bytes"),
        (b"Just some text in a file named 7.png.", "picture_unreadable", "text"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "picture_unreadable", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "picture_unreadable", "8 bytes"),
        (b"II*\0" + bytes(100), "picture_unreadable", "TIFF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "picture_unreadable", "SVG"),
        (bytes(1000), "picture_unreadable", "PNG, JPEG, WEBP, BMP, GIF"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, code: str, mention: str) -> None:
    error = refused(data)
    assert (error.status, error.code) == (422, code)
    assert mention in error.detail


@pytest.mark.parametrize("format", FORMATS)
def test_a_cut_file_is_refused(format: str) -> None:
    data = encoded(Image.fromarray(handwriting(3)), format)
    assert refused(data[: len(data) // 2]).status == 422


def test_other_formats_of_pillow_are_not_tried() -> None:
    for format in ("TIFF", "PPM", "ICO", "TGA", "PDF"):
        assert refused(encoded(Image.fromarray(STRIPES), format)).code == "picture_unreadable"


def test_pixels_are_counted_without_decoding() -> None:
    whole = hollow_png(7_000, 7_000)
    assert open_picture(whole[:100]).pixels == 49_000_000


def outcome(data: bytes) -> object:
    """The status of the refusal, or "picture" for one that keeps its promises."""
    try:
        colours = read_picture(data).colours
    except InputError as error:
        return error.status
    assert max(colours.shape) <= MAX_SIDE
    assert colours.shape[2] in (1, 3)
    assert np.isfinite(colours).all()
    return "picture"


@given(st.binary(max_size=400), st.sampled_from(["", *FORMATS]))
def test_random_bytes_raise_nothing_but_input_error(noise: bytes, format: str) -> None:
    magic = {"": b"", "PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF\x40\0\0\0WEBP"}
    magic |= {"BMP": b"BM", "GIF": b"GIF89a"}
    assert outcome(magic[format] + noise) in ("picture", 413, 422)


@given(st.data())
def test_damaged_files_raise_nothing_but_input_error(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(FORMATS))
    file = bytearray(SMALL_FILES[format])
    for at in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=8)):
        file[at] = data.draw(st.integers(0, 255))
    assert outcome(bytes(file)) in ("picture", 413, 422)


SMALL_FILES = {format: encoded(Image.fromarray(STRIPES).resize((12, 8)), format) for format in FORMATS}


def test_a_multi_picture_jpeg_as_phones_make_them() -> None:
    file = io.BytesIO()
    first, second = Image.fromarray(STRIPES), Image.new("RGB", (60, 40), "white")
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert read_picture(file.getvalue()).colours[35, 5].max() < 0.05

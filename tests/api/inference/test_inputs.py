"""Every form of a predict request is read, and every fault in one is pointed at."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from api.inference.errors import InputError
from api.inference.inputs import MAX_ITEMS, Heavy, Inputs, read_inputs
from api.inference.recipe import see_digit
from tests.factories.files import encoded, form, handwriting, hollow_png, never

JSON = "application/json"
PICTURES = [encoded(Image.fromarray(handwriting(digit))) for digit in (3, 8)]
SEEN = [see_digit(picture).pixels for picture in PICTURES]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
ROW = [0] * 28


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read(value: object, **options: Any) -> Inputs:
    return read_inputs(JSON, json.dumps(value).encode(), **options)


def refused(content_type: str, body: bytes, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read_inputs(content_type, body, **options)
    return caught.value


def refused_json(value: object, **options: Any) -> InputError:
    return refused(JSON, json.dumps(value).encode(), **options)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", PICTURES[0]),
        ("Image/PNG; charset=binary", PICTURES[0]),
        ("image/jpeg", PICTURES[0]),  # what it is counts, not what it is called
        (JSON, json.dumps({"image": b64(PICTURES[0])}).encode()),
        ("application/vnd.api+json; charset=utf-8", json.dumps({"image": [b64(PICTURES[0])]}).encode()),
        (JSON, json.dumps({"image": "data:image/png;base64," + b64(PICTURES[0])}).encode()),
        (JSON, json.dumps({"image": base64.encodebytes(PICTURES[0]).decode()}).encode()),
        form(("file", PICTURES[0])),
        form(("anything", PICTURES[0]), fields={"note": "a field that is no file"}),
    ],
)
def test_one_picture(content_type: str, body: bytes) -> None:
    inputs = read_inputs(content_type, body)
    assert inputs.images.shape == (1, 28, 28, 1)
    assert inputs.images.dtype == np.float32
    np.testing.assert_array_equal(inputs.images[0, :, :, 0], SEEN[0])
    assert inputs.seen is not None
    assert "centred by mass" in inputs.seen[0].steps


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, json.dumps({"image": [b64(picture) for picture in PICTURES]}).encode()),
        form(*[("files", picture) for picture in PICTURES]),
        form(("a", PICTURES[0]), ("b", PICTURES[1])),
    ],
)
def test_several_pictures_keep_their_order(content_type: str, body: bytes) -> None:
    inputs = read_inputs(content_type, body)
    np.testing.assert_array_equal(inputs.images[..., 0], np.stack(SEEN))


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        ({"pixels": PIXELS[0].tolist()}, 1),
        ({"pixels": PIXELS[0][..., None].tolist()}, 1),
        ({"pixels": PIXELS.tolist()}, 3),
        ({"pixels": PIXELS[..., None].tolist()}, 3),
        ({"instances": PIXELS[:1].tolist()}, 1),
        ({"instances": PIXELS.tolist()}, 3),
        ({"instances": PIXELS[..., None].tolist()}, 3),
        ({"instances": PIXELS.astype(float).tolist()}, 3),
    ],
)
def test_arrays_are_taken_exactly_as_they_are(sent: object, count: int) -> None:
    inputs = read(sent)
    assert inputs.images.dtype == np.float32
    np.testing.assert_array_equal(inputs.images, PIXELS[:count, ..., None])
    assert inputs.seen is not None
    assert [seen.steps for seen in inputs.seen] == [[]] * count


def test_28_arrays_are_not_mistaken_for_one_with_a_channel() -> None:
    many = np.random.default_rng(1).integers(0, 256, (28, 28, 28))
    assert read({"pixels": many.tolist()}).images.shape == (28, 28, 28, 1)


def test_the_plain_recipe_is_used_when_asked_for() -> None:
    seen = read_inputs("image/png", encoded(Image.fromarray(PIXELS[0].astype(np.uint8))), recipe="plain").seen
    assert seen is not None
    assert "centred by mass" not in seen[0].steps


def test_feature_vectors() -> None:
    takes: Any = {"shape": (2,), "recipe": None}
    inputs = read({"instances": [[0.5, -3], [1e3, 2]]}, **takes)
    np.testing.assert_array_equal(inputs.images, np.array([[0.5, -3], [1000, 2]], np.float32))
    assert inputs.seen is None
    assert refused_json({"instances": [[1, 2], [1, 2, 3]]}, **takes).pointer == "/instances/1"
    assert refused("image/png", PICTURES[0], **takes).code == "picture_unexpected"
    unexpected = refused_json({"pixels": [7, 8]}, **takes)
    assert (unexpected.code, unexpected.pointer) == ("pixels_unexpected", "/pixels")
    assert unexpected.detail == (
        'This model takes 2 numbers an example, not pixels: send {"instances": [[x1, x2], ...]}. Received: pixels.'
    )


def short_of_a_row(count: int) -> list[list[list[int]]]:
    arrays = [[ROW] * 28 for _ in range(count)]
    arrays[-1] = [ROW] * 27
    return arrays


def with_one(value: object) -> list[list[list[object]]]:
    arrays: list[list[list[object]]] = [[[*ROW] for _ in range(28)] for _ in range(4)]
    arrays[3][5][7] = value
    return arrays


@pytest.mark.parametrize(
    ("sent", "pointer", "code"),
    [
        ({}, "/image", "missing"),
        ({"pictures": []}, "/image", "missing"),
        ([1, 2], "", "dict_type"),
        (None, "", "dict_type"),
        ({"image": "", "extra/key": 1}, "/extra~1key", "extra_forbidden"),
        ({"pixels": [[]], "instances": []}, "/instances", "extra_forbidden"),
        ({"image": 7}, "/image", "string_type"),
        ({"image": []}, "/image", "too_short"),
        ({"image": "not base64!"}, "/image", "base64_invalid"),
        ({"image": "é"}, "/image", "base64_invalid"),
        ({"image": ""}, "/image", "picture_empty"),
        ({"image": [b64(PICTURES[0]), b64(b"hello")]}, "/image/1", "picture_unreadable"),
        ({"image": [b64(PICTURES[0]), None]}, "/image/1", "string_type"),
        ({"pixels": "x"}, "/pixels", "list_type"),
        ({"pixels": []}, "/pixels", "too_short"),
        ({"pixels": [[]]}, "/pixels", "shape_mismatch"),
        ({"pixels": short_of_a_row(1)[0]}, "/pixels", "shape_mismatch"),
        ({"pixels": [*[ROW] * 27, [0] * 27]}, "/pixels/27", "shape_mismatch"),
        ({"pixels": short_of_a_row(4)}, "/pixels/3", "shape_mismatch"),
        ({"pixels": [[[[1]]]]}, "/pixels/0", "shape_mismatch"),
        ({"instances": [ROW] * 28}, "/instances/0/0", "shape_mismatch"),
        ({"instances": short_of_a_row(2)}, "/instances/1", "shape_mismatch"),
        ({"instances": {"a": 1}}, "/instances", "list_type"),
        ({"instances": with_one(256)}, "/instances/3/5/7", "out_of_range"),
        ({"instances": with_one(-0.5)}, "/instances/3/5/7", "out_of_range"),
        ({"instances": with_one("7")}, "/instances/3/5/7", "float_type"),
        ({"instances": with_one(True)}, "/instances/3/5/7", "float_type"),
        ({"instances": with_one(None)}, "/instances/3/5/7", "float_type"),
        ({"instances": with_one([1])}, "/instances/3/5/7", "float_type"),
        ({"instances": with_one(10**400)}, "/instances/3/5/7", "finite_number"),
        ({"instances": with_one(1e300)}, "/instances/3/5/7", "finite_number"),
    ],
)
def test_faults_are_pointed_at(sent: object, pointer: str, code: str) -> None:
    error = refused_json(sent)
    assert (error.status, error.code, error.pointer) == (422, code, pointer)
    assert "Received" in error.detail or "base64" in error.detail
    assert len(error.detail) < 300
    json.dumps(error.received)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"pixels": [[NaN]]}',
        b'{"pixels": [[Infinity]]}',
        b'{"pixels": ' + b"[" * 100_000,
        b'{"pixels": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe",
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert (refused(JSON, body).status, refused(JSON, body).code) == (422, "json_invalid")


def test_a_number_beyond_float64_is_not_finite() -> None:
    body = json.dumps({"instances": with_one(123454321)}).replace("123454321", "1e999").encode()
    assert refused(JSON, body).status == 422


@pytest.mark.parametrize(
    "sent",
    [
        {"image": [""] * (MAX_ITEMS + 1)},
        {"pixels": [[ROW] * 28] * (MAX_ITEMS + 1)},
        {"instances": [0] * (MAX_ITEMS + 1)},
    ],
)
def test_more_than_a_thousand_are_refused(sent: dict[str, object]) -> None:
    error = refused_json(sent)
    assert (error.status, error.pointer) == (413, "/" + next(iter(sent)))


def test_more_than_a_thousand_files_are_refused() -> None:
    assert refused(*form(*[("f", b"x")] * (MAX_ITEMS + 1))).status == 413
    assert refused(*form(*[("f", b"x")] * (MAX_ITEMS + 500))).status == 413


def test_pixels_are_bounded_over_all_pictures_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    large = hollow_png(7_000, 7_000)
    error = refused(*form(*[("f", large)] * 10))
    assert (error.status, error.code) == (413, "picture_too_large")
    with pytest.raises(Heavy):
        read_inputs("image/png", large, most_pixels=1_000_000)
    assert refused("image/png", hollow_png(8_000, 8_000)).status == 413


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "image/svg+xml", "image/heic", "application/x-www-form-urlencoded", "image/"]
)
def test_other_content_types_are_refused_with_what_would_do(content_type: str) -> None:
    error = refused(content_type, PICTURES[0])
    assert error.status == 415
    assert "image/png" in error.detail


@pytest.mark.parametrize(
    ("content_type", "body", "pointer"),
    [
        ("multipart/form-data", b"", ""),
        ("multipart/form-data; boundary=frontier", b"", ""),
        ("multipart/form-data; boundary=frontier", b"no form at all", ""),
        ("multipart/form-data; boundary=" + "x" * 500, b"", ""),
        (form(("file", PICTURES[0]))[0], form(("file", PICTURES[0]))[1][:-20], ""),
        (*form(fields={"file": "text"}), "/file"),
        (*form(("file", b"hello")), "/file"),
        (*form(("a", PICTURES[0]), ("b/c", b"hello")), "/b~1c/1"),
    ],
)
def test_faulty_forms_are_refused(content_type: str, body: bytes, pointer: str) -> None:
    error = refused(content_type, body)
    assert (error.status, error.pointer) == (422, pointer)


def test_a_thousand_arrays_are_read() -> None:
    sent = np.random.default_rng(2).integers(0, 256, (1000, 28, 28))
    images = read_inputs(JSON, json.dumps({"instances": sent.tolist()}).encode()).images
    np.testing.assert_array_equal(images[..., 0], sent)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANY_JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))


@given(ANY_JSON | st.dictionaries(st.sampled_from(["image", "pixels", "instances"]), ANY_JSON, max_size=2))
def test_any_json_is_read_or_refused(sent: object) -> None:
    assert outcome(JSON, json.dumps(sent).encode()) in (413, 422)


@given(
    st.sampled_from([JSON, "image/png", "multipart/form-data; boundary=x", 'multipart/form-data; boundary="']),
    st.binary(max_size=200) | st.binary(max_size=100).map(lambda noise: b"--x\r\nContent-Disposition: " + noise),
)
def test_any_bytes_are_read_or_refused(content_type: str, body: bytes) -> None:
    assert outcome(content_type, body) in (413, 415, 422)


@given(st.text(max_size=60), st.sampled_from(["", "multipart/form-data;", "application/json;"]))
def test_any_content_type_is_read_or_refused(text: str, start: str) -> None:
    assert outcome(start + text, b"--") in (413, 415, 422)


def outcome(content_type: str, body: bytes) -> int:
    try:
        read_inputs(content_type, body)
    except InputError as error:
        return error.status
    return 200

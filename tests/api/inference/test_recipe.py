"""However a digit is photographed, the recipe shows a model nearly the same 28x28 pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.inference.recipe import see_array, see_digit, see_plain
from tests.api.inference.likeness import INKS, REFERENCES, alike, alike_within_a_pixel
from tests.factories.datasets import needs_real_datasets, real_datasets_dir
from tests.factories.files import encoded, hollow_png
from tests.factories.photos import blow_up, mnist_test_images


# The same examples each time: of all pictures it holds nearly always, not always (docs/recipe.md says where it fails).
@settings(derandomize=True)
@given(
    digit=st.integers(0, 9),
    height=st.integers(70, 400),
    width=st.integers(70, 400),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    tones=st.tuples(st.integers(0, 255), st.integers(0, 255)).filter(lambda tones: abs(tones[0] - tones[1]) > 60),
    jpeg=st.booleans(),
)
def test_size_place_and_tones_hardly_matter(
    digit: int, height: int, width: int, place: tuple[float, float], tones: tuple[int, int], jpeg: bool
) -> None:
    ink = Image.fromarray(INKS[digit])
    ink.thumbnail((width - 8, height - 8), Image.Resampling.LANCZOS)
    left, top = 4 + int(place[0] * (width - 8 - ink.width)), 4 + int(place[1] * (height - 8 - ink.height))
    picture = Image.new("L", (width, height), tones[0])
    picture.paste(tones[1], (left, top, left + ink.width, top + ink.height), ink)
    seen = see_digit(encoded(picture, "JPEG" if jpeg else "PNG"))
    likeness = [alike_within_a_pixel(seen.pixels, reference) for reference in REFERENCES]
    assert likeness[digit] == max(likeness)
    # The ripples of a JPEG with little contrast can pass as ink: the digit then comes out a little smaller.
    assert likeness[digit] > (0.45 if jpeg else 0.75)
    assert ("inverted" in seen.steps) == (tones[0] > tones[1])


def test_what_is_seen_is_a_centred_digit_light_on_dark() -> None:
    for pixels in REFERENCES:
        assert pixels.shape == (28, 28)
        assert pixels.dtype == np.float32
        assert pixels.max() == pytest.approx(255)
        assert pixels[:, :4].max() == 0
        rows = np.flatnonzero(pixels.max(axis=1) > 0.12 * 255)
        assert rows[-1] - rows[0] + 1 == 20


def test_the_steps_are_told() -> None:
    dark_on_light = see_digit(encoded(Image.fromarray(255 - INKS[4])))
    assert dark_on_light.steps[0] == "inverted"
    assert dark_on_light.steps[-3:] == ["cropped", "fitted into 20x20", "centred by mass"]
    assert see_digit(encoded(Image.fromarray(INKS[4]))).steps == dark_on_light.steps[-3:]
    assert dark_on_light.warnings == []


def test_noise_does_not_widen_the_digit() -> None:
    rng = np.random.default_rng(4)
    for digit, ink in enumerate(INKS):
        noisy = (40 + 0.7 * ink + rng.normal(0, 10, ink.shape)).clip(0, 255).astype(np.uint8)
        assert alike_within_a_pixel(see_digit(encoded(Image.fromarray(noisy))).pixels, REFERENCES[digit]) > 0.95


def test_ink_and_paper_of_equal_lightness_differ_by_colour() -> None:
    red, green = np.array([200, 60, 60]), np.array([40, 142, 60])  # both 102 as grey
    mask = (INKS[5] > 127)[:, :, None]
    seen = see_digit(encoded(Image.fromarray(np.where(mask, red, green).astype(np.uint8))))
    assert alike(seen.pixels, REFERENCES[5]) > 0.95


def test_white_strokes_on_nothing_are_seen() -> None:
    for shade in (0, 255):
        rgba = np.dstack([np.full((*INKS[2].shape, 3), shade, np.uint8), INKS[2]])
        assert alike(see_digit(encoded(Image.fromarray(rgba))).pixels, REFERENCES[2]) > 0.99


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_blank_picture_is_an_empty_field_with_a_warning(shade: int) -> None:
    for see in (see_digit, see_plain):
        seen = see(encoded(Image.new("L", (50, 50), shade)))
        assert not seen.pixels.any()
        assert "blank" in seen.warnings[0]


def test_a_blank_picture_of_many_pixels_is_quick() -> None:
    assert "blank" in see_digit(hollow_png(4_000, 4_000)).warnings[0]


def test_a_picture_of_one_pixel_is_blank() -> None:
    assert "blank" in see_digit(encoded(Image.new("RGB", (1, 1), "red"))).warnings[0]
    assert "blank" in see_plain(encoded(Image.new("RGB", (1, 1), "red"))).warnings[0]


def test_a_tiny_digit_and_one_at_the_border_are_doubted() -> None:
    tiny = np.zeros((60, 60), np.uint8)
    tiny[20:27, 30:33] = 255
    assert "3x7 pixels" in see_digit(encoded(Image.fromarray(tiny))).warnings[0]
    rows, columns = np.flatnonzero(INKS[3].any(axis=1)), np.flatnonzero(INKS[3].any(axis=0))
    cropped = INKS[3][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 20]
    seen = see_digit(encoded(Image.fromarray(cropped)))
    assert "border" in seen.warnings[0]
    assert alike(seen.pixels, REFERENCES[3]) > 0.95


@needs_real_datasets()
def test_mnist_pictures_pass_nearly_unchanged_and_photographs_of_them_come_back() -> None:
    folder = real_datasets_dir()
    assert folder is not None
    rng = np.random.default_rng(1)
    originals = mnist_test_images(folder)[rng.choice(10_000, 300, replace=False)]
    untouched = [alike(see_digit(encoded(Image.fromarray(one))).pixels, one.astype(np.float32)) for one in originals]
    assert np.mean(np.array(untouched) > 0.99) > 0.97
    photographed = [alike(see_digit(blow_up(one, rng)).pixels, one.astype(np.float32)) for one in originals]
    assert np.mean(photographed) > 0.96
    assert np.mean(np.array(photographed) > 0.8) > 0.96


def test_the_same_seed_photographs_the_same_way() -> None:
    pixels = REFERENCES[7].astype(np.uint8)
    assert blow_up(pixels, np.random.default_rng(5)) == blow_up(pixels, np.random.default_rng(5))


def test_plain_leaves_28x28_as_it_is_but_for_a_light_ground() -> None:
    shirt = np.zeros((28, 28), np.uint8)
    shirt[:, 6:22] = np.linspace(40, 230, 28).astype(np.uint8)[:, None]
    np.testing.assert_allclose(see_plain(encoded(Image.fromarray(shirt))).pixels, shirt, atol=1e-3)
    inverted = see_plain(encoded(Image.fromarray(255 - shirt)))
    np.testing.assert_allclose(inverted.pixels, shirt, atol=1e-3)
    assert inverted.steps == ["inverted"]


def test_plain_trims_and_squares() -> None:
    photo = np.full((300, 400, 3), 255, np.uint8)
    photo[50:250, 150:250] = (30, 60, 120)
    seen = see_plain(encoded(Image.fromarray(photo)))
    rows, columns = np.flatnonzero(seen.pixels.max(axis=1)), np.flatnonzero(seen.pixels.max(axis=0))
    assert (len(rows), len(columns)) == (28, 14)
    assert columns[0] == 7


def test_arrays_are_taken_as_they_are_and_doubted_where_they_look_mistaken() -> None:
    pixels = REFERENCES[6]
    assert see_array(pixels).pixels is pixels
    assert see_array(pixels).warnings == []
    assert "above 1" in see_array(pixels / np.float32(255)).warnings[0]
    assert "light" in see_array(255 - pixels).warnings[0]
    assert "blank" in see_array(np.zeros((28, 28), np.float32)).warnings[0]

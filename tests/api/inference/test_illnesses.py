"""What ails photographs is cured and told; what is well is left alone."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.inference.recipe import see_digit, see_plain, warm
from api.inference.strokes import stroke_width
from examples.draw_digits import DRAWINGS, draw
from models.pictures import Float32
from tests.api.inference.likeness import INKS, REFERENCES, alike, alike_within_a_pixel
from tests.factories.datasets import needs_real_datasets, real_datasets_dir
from tests.factories.files import encoded
from tests.factories.photos import TURNED, blow_up, mnist_test_images, photograph

CURES = {"frame removed", "light evened", "lines removed", "squares removed", "strokes thickened", "strokes thinned",
         "edge left out", "specks left out"}  # fmt: skip
PAPER, PEN = np.array([225.0, 220, 205]), np.array([35.0, 50, 120])


def on_paper(ink: npt.NDArray[np.uint8], rules: Float32 | float = 0.0, light: Float32 | float = 1.0) -> bytes:
    """A JPEG file: `ink` in blue on a page with pale `rules`, (h, w), 0 to 1, in the `light` there is; grainy."""
    page = PAPER + np.multiply(rules, 0.5)[..., None] * (np.array([90.0, 120, 170]) - PAPER)
    scene = page + ink[:, :, None] / 255 * (PEN - page)
    grain = np.random.default_rng(1).normal(0, 3, scene.shape)
    lit = scene * np.asarray(light)[..., None] + grain
    return encoded(Image.fromarray(lit.clip(0, 255).astype(np.uint8)), "JPEG", quality=70)


def ramp(ink: npt.NDArray[np.uint8], towards: float) -> Float32:
    """0 to 1 across a picture of the size of `ink`, `towards` in degrees."""
    down, across = np.mgrid[: ink.shape[0], : ink.shape[1]]
    along = across * np.cos(np.deg2rad(towards)) + down * np.sin(np.deg2rad(towards))
    return ((along - along.min()) / np.ptp(along)).astype(np.float32)


def lines(ink: npt.NDArray[np.uint8], spacing: float, slope: float) -> Float32:
    down, across = np.mgrid[: ink.shape[0], : ink.shape[1]]
    return np.clip(1.5 - np.abs((down - slope * across) % spacing - spacing / 2), 0, 1).astype(np.float32)


@pytest.mark.parametrize("towards", [0, 100, 200, 300])
def test_a_shadow_to_one_side_is_evened(towards: float) -> None:
    for digit, ink in enumerate(INKS):
        seen = see_digit(on_paper(ink, light=1 - 0.4 * ramp(ink, towards)))
        assert alike_within_a_pixel(seen.pixels, REFERENCES[digit]) > 0.9
        assert "light evened" in seen.steps


def test_the_edge_of_a_shadow_is_no_ink() -> None:
    for digit, ink in enumerate(INKS):
        edge = 1 / (1 + np.exp(-(ramp(ink, 30) - 0.5) * 30))
        assert alike_within_a_pixel(see_digit(on_paper(ink, light=1 - 0.35 * edge)).pixels, REFERENCES[digit]) > 0.9


@pytest.mark.parametrize("slope", [-0.15, 0.0, 0.1])
def test_ruled_lines_are_taken_from_under_the_digit(slope: float) -> None:
    for digit, ink in enumerate(INKS):
        seen = see_digit(on_paper(ink, rules=lines(ink, 37, slope)))
        assert alike_within_a_pixel(seen.pixels, REFERENCES[digit]) > 0.9
        assert "lines removed" in seen.steps


def test_squared_paper_under_a_shadow() -> None:
    for digit, ink in enumerate(INKS):
        squares = np.maximum(lines(ink, 29, 0.06), lines(ink.T, 29, -0.06).T)
        seen = see_digit(on_paper(ink, rules=squares, light=1 - 0.3 * ramp(ink, 45)))
        assert alike_within_a_pixel(seen.pixels, REFERENCES[digit]) > 0.9
        assert {"light evened", "squares removed"} <= set(seen.steps)


@pytest.mark.parametrize(("pen", "step"), [(2, "strokes thickened"), (15, None), (60, "strokes thinned")])
@pytest.mark.parametrize("digit", [0, 3, 7])
def test_strokes_get_a_width_that_models_know(digit: int, pen: float, step: str | None) -> None:
    drawing = replace(
        DRAWINGS[digit], pen=pen, mode="L", paper=(255,), ink=(0,), size=(300, 300), box=(90, 70, 110, 160)
    )
    seen = see_digit(encoded(draw(drawing, digit)))
    assert CURES & set(seen.steps) == ({step} if step else set())
    assert 1.2 < stroke_width(seen.pixels) < 5.2


def test_a_filled_shape_is_doubted() -> None:
    disc = np.hypot(*np.mgrid[-100:100, -100:100]) < 60
    assert "thick" in see_digit(encoded(Image.fromarray(np.where(disc, 0, 255).astype(np.uint8)))).warnings[0]


def test_of_two_digits_the_larger_is_read_and_both_are_told() -> None:
    canvas = np.zeros((300, 420), np.uint8)
    canvas[20 : 20 + INKS[3].shape[0], 10 : 10 + INKS[3].shape[1]] = INKS[3]
    smaller = np.asarray(Image.fromarray(INKS[0]).resize((190, 190)))
    canvas[40:230, 225:415] = np.maximum(canvas[40:230, 225:415], smaller)
    seen = see_digit(encoded(Image.fromarray(canvas)))
    assert seen.warnings == ["There are 2 shapes. Only the largest is read: send one digit a picture."]
    assert alike(seen.pixels, REFERENCES[3]) > 0.98


def test_a_broken_stroke_is_still_one_digit() -> None:
    for digit in (3, 5, 7, 9):
        broken = INKS[digit].copy()
        rows = np.flatnonzero(broken.any(axis=1))
        middle = int(rows[0] + np.ptp(rows) * 0.35)
        broken[middle : middle + 6] = 0
        seen = see_digit(encoded(Image.fromarray(broken)))
        assert seen.warnings == []
        assert alike_within_a_pixel(seen.pixels, REFERENCES[digit]) > 0.9


def test_specks_far_from_the_digit_are_left_out() -> None:
    dusty = INKS[5].copy()
    dusty[4:12, 4:12] = dusty[-14:-5, 6:14] = 255
    seen = see_digit(encoded(Image.fromarray(dusty)))
    assert "specks left out" in seen.steps
    assert alike(seen.pixels, REFERENCES[5]) > 0.98


@pytest.mark.parametrize("side", range(4))
def test_the_table_beside_the_paper_is_no_ink(side: int) -> None:
    for digit in (1, 4, 7, 8):
        ink = INKS[digit]
        with_table = np.rot90(ink, side).copy()
        with_table[:, :14] = 255
        seen = see_digit(on_paper(np.rot90(with_table, -side)))
        assert "edge left out" in seen.steps
        assert alike_within_a_pixel(seen.pixels, REFERENCES[digit]) > 0.9


@pytest.mark.parametrize("orientation", TURNED)
def test_a_photograph_stored_turned_is_seen_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(INKS[7]).transpose(TURNED[orientation])
    seen = see_digit(encoded(turned, "PNG", exif=exif.tobytes()))
    assert seen.steps[0] == "turned upright"
    np.testing.assert_allclose(seen.pixels, REFERENCES[7], atol=1e-3)


def test_what_is_well_is_not_mended() -> None:
    rng = np.random.default_rng(8)
    mended = [CURES & set(see_digit(encoded(Image.fromarray(ink))).steps) for ink in INKS]
    assert not any(mended)
    pictures = [see_digit(blow_up(np.asarray(Image.fromarray(ink).resize((28, 28))), rng)) for ink in INKS * 5]
    assert sum(bool(CURES & set(seen.steps)) for seen in pictures) <= 5


@given(
    size=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    seed=st.integers(0, 2**16),
    colours=st.sampled_from([1, 3]),
    contrast=st.floats(0, 1),
    stripes=st.integers(0, 9),
)
def test_any_picture_gives_28x28_of_0_to_255(
    size: tuple[int, int], seed: int, colours: int, contrast: float, stripes: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.uniform(0, 255) + contrast * rng.normal(0, 90, (*size, colours))
    picture[:: 1 + stripes] *= rng.uniform(0, 2)
    picture[rng.integers(size[0]) :, rng.integers(size[1]) :] *= rng.uniform(0, 2)
    pixels = picture.clip(0, 255).astype(np.uint8)
    data = encoded(Image.fromarray(pixels if colours == 3 else pixels[:, :, 0]))
    for see in (see_digit, see_plain):
        seen = see(data)
        assert seen.pixels.shape == (28, 28)
        assert seen.pixels.dtype == np.float32
        assert seen.pixels.min() >= 0
        assert seen.pixels.max() <= 255.01


def test_the_same_seed_takes_the_same_photograph() -> None:
    pixels = REFERENCES[7].astype(np.uint8)
    assert photograph(pixels, np.random.default_rng(5)) == photograph(pixels, np.random.default_rng(5))


def test_warming_may_be_done_twice() -> None:
    warm()
    warm()


@needs_real_datasets()
def test_a_photograph_is_most_like_the_digit_that_it_shows() -> None:
    """Without a model: of 60 MNIST digits, which one does each photograph resemble most?"""
    folder = real_datasets_dir()
    assert folder is not None
    rng = np.random.default_rng(2)
    originals = mnist_test_images(folder)[rng.choice(10_000, 60, replace=False)]
    photographs = np.stack([see_digit(photograph(one, rng)).pixels for one in originals])
    found = np.corrcoef(photographs.reshape(60, -1), originals.reshape(60, -1))[:60, 60:].argmax(axis=1)
    assert np.mean(found == np.arange(60)) > 0.8

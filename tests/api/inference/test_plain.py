"""A picture of one thing becomes what Fashion-MNIST would show of it."""

import numpy as np
import pytest
from PIL import Image

from api.inference.recipe import see_plain
from tests.api.inference.likeness import alike
from tests.factories.datasets import needs_real_datasets, real_datasets_dir
from tests.factories.files import encoded
from tests.factories.photos import images_for_tests


@pytest.mark.parametrize("ground", [255, 235, 20])
def test_a_photograph_under_uneven_light_shows_the_thing_alone(ground: int) -> None:
    thing = 60 if ground > 127 else 200
    photo = np.full((240, 200), ground, float)
    photo[40:200, 60:140] = thing
    photo *= np.linspace(1, 0.65, 200)
    seen = see_plain(encoded(Image.fromarray(photo.astype(np.uint8))))
    assert ("light evened" in seen.steps) == (ground > 127)
    assert seen.pixels.shape == (28, 28)
    assert seen.pixels[:, :6].max() < 20
    assert np.ptp(seen.pixels[3:25, 9:19]) < 40
    assert seen.pixels[3:25, 9:19].min() > 90


@needs_real_datasets()
def test_real_clothes_on_a_lit_page_come_back() -> None:
    folder = real_datasets_dir()
    assert folder is not None
    rng = np.random.default_rng(6)
    originals = images_for_tests(folder, "fashion-mnist")[rng.choice(10_000, 60, replace=False)]
    likeness = []
    for pixels in originals:
        side = int(rng.integers(120, 400))
        large = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC), float)
        page = np.pad(255 - large, side // 6, constant_values=255)
        shade = 1 - rng.uniform(0, 0.35) * np.linspace(0, 1, page.shape[1])
        noisy = page * rng.uniform(0.85, 1) * shade + rng.normal(0, 2, page.shape)
        photo = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        seen = see_plain(encoded(photo, "JPEG", quality=80))
        likeness.append(alike(seen.pixels, pixels.astype(np.float32)))
    assert np.median(likeness) > 0.93
    assert np.mean(np.array(likeness) > 0.85) > 0.75

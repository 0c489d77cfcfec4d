"""The pictures in examples/ are what the drawing script draws, small, and clear to read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.inference.recipe import see_digit
from examples.draw_digits import DRAWINGS, FOLDER, draw
from models.spec import parse_spec


@pytest.mark.parametrize("digit", range(10))
def test_the_digit_files_are_drawn_by_the_script(digit: int) -> None:
    path = FOLDER / f"{digit}.png"
    assert path.stat().st_size < 6_000
    with Image.open(path) as stored:
        np.testing.assert_allclose(np.asarray(stored, float), np.asarray(draw(DRAWINGS[digit], digit), float), atol=2)
    assert see_digit(path.read_bytes()).warnings == []


@pytest.mark.parametrize("path", sorted((FOLDER.parent / "specs").glob("*.json")), ids=lambda path: path.stem)
def test_every_example_spec_is_valid(path: Path) -> None:
    spec = parse_spec(json.loads(path.read_text()))
    assert spec.name == path.stem

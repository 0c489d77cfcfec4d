"""Curves can be drawn of any history: empty, one epoch, not finite."""

import io
from xml.etree import ElementTree

import pytest
from PIL import Image

from api import curves
from models.history import Epoch


def epoch(number: int, loss: float | None) -> Epoch:
    nonfinite = {} if loss is not None else {"loss": "nan"}
    return Epoch(epoch=number, learning_rate=0.1, loss=loss, accuracy=0.5, other_metrics={}, nonfinite=nonfinite)


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, None], [None], [1.0] * 500])
@pytest.mark.parametrize("title", ["mnist", "$x_1$ \\alpha ^ {", "數字 😀 \ufffe"])
def test_every_history_is_drawn(losses: list[float | None], title: str) -> None:
    epochs = [epoch(number, loss) for number, loss in enumerate(losses, start=1)]
    with Image.open(io.BytesIO(curves.draw(title, epochs, "png"))) as picture:
        assert picture.size == (1320, 418)
    assert ElementTree.fromstring(curves.draw(title, epochs, "svg")).tag.endswith("svg")

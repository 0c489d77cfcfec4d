"""A large batch is read piece by piece, and comes out as it would in one go."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.inference import inputs, pieces
from api.inference.errors import InputError
from api.inference.inputs import Inputs, read_inputs
from api.inference.pieces import pieces_of

SPACES = st.text(" \n\t\r", max_size=2)


def read(body: bytes, **model: Any) -> Inputs | tuple[int, str, str, str]:
    """What `read_inputs` makes of it, or its error."""
    try:
        return read_inputs("application/json", body, **model)
    except InputError as error:
        return error.status, error.code, error.detail, error.pointer


def same(first: Any, second: Any) -> bool:
    if not isinstance(first, Inputs) or not isinstance(second, Inputs):
        return bool(first == second)
    seen = [[one.warnings for one in each.seen or ()] for each in (first, second)]
    return np.array_equal(first.images, second.images) and seen[0] == seen[1]


def both_ways(body: bytes, **model: Any) -> tuple[Any, Any]:
    """As it is read in pieces of 40 bytes, and in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "PIECE_BYTES", 0)
        patch.setattr(pieces, "PIECE_BYTES", 40)
        cut = read(body, **model)
        patch.setattr(inputs, "PIECE_BYTES", len(body))
        return cut, read(body, **model)


@given(
    examples=st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-9, 9)), min_size=1, max_size=30),
    space=SPACES,
)
def test_pieces_make_the_same_batch(examples: list[tuple[float, int]], space: str) -> None:
    body = json.dumps({"instances": examples}).replace(",", f"{space},{space}").replace("[", f"[{space}").encode()
    cut, whole = both_ways(body, shape=(2,), recipe=None)
    assert isinstance(whole, Inputs)
    assert same(cut, whole)


@given(
    examples=st.lists(st.lists(st.integers(-3, 300), min_size=1, max_size=3), min_size=1, max_size=12),
    place=st.integers(0, 400),
    typo=st.sampled_from(["", ",", "[", "]", "{", "}", '"', "x", "1", "nan", "[0]", ", [1, 2]"]),
    cut_out=st.integers(0, 2),
)
def test_mistakes_are_told_as_in_one_go(examples: list[list[int]], place: int, typo: str, cut_out: int) -> None:
    text = json.dumps({"instances": examples})
    place = place % len(text)
    body = (text[:place] + typo + text[place + cut_out :]).encode()
    assert same(*both_ways(body, shape=(2,), recipe=None))


def test_a_thousand_pictures_are_read_in_many_pieces() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 28, 28))
    body = json.dumps({"pixels": pixels.tolist()}).encode()
    found = pieces_of(body)
    assert found is not None
    assert (found[0], len(list(found[1])) > 20) == ("pixels", True)
    read_in = read(body)
    assert isinstance(read_in, Inputs)
    np.testing.assert_array_equal(read_in.images[..., 0], pixels)
    too_many = json.dumps({"pixels": [*pixels.tolist(), pixels[0].tolist()]}).encode()
    refused = read(too_many)
    assert isinstance(refused, tuple)
    assert refused[::3] == (413, "/pixels")

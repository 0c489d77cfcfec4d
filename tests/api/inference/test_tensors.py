"""Tensors survive the wire, in JSON and as bytes, and what is no tensor of its datatype is refused with a reason."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic_core import from_json, to_json

from api.inference import tensors
from api.inference.errors import InputError
from api.inference.tensors import DATATYPES

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@st.composite
def any_tensor(draw: st.DrawFn, finite: bool) -> tuple[str, tensors.Array]:
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    kind = DATATYPES[datatype]
    elements = arrays.from_dtype(kind, allow_nan=not finite, allow_infinity=not finite)
    return datatype, draw(arrays.arrays(kind, SHAPES, elements=elements))


@given(any_tensor(finite=False))
def test_bytes_there_and_back(tensor: tuple[str, tensors.Array]) -> None:
    datatype, array = tensor
    data = tensors.to_bytes(array)
    back = tensors.from_bytes(memoryview(data), datatype, array.shape)
    assert (back.dtype, tensors.datatype_of(back)) == (array.dtype, datatype)
    np.testing.assert_array_equal(back, array)


@given(any_tensor(finite=True), st.booleans())
def test_json_there_and_back(tensor: tuple[str, tensors.Array], nested: bool) -> None:
    datatype, array = tensor
    text = to_json(array.tolist() if nested else tensors.to_json(array))
    back = tensors.from_json(from_json(text), datatype, array.shape)
    assert (back.dtype, tensors.datatype_of(back)) == (array.dtype, datatype)
    np.testing.assert_array_equal(back, array)


def test_an_array_in_another_byte_order_goes_out_little_endian() -> None:
    assert tensors.to_bytes(np.array([1], ">u2")) == b"\x01\x00"
    assert tensors.to_bytes(np.array([[1, 2], [3, 4]], "u1").T) == b"\x01\x03\x02\x04"


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "sentence"),
    [
        ([1, 2, 3], "FP32", (2, 2), "4 numbers, in one list or nested as the shape [2, 2] says. Received: a list of 3"),
        ([[1, 2], [3]], "FP32", (2, 2), "a list of 1 where a list of 2"),
        ([[1, 2], 3], "FP32", (2, 2), "Received: 3 where a list of 2"),
        ([[1, 2]], "FP32", (2, 2), "a list of 1 where a list of 2"),
        ([[[1], [2]]], "FP32", (1, 2), "FP32 should be a number from"),
        (7, "FP32", (1,), "data should be a list. Received: 7"),
        ([1.5], "UINT8", (1,), "UINT8 should be an integer from 0 to 255. Received: 1.5"),
        ([0, 256], "UINT8", (2,), "UINT8 should be an integer from 0 to 255. Received: 256"),
        ([-1], "UINT64", (1,), "from 0 to 18,446,744,073,709,551,615. Received: -1"),
        ([10**30], "INT64", (1,), "Received: an integer of more than 30 digits"),
        ([True], "INT8", (1,), "INT8 should be an integer from -128 to 127. Received: true"),
        (["1"], "FP64", (1,), "Received: '1'"),
        ([None], "FP32", (1,), "Received: null"),
        ([0.0, 1e39], "FP32", (2,), "Received: 1e+39"),
        ([70_000], "FP16", (1,), "from -65504 to 65504. Received: 70000"),
        ([10**400], "FP64", (1,), "Received: an integer of more than 30 digits"),
        ([1], "BYTES", (1,), "datatype should be one of UINT8, UINT16"),
    ],
)
def test_what_is_no_such_tensor_is_refused(data: Any, datatype: str, shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        tensors.from_json(data, datatype, shape, "/inputs/0")
    assert sentence in refused.value.detail
    assert refused.value.pointer.startswith("/inputs/0/data")


def test_bytes_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"FP32 of the shape \[2, 3\] takes 24 bytes. Received: 23"):
        tensors.from_bytes(bytes(23), "FP32", (2, 3))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [([np.nan], "finite. Received: nan"), ([1e39], "finite. Received: 1e+39"), ([-0.5], "255. Received: -0.5")],
)
def test_pixels_are_finite_and_in_range(values: list[float], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        tensors.examples(np.array([values]), (1,), upper=255)
    assert sentence in refused.value.detail


def test_examples_are_a_copy_in_float32() -> None:
    sent = tensors.from_bytes(bytes(range(12)), "UINT8", (2, 6))
    made = tensors.examples(sent, (2, 3, 1), upper=255)
    assert (made.shape, str(made.dtype)) == ((2, 2, 3, 1), "float32")
    assert made.flags.writeable
    np.testing.assert_array_equal(made.ravel(), np.arange(12))


@pytest.mark.parametrize("sent", [[5, 28, 28, 1], [5, 28, 28], [5, 784]])
def test_a_picture_may_come_in_three_shapes(sent: list[int]) -> None:
    tensors.check_shape(sent, (28, 28, 1), most=5)


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        ([], 422, "shape should be [-1, 28, 28, 1] or [-1, 28, 28] or [-1, 784]. Received: []"),
        ([28, 28], 422, "Received: [28, 28]"),
        ([1, 28, 28, 3], 422, "Received: [1, 28, 28, 3]"),
        ([784], 422, "Received: [784]"),
        ([0, 784], 422, "At least one example is needed"),
        ([6, 784], 413, "At most 5 examples a request. Received: 6"),
    ],
)
def test_other_shapes_are_refused(sent: list[int], status: int, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        tensors.check_shape(sent, (28, 28, 1), most=5)
    assert refused.value.status == status
    assert sentence in refused.value.detail

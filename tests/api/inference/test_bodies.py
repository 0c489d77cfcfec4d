"""Whatever comes as a request of the Open Inference Protocol is read, or refused with a reason."""

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from api.inference.bodies import expanded, read_request
from api.inference.errors import InputError

MOST = 10_000
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@st.composite
def nearly_valid(draw: st.DrawFn, /) -> tuple[Any, bytes]:
    """A request for two numbers an example, in JSON and the bytes after it, of which some part may be anything."""
    odd = draw(st.sets(st.integers(0, 10), max_size=2))
    parts = iter(range(11))

    def perhaps(right: Any) -> Any:
        return draw(JSON) if next(parts) in odd else right

    count, datatype = draw(st.integers(1, 2)), draw(st.sampled_from(["FP32", "INT64", "FP16", "UINT8"]))
    after = draw(st.binary(max_size=9) if draw(st.booleans()) else st.just(bytes(2 * count)))
    sent = {"name": perhaps("image"), "shape": perhaps([count, 2]), "datatype": perhaps(datatype)}
    if datatype == "UINT8":
        sent["parameters"] = perhaps({"binary_data_size": perhaps(2 * count)})
    else:
        after = b"" if draw(st.integers(0, 9)) else after
        sent["data"] = perhaps(draw(st.lists(st.integers(0, 255), min_size=2 * count, max_size=2 * count)))
    output = {"name": perhaps("output"), "parameters": {"binary_data": perhaps(True)}}
    body = {"inputs": perhaps([sent]), "outputs": [output], "id": perhaps("7"), "parameters": perhaps({})}
    return perhaps(body), after


@settings(max_examples=100)
@given(nearly_valid())
def test_any_request_is_read_or_refused(request_and_bytes: tuple[Any, bytes]) -> None:
    sent, after = request_and_bytes
    text = to_json(sent)
    try:
        received = read_request(text + after, str(len(text)))
        received.is_binary("output")
        examples = received.tensor("image", (2,), most=2, upper=None)
    except InputError as error:
        reason = error
    else:
        assert examples.shape in ((1, 2), (2, 2))
        return
    assert "Received" in reason.detail
    assert reason.status in (413, 422)


@given(st.binary(max_size=40), st.none() | st.text(max_size=3))
def test_any_bytes_are_refused(body: bytes, json_length: str | None) -> None:
    with pytest.raises(InputError):
        read_request(body, json_length)


@given(st.binary(max_size=2 * MOST))
def test_what_was_packed_is_unpacked_within_the_limit(body: bytes) -> None:
    for encoding, pack in (("gzip", gzip.compress), ("X-GZIP ", gzip.compress), ("deflate", zlib.compress)):
        if len(body) <= MOST:
            assert expanded(pack(body), encoding, MOST) == body
            continue
        with pytest.raises(InputError) as refused:
            expanded(pack(body), encoding, MOST)
        assert refused.value.status == 413


@given(st.binary(max_size=40), st.sampled_from(["gzip", "deflate", "br", "gzip, deflate"]))
def test_what_was_not_packed_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(InputError):
        expanded(body, encoding, MOST)
    assert expanded(body, "identity", MOST) == body

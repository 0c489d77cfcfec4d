"""Values by JSON pointer, put into a normalised spec."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec import JobSpec, SpecError, parse_spec
from models.spec.patching import Nowhere, patched, split_pointer, with_setting
from models.spec.problems import pointer_to

MIDDLE = {"type": "dense", "units": 8, "activation": "relu"}
LAYERS: list[dict[str, Any]] = [{"type": "flatten"}, MIDDLE, {"type": "dense", "units": 10, "activation": "softmax"}]
SHAPES: list[dict[str, Any]] = [
    {"dataset": "mnist"},
    {"dataset": "digits", "network": {"layers": LAYERS}, "metrics": ["f1"], "model": "mine"},
    {"dataset": "polynomial", "network": "mlp"},
    {"dataset": {"name": "mnist", "classes": [3, 8]}, "optimizer": {"type": "sgd", "learning_rate": 0.1}},
]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_a_pointer_says_where(path: list[str]) -> None:
    assert split_pointer(pointer_to(tuple(path))) == tuple(path)


@pytest.mark.parametrize("pointer", ["", "epochs", "/a~2b", "/a~"])
def test_what_is_no_pointer_leads_nowhere(pointer: str) -> None:
    with pytest.raises(Nowhere):
        split_pointer(pointer)


@pytest.mark.parametrize("body", SHAPES)
def test_without_anything_to_put_in_a_spec_stays_as_it_is(body: dict[str, Any]) -> None:
    spec = parse_spec(body)
    assert patched(spec, {}) == spec
    assert patched(spec, {"/epochs": 9}).model_dump() == spec.model_dump() | {"epochs": 9}


@given(st.permutations(["/epochs", "/optimizer/learning_rate", "/network/layers/1/units"]))
def test_the_order_of_pointers_is_no_difference(order: list[str]) -> None:
    values: dict[str, Any] = {"/epochs": 7, "/optimizer/learning_rate": 0.25, "/network/layers/1/units": 32}
    spec = patched(parse_spec(SHAPES[1]), {pointer: values[pointer] for pointer in order})
    assert (spec.epochs, spec.optimizer.learning_rate, spec.nodes[1].layer.units) == (7, 0.25, 32)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("loss", "from_logits"),
    [
        (None, True),
        ({"type": "sparse_categorical_crossentropy", "from_logits": False}, True),
    ],
)
def test_a_loss_that_comes_by_itself_follows(loss: dict[str, Any] | None, from_logits: bool) -> None:
    body = SHAPES[1] | ({} if loss is None else {"loss": loss})
    spec = patched(parse_spec(body), {"/network/layers/2/activation": "linear"})
    assert spec.loss.from_logits is from_logits  # type: ignore[union-attr]


def test_what_was_chosen_stays() -> None:
    spec = patched(parse_spec(SHAPES[1] | {"loss": "categorical_hinge"}), {"/network/layers/1/units": 32})
    assert (spec.loss.type, spec.model, spec.metrics) == ("categorical_hinge", "mine", parse_spec(SHAPES[1]).metrics)


def test_a_patch_may_set_what_follows_too() -> None:
    spec = patched(
        parse_spec(SHAPES[1]),
        {"/loss/from_logits": True, "/network/layers/2/activation": "linear"},
    )
    assert spec.loss.from_logits is True  # type: ignore[union-attr]


@pytest.mark.parametrize("pointer", ["/network/layers/3/units", "/network/layers/x/units", "/epochs/n", "/none/n"])
def test_a_patch_that_leads_nowhere_says_so(pointer: str) -> None:
    with pytest.raises(Nowhere, match=r"entry|leads"):
        patched(parse_spec(SHAPES[1]), {pointer: 1})


def test_a_patch_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SpecError, match="epochs"):
        patched(parse_spec(SHAPES[0]), {"/epochs": 0})


def test_a_spec_is_not_changed_in_place() -> None:
    sent: dict[str, Any] = {"dataset": "digits", "network": {"layers": [dict(layer) for layer in LAYERS]}}
    normal = JobSpec.model_validate(sent).model_dump(mode="json")
    body = with_setting(sent, {"/network/layers/1/units": 32}, normal)
    assert body["network"]["layers"][1]["units"] == 32
    assert sent["network"]["layers"] == LAYERS

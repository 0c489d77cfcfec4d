"""What the results of jobs that do not train say in plain words."""

from typing import Any

import pytest

from models.settings import Settings
from tests.worker.test_kinds import END, SMALL, dense, examples, spec_of
from worker.kinds.gradient_check import _result
from worker.kinds.initialization import compare_initializers

SPREADS: list[Any] = [
    {"type": "random_normal", "stddev": 1.0},
    {"type": "random_normal", "stddev": 0.01},
    "glorot_normal",
    "he_normal",
]


def told_of(settings: Settings, network: dict[str, Any], initializers: list[Any], **changes: Any) -> list[str]:
    wanted = {"kernel_initializers": initializers, "examples": 32}
    spec = spec_of("initialization", [], initialization=wanted, **{"network": network} | changes)
    return list(compare_initializers(spec, *examples(spec, settings))["summary"])


@pytest.mark.parametrize(
    ("network", "ends"),
    [
        ({"preset": "deep_mlp"}, ["explodes", "vanishes", "", ""]),
        ({"preset": "cnn"}, ["explodes", "vanishes", "", ""]),
        ({"layers": ["flatten", *[dense(64, "sigmoid")] * 4, END]}, ["", "vanishes", "vanishes", None]),
        ({"layers": ["flatten", dense(784, "relu"), dense(784, "relu"), END]}, ["explodes", "vanishes", "", ""]),
        ({"layers": ["flatten", dense(512, "relu"), END]}, ["explodes", "", "", ""]),
        (
            {
                "layers": [
                    "flatten",
                    *[dense(64), "batch_normalization", {"type": "activation", "activation": "relu"}] * 5,
                    END,
                ]
            },
            ["", "", "", ""],
        ),
    ],
    ids=["deep mlp", "cnn", "sigmoid", "wide", "one hidden layer", "normalised"],
)
def test_a_gradient_is_judged_by_its_factor_a_layer(
    settings: Settings, network: dict[str, Any], ends: list[str | None]
) -> None:
    told = [sentence for sentence in told_of(settings, network, SPREADS) if "the gradient" in sentence]
    for sentence, end in zip(told, ends, strict=True):
        if end is not None:  # None: so near the bound that the draw decides
            judged = [word for word in ("vanishes", "explodes") if f"it {word}" in sentence]
            assert judged == ([end] if end else []), sentence


def test_a_loss_far_above_guessing_is_remarked_on_even_for_a_single_layer(settings: Settings) -> None:
    large, small = told_of(settings, {"layers": ["flatten", END]}, SPREADS[:2])
    assert "far above the 2.3 of guessing" in large
    assert small == "Under random_normal(stddev=0.01) there is nothing to remark."
    (*told, last) = told_of(settings, {"layers": SMALL}, [{"type": "random_normal", "stddev": 1e6}])
    assert "far above the 2.3 of guessing" in told[0]
    assert "it explodes" in told[1]
    assert "saturated" in last
    squared = {"type": "mean_squared_error"}
    assert not any("guessing" in sentence for sentence in told_of(settings, {"layers": SMALL}, SPREADS, loss=squared))


@pytest.mark.parametrize("initializer", ["zeros", "ones", {"type": "constant", "value": 0.01}])
def test_equal_units_are_told(settings: Settings, initializer: Any) -> None:
    told = told_of(settings, {"layers": ["flatten", dense(8, "tanh"), dense(8, "tanh"), END]}, [initializer])
    assert any("all units of a layer are equal, in dense_1 to dense_2, and stay so" in sentence for sentence in told)
    biased = dense(8, bias_initializer={"type": "random_normal", "stddev": 1.0})
    for network in ({"layers": ["flatten", END]}, {"layers": ["flatten", biased, END]}):
        assert not any("units" in sentence for sentence in told_of(settings, network, [initializer]))


def test_units_drawn_at_random_are_not_equal_even_where_all_are_zero(settings: Settings) -> None:
    dead = dense(8, "relu", bias_initializer={"type": "constant", "value": -1e3})
    told = told_of(settings, {"layers": ["flatten", dead, END]}, ["he_normal"])
    assert any("is zero" in sentence for sentence in told)
    assert not any("units" in sentence for sentence in told)


def entry(kink: bool = False, error: float = 1e-9) -> dict[str, Any]:
    figures = {"backpropagated": 1.0, "numerical": 1.0, "relative_error": error, "kink": kink}
    return {"variable": "dense_1/kernel", "index": [0, 0]} | figures


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry()] * 4, ["at all 4 weights:"]),
        ([entry()], ["at the only weight drawn:"]),
        (
            [entry(), entry(), entry(kink=True), entry(kink=True)],
            ["at 2 of 4 weights:", "2 weights, in dense_1/kernel, are"],
        ),
        ([entry(), entry(kink=True)], ["at 1 of 2 weights:", "1 weight, in dense_1/kernel, is left out"]),
        ([entry(), entry(error=0.5)], ["1 of 2 gradients is wrong"]),
        ([entry(error=0.5), entry(error=0.5)], ["2 of 2 gradients are wrong"]),
    ],
)
def test_the_sentences_of_a_check_have_its_numbers(entries: list[dict[str, Any]], told: list[str]) -> None:
    summary = _result(1e-5, 1.0, entries)["summary"]
    assert len(summary) == len(told)
    assert all(part in sentence for part, sentence in zip(told, summary, strict=True))

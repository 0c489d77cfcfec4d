"""The rules: which verdict they come to on histories made up for it, on which they keep silent, and what they patch."""

import json
from collections import Counter
from dataclasses import asdict, replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.illnesses.later import all_later
from examples.illnesses.specs import Planted, all_planted
from models.diagnoses import VERDICTS, Finding, LayerSigns
from models.spec import JobSpec, parse_spec
from models.spec.change import ChangeSpec
from models.spec.layers import Dense
from models.spec.patching import patched
from tests.factories.examples import examples
from tests.models.spec.strategies import Body, specs
from worker.diagnosis import patches
from worker.diagnosis.history import EpochSigns
from worker.diagnosis.rules import diagnose
from worker.diagnosis.words import told

GUESSING = 2.303
PLANTED = all_planted()


def spec_of(*widths: int, activation: str = "relu", rate: float = 0.01, **more: Any) -> JobSpec:
    fields = {"type": "dense", "activation": activation, **more.pop("hidden", {})}
    hidden = [{**fields, "units": units} for units in widths]
    layers = ["flatten", *hidden, {"type": "dense", "units": 10, "activation": "softmax"}]
    optimizer = {"type": "sgd", "learning_rate": rate}
    body = {"dataset": "mnist", "network": {"layers": layers}, "optimizer": optimizer, "epochs": 10}
    return parse_spec(body | more)


def signs(layer: str, gradient: float = 1.0, **more: Any) -> LayerSigns:
    return LayerSigns(layer, gradient, 10.0, 1e-3, **more)


def history(
    losses: list[float],
    *layers: LayerSigns,
    accuracies: list[float] | None = None,
    validation: list[float] | None = None,
    rate: float = 0.01,
) -> list[EpochSigns]:
    """An epoch for each loss; layers are those of every epoch."""
    epochs = []
    for place, loss in enumerate(losses):
        metrics = {"loss": loss}
        if accuracies is not None:
            metrics["accuracy"] = accuracies[place]
        if validation is not None:
            metrics |= {"val_loss": validation[place], "val_accuracy": 0.85}
        epochs.append(EpochSigns(place + 1, rate, metrics, layers or None))
    return epochs


def only(spec: JobSpec, epochs: list[EpochSigns]) -> Finding:
    (found,) = diagnose(spec, epochs)
    return found


def mended(spec: JobSpec, found: Finding) -> JobSpec:
    return patched(spec, found.patch)


def test_nothing_is_said_before_the_first_epoch() -> None:
    assert diagnose(spec_of(128), []) == []


def test_a_gradient_that_vanishes_is_told_in_numbers_and_mended_by_relu() -> None:
    spec = spec_of(32, 32, 32, activation="sigmoid")
    layers = [signs("dense_1", 1e-8), signs("dense_2", 1e-6), signs("dense_3", 1e-3), signs("dense_4", 0.1)]
    found = only(spec, history([GUESSING], *layers, accuracies=[0.1]))
    assert found.verdict == "vanishing_gradients"
    assert found.sentence.startswith("The gradient of dense_1 is 10,000,000 times smaller than that of dense_4")
    assert found.evidence["first_gradient_norm"] == 1e-8
    first, *_, last = (node.layer for node in mended(spec, found).nodes[1:])
    assert isinstance(first, Dense)
    assert (first.activation.type, first.kernel_initializer.type) == ("relu", "he_normal")
    assert last.detail == "10, softmax"


def test_a_gradient_that_is_only_small_needs_epochs_without_progress() -> None:
    spec = spec_of(32, 32, 32, activation="sigmoid")
    layers = [signs("dense_1", 1e-3), signs("dense_2", 1e-2), signs("dense_4", 1.0)]
    stuck = history([2.31, 2.303, 2.303, 2.303], *layers)
    assert diagnose(spec, stuck[:1]) == []
    assert only(spec, stuck).verdict == "vanishing_gradients"
    assert diagnose(spec, history([2.31, 2.25, 2.15, 2.0], *layers)) == []
    long_ago = [*stuck[:1], *(replace(epoch, layers=None) for epoch in stuck[1:])]
    assert diagnose(spec, long_ago) == []


@pytest.mark.parametrize("loss", [nan, inf])
def test_a_loss_that_is_no_number_needs_a_new_job_with_cut_gradients(loss: float) -> None:
    spec = spec_of(128, rate=10.0)
    found = only(spec, history([2.4, loss], signs("dense_1"), rate=10.0))
    assert (found.verdict, found.live) == ("exploding_or_diverged", None)
    assert found.patch == {"/optimizer/learning_rate": 0.01, "/optimizer/clipnorm": 1.0}
    json.dumps(found.evidence, allow_nan=False)


def test_a_rate_that_wrecked_the_network_is_what_its_dead_units_come_from() -> None:
    spec = spec_of(128, rate=10.0)
    found = only(spec, history([5e4, 2.4, 2.4], signs("dense_1", 0.0, dead_share=1.0), accuracies=[0.1] * 3, rate=10.0))
    assert found.verdict == "exploding_or_diverged"
    assert found.live is None


def test_a_rate_that_is_far_too_high_is_lowered_live_while_the_network_is_whole() -> None:
    spec = spec_of(128, rate=5.0)
    found = only(spec, history([2.4, 2.35], signs("dense_1", dead_share=0.1), accuracies=[0.1, 0.11], rate=5.0))
    assert (found.verdict, found.live) == ("exploding_or_diverged", {"learning_rate": 0.01})


def test_pixels_that_were_not_scaled_are_scaled() -> None:
    spec = spec_of(128, dataset={"name": "mnist", "scaling": "none"})
    found = only(spec, history([900.0, 2.4], signs("dense_1"), accuracies=[0.1, 0.1]))
    assert found.patch == {"/dataset/scaling": "unit"}


def test_units_that_died_by_their_bias_get_another() -> None:
    spec = spec_of(128, hidden={"bias_initializer": {"type": "constant", "value": -10}})
    found = only(spec, history([GUESSING], signs("dense_1", 0.0, dead_share=1.0), accuracies=[0.1]))
    assert found.verdict == "dead_units"
    assert found.sentence.startswith("128 of the 128 units of dense_1 give 0")
    layer = mended(spec, found).nodes[1].layer
    assert isinstance(layer, Dense)
    assert (layer.bias_initializer.type, layer.activation.type) == ("zeros", "relu")


def test_units_that_died_of_themselves_get_leaky_relu() -> None:
    spec = spec_of(128)
    found = only(spec, history([2.2], signs("dense_1", dead_share=0.9), accuracies=[0.15]))
    assert mended(spec, found).nodes[1].layer.detail == "128, leaky_relu"


def test_units_that_died_under_large_steps_are_not_judged_at_once() -> None:
    spec = spec_of(128, rate=1.0, dataset="digits")
    epochs = history([2.4, 2.3], signs("dense_1", 0.0, dead_share=1.0), accuracies=[0.1, 0.1], rate=1.0)
    assert diagnose(spec, epochs[:1]) == []
    found = only(spec, epochs)
    assert (found.verdict, found.patch["/optimizer/learning_rate"]) == ("dead_units", 0.01)


def test_a_loss_out_of_all_proportion_is_an_explosion_whatever_the_accuracy() -> None:
    assert only(spec_of(64), history([2000.0], accuracies=[0.6])).verdict == "exploding_or_diverged"
    assert diagnose(spec_of(64), history([5.0], accuracies=[0.85])) == []


def test_dead_units_do_no_harm_to_a_network_that_learns() -> None:
    assert diagnose(spec_of(128), history([0.3], signs("dense_1", dead_share=0.9), accuracies=[0.9])) == []


def test_a_rate_far_below_the_usual_is_raised_live() -> None:
    spec = spec_of(128, rate=1e-6)
    stuck = history([2.35, 2.3499, 2.3498], signs("dense_1"), accuracies=[0.1] * 3, rate=1e-6)
    found = only(spec, stuck)
    assert (found.verdict, found.live) == ("learning_rate_too_low", {"learning_rate": 0.01})
    assert "0.000001" in found.sentence
    assert diagnose(spec, stuck[:2]) == []


def test_a_rate_that_is_still_to_rise_is_waited_for() -> None:
    warm = {"type": "cosine_decay", "initial_learning_rate": 0.0, "warmup_target": 0.1, "warmup_steps": 5000}
    optimizer = {"type": "sgd", "learning_rate": warm | {"decay_steps": 5000}}
    assert diagnose(spec_of(128, optimizer=optimizer), history([2.35] * 3, signs("dense_1"), rate=1e-5)) == []


def test_examples_known_by_heart_are_answered_with_more_of_them() -> None:
    spec = spec_of(512, dataset={"name": "mnist", "train_size": 500})
    losses, validation = [1.0, 0.3, 0.1, 0.05, 0.02, 0.01], [0.8, 0.6, 0.5, 0.55, 0.6, 0.65]
    found = only(spec, history(losses, accuracies=[0.7, 0.9, 0.97, 0.99, 1.0, 1.0], validation=validation))
    assert (found.verdict, found.evidence["best_epoch"]) == ("overfitting", 3)
    better = mended(spec, found)
    assert better.dataset.train_size == 5000
    assert better.early_stopping is not None
    assert better.early_stopping.restore_best_weights


def test_without_more_examples_dropout_is_tried() -> None:
    spec = spec_of(512)
    losses, validation = [1.0, 0.3, 0.1, 0.05, 0.02, 0.01], [0.8, 0.6, 0.5, 0.55, 0.6, 0.65]
    found = only(spec, history(losses, accuracies=[0.7, 0.9, 0.97, 0.99, 1.0, 1.0], validation=validation))
    assert [node.layer.type for node in mended(spec, found).nodes] == ["flatten", "dense", "dropout", "dense"]


def test_one_unit_in_the_middle_is_widened() -> None:
    spec = spec_of(128, 1, 128)
    found = only(spec, history([2.0, 1.9, 1.85, 1.8], signs("dense_1"), accuracies=[0.2, 0.2, 0.22, 0.23]))
    assert (found.verdict, found.evidence["layer"]) == ("too_little_capacity", "dense_2")
    assert [node.layer.detail for node in mended(spec, found).nodes[1:]] == [
        "128, relu",
        "64, relu",
        "128, relu",
        "10, softmax",
    ]


def test_one_unit_in_the_middle_that_is_dead_is_widened_too() -> None:
    """No gradient comes through it, which is no vanishing one: relu would be advised where relu is."""
    spec = spec_of(64, 1, 64)
    layers = (signs("dense_1", 0.0), signs("dense_2", 0.0, dead_share=1.0), signs("dense_3", 0.0), signs("dense_4"))
    stuck = history([GUESSING] * 5, *layers, accuracies=[0.1] * 5)
    assert diagnose(spec, stuck[:1]) == []
    found = only(spec, stuck)
    assert (found.verdict, found.evidence["layer"]) == ("too_little_capacity", "dense_2")
    assert isinstance(layer := mended(spec, found).nodes[2].layer, Dense)
    assert layer.units >= 10


def test_a_narrow_network_that_still_gets_better_is_left_alone() -> None:
    assert diagnose(spec_of(128, 3, 128), history([2.2, 1.9, 1.5, 1.2], accuracies=[0.2, 0.3, 0.4, 0.5])) == []


@pytest.mark.parametrize(
    ("losses", "accuracies", "rate"),
    [
        ([2.25], [0.15], 0.01),
        ([0.4], [0.88], 0.1),
        ([2.29, 2.27, 2.24, 2.2], [0.12, 0.15, 0.2, 0.26], 0.01),
        ([0.5, 0.3, 0.28, 0.28, 0.28, 0.28, 0.28], [0.85, 0.9] + [0.91] * 5, 0.0),
        ([1.0, 0.4, 0.2, 0.1, 0.06, 0.04], [0.7, 0.9, 0.95, 0.98, 0.99, 0.99], 0.5),
    ],
    ids=[
        "slow first epoch",
        "one epoch",
        "slow",
        "rate decayed to nothing",
        "learns by heart, but no figures of others",
    ],
)
def test_a_healthy_job_raises_no_alarm(losses: list[float], accuracies: list[float], rate: float) -> None:
    layers = [signs("dense_1", 0.5, dead_share=0.3), signs("dense_2", 1.0, dead_share=0.2), signs("dense_3", 1.0)]
    epochs = history(losses, *layers, accuracies=accuracies, rate=rate)
    assert [diagnose(spec_of(64, 64), epochs[:upto]) for upto in range(1, len(epochs) + 1)] == [[]] * len(epochs)


def test_a_regression_that_goes_well_raises_no_alarm() -> None:
    layers = [{"type": "dense", "units": 20, "activation": "tanh"}, {"type": "dense", "units": 1}]
    spec = parse_spec({"dataset": "polynomial", "network": {"layers": layers}, "epochs": 50})
    epochs = history([0.5, 0.45, 0.4, 0.3, 0.25, 0.22, 0.2], signs("dense_1"), signs("dense_2"), rate=0.001)
    assert [diagnose(spec, epochs[:upto]) for upto in range(1, 8)] == [[]] * 7


def test_the_loss_of_the_very_first_step_is_no_explosion() -> None:
    spec = spec_of(128, batch_size="full")
    epochs = history([60.0] + [4.0] * 38 + [2.35], signs("dense_1"), accuracies=[0.1] * 40)
    assert [diagnose(spec, epochs[:upto]) for upto in (1, 2, 39)] == [[]] * 3
    assert only(spec, epochs).verdict == "exploding_or_diverged"


def test_a_network_without_a_hidden_layer_gets_one_once_it_stands_still() -> None:
    losses = [1.0, 0.9, 0.8, 0.77] + [0.76] * 16
    layers = [{"type": "dense", "units": 3, "activation": "softmax"}]
    spec = parse_spec({"dataset": "spiral", "network": {"layers": layers}, "epochs": 100, "batch_size": 10})
    epochs = history(losses, signs("dense_1"), accuracies=[0.5] * 20)
    assert [diagnose(spec, epochs[:upto]) for upto in range(1, 10)] == [[]] * 9
    found = only(spec, epochs)
    assert found.verdict == "too_little_capacity"
    assert [node.layer.detail for node in mended(spec, found).nodes] == ["64, relu", "3, softmax"]


def test_what_a_penalty_adds_to_the_loss_is_no_explosion() -> None:
    spec = spec_of(64, hidden={"kernel_regularizer": {"type": "l2", "l2": 0.1}})
    assert diagnose(spec, history([30.0, 8.0], signs("dense_1"), accuracies=[0.15, 0.3])) == []


def test_the_planted_specs_are_as_many_as_they_should_be() -> None:
    assert len({planted.name for planted in PLANTED}) == len(PLANTED) == 48
    for half in ("tuned", "measured"):
        counts = Counter(planted.expected or "healthy" for planted in PLANTED if planted.half == half)
        assert counts == dict.fromkeys(VERDICTS, 2) | {"healthy": 12}


def every_patch(spec: JobSpec) -> list[dict[str, Any]]:
    names = [node.name for node in spec.nodes if hasattr(node.layer, "units") or hasattr(node.layer, "filters")]
    return [
        patches.with_relu(spec),
        patches.with_living_units(spec)[0],
        patches.with_scaled_weights(spec),
        patches.with_hidden_layer(spec),
        patches.with_rate(0.001) | patches.with_clipping(spec) | patches.with_scaled_pixels(spec),
        patches.with_width(spec, names[0], below=5),
        {} if spec.dataset.validation == "none" else patches.against_overfitting(spec),
    ]


@pytest.mark.parametrize("planted", [*PLANTED, *all_later()], ids=lambda planted: planted.name)
def test_every_patch_of_a_planted_spec_is_a_spec(planted: Planted) -> None:
    spec = parse_spec(planted.spec)
    assert all(patched(spec, patch) for patch in every_patch(spec))


@given(specs())
@settings(max_examples=examples(100), deadline=None)
def test_every_patch_of_any_spec_is_a_spec(body: Body) -> None:
    spec = parse_spec(body)
    for patch in every_patch(spec):
        patched(spec, patch)


numbers = st.sampled_from([0.0, 1e-12, 0.05, 0.3, 1.0, 2.3, 40.0, 1e30, inf, nan])
shares = st.none() | st.floats(0, 1)


@st.composite
def any_history(draw: st.DrawFn) -> tuple[JobSpec, list[EpochSigns]]:
    spec = parse_spec(draw(specs()))
    measured = ["loss", "accuracy"] + (["val_loss", "val_accuracy"] if spec.dataset.validation != "none" else [])
    made = st.builds(LayerSigns, st.sampled_from([node.name for node in spec.nodes]), *[numbers] * 3, shares, shares)
    metrics = st.fixed_dictionaries(dict.fromkeys(measured, numbers))
    epochs = draw(st.lists(st.tuples(metrics, st.none() | st.lists(made, max_size=4)), max_size=12))
    rates = st.sampled_from([0.0, 1e-9, 1e-3, 1.0, 1e3])
    return spec, [EpochSigns(2 * n + 1, draw(rates), each, layers) for n, (each, layers) in enumerate(epochs)]


@given(any_history())
@settings(max_examples=examples(120), deadline=None)
def test_whatever_was_seen_findings_can_be_stored_and_applied(case: tuple[JobSpec, list[EpochSigns]]) -> None:
    spec, epochs = case
    for found in diagnose(spec, epochs):
        json.dumps(asdict(found), allow_nan=False)
        assert found.patch
        patched(spec, found.patch)
        if found.live is not None:
            ChangeSpec.model_validate(found.live)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.3026, "2.3"), (1e-6, "0.000001"), (12_345_678.0, "12,300,000"), (0.0, "0"), (nan, "nan"), (1e-15, "1e-15")],
)
def test_numbers_are_told_in_three_digits(value: float, text: str) -> None:
    assert told(value) == text

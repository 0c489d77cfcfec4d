"""Losses, optimizers, schedules, metrics and watchers of a spec: short forms, defaults, and every mistake's place."""

from typing import Any

import pytest

from models.spec import output_kind, parse_spec
from models.spec.training import metric_name, rises
from tests.models.spec.strategies import Body
from tests.models.spec.test_parsing import END, network
from tests.models.spec.test_problems import problems_of

SCORES = {**END, "activation": "linear"}
TANH = {"type": "dense", "units": 1, "activation": "tanh"}
LOSSES = [
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "kl_divergence",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "hinge",
    "categorical_hinge",
]
TOP_K = "top_k_categorical_accuracy"
DECAY: Body = {"type": "exponential_decay", "initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}
COSINE: Body = {"type": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 10}


def mnist(**rest: Any) -> Body:
    return {"dataset": "mnist", **rest}


def two(last: Body, **rest: Any) -> Body:
    return network("flatten", last, **rest) | {"dataset": {"name": "mnist", "classes": [3, 8]}}


def values(**rest: Any) -> Body:
    return {"dataset": "polynomial", **rest}


def rate(**schedule: Any) -> Body:
    return mnist(optimizer={"type": "sgd", "learning_rate": schedule})


def piecewise(boundaries: Any, rates: Any) -> Body:
    return rate(type="piecewise_constant_decay", boundaries=boundaries, values=rates)


@pytest.mark.parametrize(
    ("given", "normalised"),
    [
        ({"loss": "mae"}, {"loss": {"type": "mean_absolute_error"}}),
        ({"loss": "huber"}, {"loss": {"type": "huber", "delta": 1.0}}),
        ({"metrics": ["acc", "mae", "mse"]}, {"metrics": ["accuracy", "mean_absolute_error", "mean_squared_error"]}),
        ({"metrics": [TOP_K, {"type": "f1"}]}, {"metrics": [{"type": TOP_K, "k": 5}, "f1"]}),
        ({"metrics": [{"type": TOP_K, "k": 3}]}, {"metrics": [{"type": TOP_K, "k": 3}]}),
    ],
)
def test_short_forms_are_written_out(given: Body, normalised: Body) -> None:
    spec = parse_spec(mnist(**given)).model_dump(mode="json")
    assert {name: spec[name] for name in normalised} == normalised
    assert parse_spec(spec).model_dump(mode="json") == spec


def test_a_schedule_is_written_out_under_its_one_name() -> None:
    spec = parse_spec(rate(type="piecewise_constant", boundaries=[5], values=[1, 0.5])).model_dump(mode="json")
    expected = {"type": "piecewise_constant_decay", "boundaries": [5], "values": [1.0, 0.5]}
    assert spec["optimizer"]["learning_rate"] == expected
    spec = parse_spec(rate(**COSINE)).model_dump(mode="json")
    assert spec["optimizer"]["learning_rate"] == {**COSINE, "alpha": 0.0, "warmup_target": None, "warmup_steps": 0}


def test_adamw_decays_weights_by_itself_and_others_only_when_told() -> None:
    assert parse_spec(mnist(optimizer="adamw")).optimizer.weight_decay == 0.004
    assert parse_spec(mnist(optimizer="lion")).optimizer.weight_decay is None


def test_values_have_a_loss_and_a_metric_of_their_own() -> None:
    spec = parse_spec(values())
    assert spec.loss.type == "mean_squared_error"
    assert spec.metrics == ("mean_absolute_error",)
    kind = output_kind(spec)
    assert (kind.outputs, kind.labels, kind.serving_activation, kind.class_labels) == (1, "value", None, [])


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize("metrics", [["mse"], ["mae", "mse"], []])
def test_distances_fit_values(loss: str, metrics: list[str]) -> None:
    assert parse_spec(values(loss=loss, metrics=metrics)).loss.type != "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    ("last", "loss", "labels", "added"),
    [
        (END, "mae", "one_hot", None),
        (SCORES, "huber", "one_hot", None),
        (END, "kl_divergence", "one_hot", None),
        (SCORES, "hinge", "one_hot", "softmax"),
        (SCORES, "categorical_hinge", "one_hot", "softmax"),
        ({**END, "activation": "tanh"}, "categorical_hinge", "one_hot", "softmax"),
        (END, "categorical_hinge", "one_hot", None),
        ({**END, "activation": "sigmoid"}, "hinge", "one_hot", None),
    ],
)
def test_what_each_loss_wants_and_serves(last: Body, loss: str, labels: str, added: str | None) -> None:
    kind = output_kind(parse_spec(network("flatten", last, loss=loss)))
    assert (kind.outputs, kind.labels, kind.serving_activation) == (10, labels, added)


@pytest.mark.parametrize(
    ("activation", "loss", "added"),
    [
        ("tanh", "hinge", "sigmoid"),
        ("linear", "hinge", "sigmoid"),
        ("sigmoid", "hinge", None),
        ("sigmoid", "mae", None),
        ("sigmoid", "huber", None),
    ],
)
def test_one_output_for_two_classes(activation: str, loss: str, added: str | None) -> None:
    kind = output_kind(parse_spec(two({**TANH, "activation": activation}, loss=loss)))
    assert (kind.outputs, kind.labels, kind.serving_activation) == (1, "binary", added)


@pytest.mark.parametrize("loss", ["hinge", "categorical_hinge", {"type": "binary_crossentropy", "from_logits": True}])
def test_a_preset_ends_in_what_the_loss_wants(loss: Any) -> None:
    assert parse_spec(mnist(loss=loss)).nodes[-1].layer.activation.type == "linear"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("monitor", "mode", "higher"),
    [
        ("val_loss", "auto", False),
        ("loss", "auto", False),
        ("accuracy", "auto", True),
        ("val_f1", "auto", True),
        ("precision", "auto", True),
        ("val_recall", "auto", True),
        ("auc", "auto", True),
        (f"val_{TOP_K}", "auto", True),
        ("val_mean_squared_error", "auto", False),
        ("val_mean_absolute_error", "auto", False),
        ("val_f1", "min", False),
        ("loss", "max", True),
    ],
)
def test_which_way_is_better(monitor: str, mode: str, higher: bool) -> None:
    measured = ["accuracy", "precision", "recall", "f1", "auc", "mae", "mse", TOP_K]
    watcher = {"monitor": monitor, "mode": mode}
    spec = parse_spec(mnist(metrics=measured, early_stopping=watcher, reduce_on_plateau=watcher))
    assert spec.early_stopping is not None
    assert spec.reduce_on_plateau is not None
    assert rises(spec.early_stopping) is rises(spec.reduce_on_plateau) is higher
    assert [metric_name(metric) for metric in spec.metrics][-1] == TOP_K


RATE = "/optimizer/learning_rate"
LARGE = 10**11
BAD = [
    # Losses.
    (values(loss="kl_divergence"), "/loss", "invalid"),
    (values(loss="hinge"), "/loss", "invalid"),
    (values(loss={"type": "binary_crossentropy", "from_logits": True}), "/loss/type", "invalid"),
    (mnist(loss={"type": "huber", "delta": 0}), "/loss/delta", "too_small"),
    (mnist(loss={"type": "hinge", "delta": 1.0}), "/loss/delta", "unknown_key"),
    (
        mnist(loss={"type": "sparse_categorical_crossentropy", "label_smoothing": 0.1}),
        "/loss/label_smoothing",
        "unknown_key",
    ),
    (
        mnist(loss={"type": "categorical_crossentropy", "label_smoothing": 1.5}),
        "/loss/label_smoothing",
        "too_large",
    ),
    (network("flatten", SCORES, loss="kl_divergence"), "/loss", "invalid"),
    (network("flatten", {**END, "activation": "relu"}, loss={"type": "kl_divergence"}), "/loss/type", "invalid"),
    (network("flatten", {**END, "activation": "relu"}, loss="categorical_crossentropy"), "/loss", "invalid"),
    (two(TANH, loss="binary_crossentropy"), "/loss", "invalid"),
    (network("flatten", SCORES, loss="binary_crossentropy"), "/loss", "invalid"),
    (two({**TANH, "activation": "sigmoid"}, loss="kl_divergence"), "/network/layers/1", "output_shape"),
    (two(TANH, loss="categorical_hinge"), "/network/layers/1", "output_shape"),
    # Optimizers.
    (mnist(optimizer={"type": "lion", "beta_1": 0}), "/optimizer/beta_1", "too_small"),
    (mnist(optimizer={"type": "lion", "epsilon": 1e-7}), "/optimizer/epsilon", "unknown_key"),
    (mnist(optimizer={"type": "ftrl", "learning_rate_power": 0.5}), "/optimizer/learning_rate_power", "too_large"),
    (mnist(optimizer={"type": "adadelta", "rho": 1.0}), "/optimizer/rho", "too_large"),
    (mnist(optimizer={"type": "sgd", "weight_decay": -0.1}), "/optimizer/weight_decay", "too_small"),
    (mnist(optimizer={"type": "adamw", "weight_decay": None}), "/optimizer/weight_decay", "wrong_type"),
    (mnist(optimizer={"type": "nadam", "clipnorm": 0}), "/optimizer/clipnorm", "too_small"),
    (mnist(optimizer={"type": "adam", "clipnorm": 1, "clipvalue": 1}), "/optimizer/clipvalue", "invalid"),
    (mnist(optimizer={"type": "lion", "clipnorm": 1, "global_clipnorm": 1}), "/optimizer/global_clipnorm", "invalid"),
    # Learning rates.
    (mnist(optimizer={"type": "adam", "learning_rate": 0}), RATE, "too_small"),
    (mnist(optimizer={"type": "adam", "learning_rate": 10_001}), RATE, "too_large"),
    (mnist(optimizer={"type": "adam", "learning_rate": True}), RATE, "wrong_type"),
    (mnist(optimizer={"type": "adam", "learning_rate": None}), RATE, "wrong_type"),
    (mnist(optimizer={"type": "adam", "learning_rate": [0.1]}), RATE, "wrong_type"),
    (mnist(optimizer={"type": "adam", "learning_rate": float("nan")}), RATE, "not_finite"),
    (mnist(optimizer={"type": "adam", "learning_rate": "0.1"}), RATE, "unknown_type"),
    (mnist(optimizer={"type": "adam", "learning_rate": "cosine"}), RATE, "unknown_type"),
    (rate(), f"{RATE}/type", "missing"),
    (rate(type="linear"), f"{RATE}/type", "unknown_type"),
    (rate(**{**DECAY, "decay_steps": 0}), f"{RATE}/decay_steps", "too_small"),
    (rate(**{**DECAY, "decay_steps": 1.5}), f"{RATE}/decay_steps", "wrong_type"),
    (rate(**{**DECAY, "decay_steps": LARGE}), f"{RATE}/decay_steps", "too_large"),
    (rate(**{**DECAY, "decay_rate": 0}), f"{RATE}/decay_rate", "too_small"),
    (rate(**{**DECAY, "decay_rate": 2.0, "decay_steps": 1}), f"{RATE}/decay_rate", "too_large"),
    (rate(**{**DECAY, "initial_learning_rate": 0}), f"{RATE}/initial_learning_rate", "too_small"),
    (rate(**{**DECAY, "alpha": 0.1}), f"{RATE}/alpha", "unknown_key"),
    (rate(**{**DECAY, "staircase": 1}), f"{RATE}/staircase", "wrong_type"),
    (rate(type="exponential_decay", decay_steps=10, decay_rate=0.5), f"{RATE}/initial_learning_rate", "missing"),
    (rate(**{**DECAY, "type": "inverse_time_decay", "decay_rate": -1}), f"{RATE}/decay_rate", "too_small"),
    (rate(**{**COSINE, "type": "polynomial_decay", "power": 0}), f"{RATE}/power", "too_small"),
    (rate(**{**COSINE, "type": "polynomial_decay", "end_learning_rate": -1}), f"{RATE}/end_learning_rate", "too_small"),
    (rate(**{**COSINE, "alpha": 1.1}), f"{RATE}/alpha", "too_large"),
    (rate(**{**COSINE, "warmup_steps": 5}), f"{RATE}/warmup_steps", "invalid"),
    (rate(**{**COSINE, "initial_learning_rate": 0}), f"{RATE}/initial_learning_rate", "too_small"),
    (
        rate(type="cosine_decay_restarts", initial_learning_rate=0.1, first_decay_steps=9, t_mul=0.5),
        f"{RATE}/t_mul",
        "too_small",
    ),
    (
        rate(type="cosine_decay_restarts", initial_learning_rate=0.1, first_decay_steps=9, m_mul=2.0),
        f"{RATE}/m_mul",
        "too_large",
    ),
    (piecewise([5, 5], [0.3, 0.2, 0.1]), f"{RATE}/boundaries/1", "too_small"),
    (piecewise([1, 9, 5], [0.3, 0.2, 0.1, 0.05]), f"{RATE}/boundaries/2", "too_small"),
    (piecewise([], [0.3, 0.2]), f"{RATE}/boundaries", "too_short"),
    (piecewise([-1], [0.3, 0.2]), f"{RATE}/boundaries/0", "too_small"),
    (piecewise([0.5], [0.3, 0.2]), f"{RATE}/boundaries/0", "wrong_type"),
    (piecewise([5, 6], [0.3, 0.2]), f"{RATE}/values", "too_short"),
    (piecewise([5], [0.3, 0.2, 0.1]), f"{RATE}/values", "too_long"),
    (piecewise([5], [0.3, 0]), f"{RATE}/values/1", "too_small"),
    (piecewise(list(range(65)), [0.1] * 65), f"{RATE}/boundaries", "too_long"),
    (rate(**DECAY) | {"reduce_on_plateau": {"patience": 3}}, "/reduce_on_plateau", "invalid"),
    # Metrics.
    (values(metrics=["mse", "accuracy"]), "/metrics/1", "invalid"),
    (values(metrics=["f1"]), "/metrics/0", "invalid"),
    (values(metrics=[TOP_K]), "/metrics/0", "invalid"),
    (mnist(metrics=["accuracy", "f2"]), "/metrics/1", "unknown_value"),
    (mnist(metrics=[5]), "/metrics/0", "wrong_type"),
    (mnist(metrics=[None]), "/metrics/0", "wrong_type"),
    (mnist(metrics=["acc", {"type": "accuracy"}]), "/metrics", "duplicate"),
    (mnist(metrics=[TOP_K, {"type": TOP_K, "k": 3}]), "/metrics", "duplicate"),
    (mnist(metrics=[{"type": "f1", "beta": 2.0}]), "/metrics/0", "invalid"),
    (mnist(metrics=[{"k": 3}]), "/metrics/0/type", "missing"),
    (mnist(metrics=[{"type": "f2"}]), "/metrics/0/type", "unknown_value"),
    (mnist(metrics=[{"type": TOP_K, "k": 0}]), "/metrics/0/k", "too_small"),
    (mnist(metrics=[{"type": TOP_K, "k": 11}]), "/metrics/0/k", "too_large"),
    (mnist(metrics=[{"type": TOP_K, "n": 3}]), "/metrics/0/n", "unknown_key"),
    (two({**END, "units": 2}, metrics=[TOP_K]), "/metrics/0", "too_large"),
    (
        two({**TANH, "activation": "sigmoid"}, metrics=[{"type": TOP_K, "k": 1}]),
        "/metrics/0",
        "invalid",
    ),
    # Watchers.
    (mnist(early_stopping={"monitor": "val_f1"}), "/early_stopping/monitor", "unknown_value"),
    (mnist(early_stopping={"mode": "up"}), "/early_stopping/mode", "unknown_value"),
    (mnist(early_stopping={"start_from_epoch": -1}), "/early_stopping/start_from_epoch", "too_small"),
    (mnist(early_stopping={"baseline": "0.5"}), "/early_stopping/baseline", "wrong_type"),
    (
        {"dataset": {"name": "mnist", "validation": "none"}, "reduce_on_plateau": {"monitor": "val_loss"}},
        "/reduce_on_plateau/monitor",
        "unknown_value",
    ),
]


@pytest.mark.parametrize(("body", "pointer", "code"), BAD, ids=[f"{n}{row[1]}-{row[2]}" for n, row in enumerate(BAD)])
def test_a_bad_value_is_answered_with_its_place(body: Body, pointer: str, code: str) -> None:
    found = problems_of(body)
    assert [(problem.pointer, problem.code) for problem in found] == [(pointer, code)]
    assert "Received: " in found[0].detail


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            network("flatten", SCORES, loss="kl_divergence"),
            "kl_divergence needs probabilities: let the network end in softmax, not in linear. "
            'Received: loss="kl_divergence"',
        ),
        (
            piecewise([5, 3], [0.3, 0.2, 0.1]),
            "boundaries must rise: this one must be greater than 5. Received: boundaries/1=3",
        ),
        (
            values(metrics=["accuracy"]),
            "polynomial has values, not classes: a metric must be mean_absolute_error or mean_squared_error. "
            'Received: metric="accuracy"',
        ),
        (mnist(metrics=[{"type": TOP_K, "k": 11}]), "k must be at most 10, the number of classes. Received: k=11"),
        (
            mnist(optimizer={"type": "sgd", "learning_rate": "cosine"}),
            "learning_rate must be one of exponential_decay, inverse_time_decay, polynomial_decay, cosine_decay, "
            "cosine_decay_restarts, piecewise_constant_decay (did you mean cosine_decay?). "
            'Received: learning_rate="cosine"',
        ),
    ],
)
def test_the_sentence_says_what_would_do(body: Body, sentence: str) -> None:
    assert [problem.detail for problem in problems_of(body)] == [sentence]

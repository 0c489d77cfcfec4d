"""Bad specs: each mistake is found once, at its place, and nothing but SpecError ever comes out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from models.spec import JobSpec, SpecError, parse_spec, problems_from
from models.spec.problems import Problem
from tests.models.spec.strategies import Body, specs
from tests.models.spec.test_parsing import END, network

CONV = {"type": "conv2d", "filters": 3, "kernel_size": 3}


def problems_of(body: object) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        parse_spec(body)
    return caught.value.problems


def mnist(**rest: Any) -> Body:
    return {"dataset": "mnist", **rest}


def data(**rest: Any) -> Body:
    return {"dataset": {"name": "mnist", **rest}}


def dense(**rest: Any) -> Body:
    return network("flatten", {"type": "dense", **rest}, END)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


BAD = [
    ({}, "/dataset", "missing"),
    ([], "", "wrong_type"),
    ("mnist", "", "wrong_type"),
    (None, "", "wrong_type"),
    ({"dataset": "mnits"}, "/dataset", "unknown_value"),
    ({"dataset": {}}, "/dataset/name", "missing"),
    ({"dataset": 5}, "/dataset", "wrong_type"),
    (data(nam="x"), "/dataset/nam", "unknown_key"),
    (data(validation={"split": 0}), "/dataset/validation/split", "too_small"),
    (data(validation={"split": 1.0}), "/dataset/validation/split", "too_large"),
    (data(validation={"split": True}), "/dataset/validation/split", "wrong_type"),
    (data(validation={}), "/dataset/validation", "invalid"),
    (data(validation={"spit": 0.1}), "/dataset/validation/spit", "unknown_key"),
    (data(validation={"test": False}), "/dataset/validation/test", "unknown_value"),
    (data(validation={"test": 1}), "/dataset/validation/test", "wrong_type"),
    (data(validation={"test": True, "split": 0.1}), "/dataset/validation", "invalid"),
    (data(validation="all"), "/dataset/validation", "invalid"),
    (data(validation=None), "/dataset/validation", "invalid"),
    (data(train_size=0), "/dataset/train_size", "too_small"),
    (data(train_size=54_001), "/dataset/train_size", "too_large"),
    (data(classes=[3]), "/dataset/classes", "too_short"),
    (data(classes=[3, 3]), "/dataset/classes", "duplicate"),
    (data(classes=[3, 10]), "/dataset/classes/1", "too_large"),
    (data(classes=[3, -1]), "/dataset/classes/1", "too_small"),
    (data(classes=["3", 8]), "/dataset/classes/0", "wrong_type"),
    (data(scaling="minmax"), "/dataset/scaling", "unknown_value"),
    (mnist(epoch=3), "/epoch", "unknown_key"),
    (mnist(**{"a/b~c": 3}), "/a~1b~0c", "unknown_key"),
    (mnist(epochs=10**12), "/epochs", "too_large"),
    (mnist(epochs=10**4000), "/epochs", "too_large"),
    (mnist(epochs=0), "/epochs", "too_small"),
    (mnist(epochs="5"), "/epochs", "wrong_type"),
    (mnist(epochs=True), "/epochs", "wrong_type"),
    (mnist(epochs=5.0), "/epochs", "wrong_type"),
    (mnist(epochs=None), "/epochs", "wrong_type"),
    (mnist(batch_size="ful"), "/batch_size", "wrong_type"),
    (mnist(batch_size=0), "/batch_size", "too_small"),
    (mnist(batch_size=False), "/batch_size", "wrong_type"),
    (mnist(seed=-1), "/seed", "too_small"),
    (mnist(precision="float64"), "/precision", "unknown_value"),
    (mnist(device="tpu"), "/device", "unknown_value"),
    (mnist(priority=10), "/priority", "too_large"),
    (mnist(max_seconds=float("nan")), "/max_seconds", "not_finite"),
    (mnist(max_seconds=float("inf")), "/max_seconds", "not_finite"),
    (mnist(max_seconds=0), "/max_seconds", "too_small"),
    (mnist(spec_version=2), "/spec_version", "too_large"),
    (mnist(spec_version=True), "/spec_version", "wrong_type"),
    (mnist(kind="tune"), "/kind", "unknown_value"),
    (mnist(name="a\x00b"), "/name", "bad_pattern"),
    (mnist(name="\ud800"), "/name", "bad_unicode"),
    (mnist(name="x" * 101), "/name", "too_long"),
    (mnist(tags=["a", "a"]), "/tags", "duplicate"),
    (
        mnist(kind="initialization", initialization={"kernel_initializers": ["zeros", {"type": "zeros"}]}),
        "/initialization/kernel_initializers",
        "duplicate",
    ),
    (mnist(tags=[""]), "/tags/0", "too_short"),
    (mnist(tags=[str(n) for n in range(21)]), "/tags", "too_long"),
    (mnist(tags="a"), "/tags", "wrong_type"),
    (mnist(model="My Model"), "/model", "bad_pattern"),
    (mnist(model="x\n"), "/model", "bad_pattern"),
    (mnist(initial_weights={"model": "Mnist"}), "/initial_weights/model", "bad_pattern"),
    (mnist(metrics=["f2"]), "/metrics/0", "unknown_value"),
    (mnist(metrics="accuracy"), "/metrics", "wrong_type"),
    (mnist(metrics=["acc", "accuracy"]), "/metrics", "duplicate"),
    (mnist(loss="hinges"), "/loss", "unknown_type"),
    (mnist(loss={"from_logits": True}), "/loss/type", "missing"),
    (mnist(loss={"type": "mse", "from_logits": True}), "/loss/from_logits", "unknown_key"),
    (mnist(optimizer="adamm"), "/optimizer", "unknown_type"),
    (mnist(optimizer={"type": "adamm"}), "/optimizer/type", "unknown_type"),
    (mnist(optimizer={"type": {}}), "/optimizer/type", "unknown_type"),
    (mnist(optimizer={}), "/optimizer/type", "missing"),
    (mnist(optimizer=None), "/optimizer", "wrong_type"),
    (mnist(optimizer={"type": "adam", "momentum": 0.9}), "/optimizer/momentum", "unknown_key"),
    (mnist(optimizer={"type": "adam", "learning_rate": 10**400}), "/optimizer/learning_rate", "too_large"),
    (mnist(optimizer={"type": "adam", "learning_rate": -0.1}), "/optimizer/learning_rate", "too_small"),
    (mnist(optimizer={"type": "adam", "learning_rate": float("nan")}), "/optimizer/learning_rate", "not_finite"),
    (mnist(optimizer={"type": "sgd", "clipnorm": 1, "clipvalue": 1}), "/optimizer/clipvalue", "invalid"),
    (mnist(class_weight={"x": 1.0}), "/class_weight/x", "bad_pattern"),
    (mnist(class_weight={"10": 1.0}), "/class_weight/10", "unknown_key"),
    (mnist(class_weight={"3": "2"}), "/class_weight/3", "wrong_type"),
    (mnist(class_weight={"3": -1}), "/class_weight/3", "too_small"),
    (mnist(class_weight={}), "/class_weight", "too_short"),
    (mnist(class_weight={str(n): 0 for n in range(10)}), "/class_weight", "invalid"),
    ({**data(classes=[3, 8]), "class_weight": {"4": 2.0}}, "/class_weight/4", "unknown_key"),
    ({**data(validation="none"), "early_stopping": {}}, "/early_stopping/monitor", "unknown_value"),
    (mnist(early_stopping={"monitor": "val_f1"}), "/early_stopping/monitor", "unknown_value"),
    (mnist(early_stopping={"monitor": "accuracy"}, metrics=[]), "/early_stopping/monitor", "unknown_value"),
    (mnist(reduce_on_plateau={"factor": 1}), "/reduce_on_plateau/factor", "too_large"),
    (mnist(network="mpl"), "/network", "unknown_value"),
    (mnist(network={"preset": "mpl"}), "/network/preset", "unknown_value"),
    (mnist(network={}), "/network", "invalid"),
    (mnist(network={"lyers": []}), "/network/lyers", "unknown_key"),
    (mnist(network={"layers": ["flatten"], "preset": "mlp"}), "/network", "invalid"),
    (network(), "/network/layers", "too_short"),
    (network(*["batch_normalization"] * 201), "/network/layers", "too_long"),
    (network("flatten", 7, END), "/network/layers/1", "wrong_type"),
    (network("flatten", "lstmm", END), "/network/layers/1", "unknown_type"),
    (network("flatten", "dense", END), "/network/layers/1", "missing"),
    (network("flatten", {"units": 3}, END), "/network/layers/1/type", "missing"),
    (network("flatten", {"type": "conv3d"}, END), "/network/layers/1/type", "unknown_type"),
    (dense(), "/network/layers/1/units", "missing"),
    (dense(unit=3), "/network/layers/1/unit", "unknown_key"),
    (dense(units=-3), "/network/layers/1/units", "too_small"),
    (dense(units=True), "/network/layers/1/units", "wrong_type"),
    (dense(units=10**9), "/network/layers/1/units", "too_large"),
    (dense(units="128"), "/network/layers/1/units", "wrong_type"),
    (dense(units=3, activation="rlu"), "/network/layers/1/activation", "unknown_type"),
    (dense(units=3, activation={"type": "rlu"}), "/network/layers/1/activation/type", "unknown_type"),
    (
        dense(units=3, activation={"type": "relu", "negative_slope": 0.1}),
        "/network/layers/1/activation/negative_slope",
        "unknown_key",
    ),
    (dense(units=3, bias_initializer="orthogonal"), "/network/layers/1/bias_initializer", "unknown_type"),
    (
        dense(units=3, kernel_initializer={"type": "uniform", "minval": 1.0}),
        "/network/layers/1/kernel_initializer/maxval",
        "too_small",
    ),
    (dense(units=1, activation="softmax"), "/network/layers/1/activation", "invalid"),
    (network("flatten", {"type": "dropout", "rate": 1}, END), "/network/layers/1/rate", "too_large"),
    (network({**CONV, "kernel_size": 29}, "flatten", END), "/network/layers/0/kernel_size", "shape"),
    (network({**CONV, "kernel_size": [3, 29]}, "flatten", END), "/network/layers/0/kernel_size", "shape"),
    (network({**CONV, "kernel_size": 0}, "flatten", END), "/network/layers/0/kernel_size", "too_small"),
    (network({**CONV, "kernel_size": [3]}, "flatten", END), "/network/layers/0/kernel_size", "missing"),
    (network({**CONV, "kernel_size": [3, 3, 3]}, "flatten", END), "/network/layers/0/kernel_size", "too_long"),
    (network({**CONV, "kernel_size": [3, "3"]}, "flatten", END), "/network/layers/0/kernel_size/1", "wrong_type"),
    (network(*[CONV, "max_pooling2d"] * 4, "flatten", END), "/network/layers/6/kernel_size", "shape"),
    (network(*["max_pooling2d"] * 6, "flatten", END), "/network/layers/4", "shape"),
    (network("flatten", CONV, END), "/network/layers/1", "shape"),
    (network(END), "/network/layers/0", "output_shape"),
    (network("flatten"), "/network/layers/0", "output_shape"),
    (network("flatten", {**END, "units": 3}), "/network/layers/1", "output_shape"),
    (
        network("flatten", {"type": "dense", "units": 3}, {"type": "activation", "activation": "softmax"}),
        "/network/layers/1",
        "output_shape",
    ),
    (network("flatten", {**END, "units": 1, "activation": "sigmoid"}), "/network/layers/1", "output_shape"),
    (network("flatten", END, **data(classes=[3, 8])), "/network/layers/1", "output_shape"),
    (
        network("flatten", {**END, "units": 1, "activation": "sigmoid"}, loss="categorical_crossentropy")
        | data(classes=[3, 8]),
        "/network/layers/1",
        "output_shape",
    ),
    (
        network({"type": "average_pooling2d", "pool_size": [14, 5]}, "flatten", loss="mse"),
        "/network/layers/1",
        "invalid",
    ),
    (
        network("flatten", {"type": "dense", "units": 60_000}, {"type": "dense", "units": 60_000}, END),
        "/network/layers/2",
        "too_large",
    ),
    (
        network("flatten", {**END, "activation": "linear"}, loss="categorical_crossentropy"),
        "/loss",
        "invalid",
    ),
    (
        network("flatten", {**END, "activation": "linear"}, loss={"type": "sparse_categorical_crossentropy"}),
        "/loss/from_logits",
        "invalid",
    ),
    (
        network("flatten", END, loss={"type": "categorical_crossentropy", "from_logits": True}),
        "/loss/from_logits",
        "invalid",
    ),
    (mnist(name=nested(100_000)), "", "too_large"),
    (network(*["x"] * 100_000), "", "too_large"),
]


@pytest.mark.parametrize(("body", "pointer", "code"), BAD, ids=[f"{n}{row[1]}-{row[2]}" for n, row in enumerate(BAD)])
def test_a_bad_spec_is_answered_with_its_place(body: object, pointer: str, code: str) -> None:
    found = problems_of(body)
    assert [(problem.pointer, problem.code) for problem in found] == [(pointer, code)]
    assert "Received: " in found[0].detail
    assert len(found[0].detail) < 1000
    json.dumps([found[0].detail, found[0].received], allow_nan=False, ensure_ascii=False).encode()


def test_every_mistake_is_found_at_once_in_order() -> None:
    body = {"dataset": "mnist", "epochs": 0, "network": {"layers": ["flatten", {"type": "dense", "units": 0}, END]}}
    found = problems_of({**body, "optimizer": "adamm", "unknown": 1})
    assert {problem.pointer for problem in found} == {"/epochs", "/network/layers/1/units", "/optimizer", "/unknown"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (dense(units=-3), "units must be at least 1. Received: units=-3"),
        (mnist(epochs=True), "epochs must be a whole number. Received: epochs=true"),
        (mnist(epoch=3), "epoch is not a known key (did you mean epochs?). Received: epoch=3"),
        (dense(unit=3), "unit is not a known key (did you mean units?). Received: unit=3"),
        (
            mnist(network="mpl"),
            "network must be one of softmax_regression, mlp, deep_mlp, lenet5, cnn or resnet_small "
            '(did you mean mlp?). Received: network="mpl"',
        ),
        (
            mnist(optimizer={"type": "adm"}),
            "type must be one of sgd, adagrad, adadelta, rmsprop, adam, adamw, adamax, nadam, ftrl, lion "
            '(did you mean adam?). Received: type="adm"',
        ),
        (
            mnist(loss={}),
            "type is missing: give one of mean_squared_error, mean_absolute_error, huber, kl_divergence, "
            "categorical_crossentropy, sparse_categorical_crossentropy, binary_crossentropy, hinge, categorical_hinge. "
            "Received: nothing",
        ),
        (
            network({**CONV, "kernel_size": 50}, "flatten", END),
            "kernel_size [50, 50] is larger than the layer's input of 28x28: make it smaller, or set padding to same. "
            "Received: kernel_size=[50, 50]",
        ),
        (
            network("flatten", {**END, "units": 3}),
            "sparse_categorical_crossentropy over 10 classes needs a network that ends in 10 outputs. "
            "Received: outputs=3",
        ),
    ],
)
def test_the_sentence_says_what_was_received_and_what_would_do(body: Body, sentence: str) -> None:
    assert [problem.detail for problem in problems_of(body)] == [sentence]


GARBAGE: list[Any] = [
    True,
    -1,
    10**30,
    1.5,
    float("nan"),
    float("-inf"),
    "nonsense",
    "\x00",
    [],
    [[[]]],
    {},
    {"type": "nonsense"},
    {"type": []},
    {"dense": 1},
    [None, "x"],
]


def found_in(body: object) -> list[Problem]:
    try:
        parse_spec(body)
    except SpecError as error:
        return error.problems
    return []


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [inner for key, item in items for inner in paths_of(item, (*path, key))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@given(specs(), st.data(), st.sampled_from(GARBAGE))
def test_a_field_of_a_valid_spec_turned_into_garbage_is_what_is_pointed_at(
    body: Body, draw: st.DataObject, garbage: Any
) -> None:
    path = draw.draw(st.sampled_from(paths_of(body)))
    mutated = replaced(body, path, garbage)
    problems = found_in(mutated)
    json.dumps([vars(problem) for problem in problems], allow_nan=False)
    pointers = [problem.pointer for problem in problems]
    place, parent = ("/" + "/".join(map(str, part)) if part else "" for part in (path, path[:-1]))
    try:
        JobSpec.model_validate(mutated)
    except ValidationError:
        assert pointers
        assert all(pointer in (parent, place) or pointer.startswith(f"{place}/") for pointer in pointers)
    # Otherwise it is good by itself but may not fit another field (classes and the last layer), which is then named.


@given(specs(), st.data())
def test_only_a_field_that_is_left_out_is_missing(body: Body, draw: st.DataObject) -> None:
    path = draw.draw(st.sampled_from([path for path in paths_of(body) if isinstance(path[-1], str)]))
    parent: Any = body
    for item in path[:-1]:
        parent = parent[item]
    shortened = replaced(body, path[:-1], {key: value for key, value in parent.items() if key != path[-1]})
    missing = [problem.pointer for problem in found_in(shortened) if problem.code == "missing"]
    assert missing in ([], ["/" + "/".join(map(str, path))])


class Box(BaseModel, extra="forbid", strict=True):
    size: int | str
    inner: "Box | None" = None


class Bag(BaseModel, extra="forbid", strict=True):
    width: int
    height: int


class Shelf(BaseModel, extra="forbid", strict=True):
    boxes: list[Box] = Field(default=[], max_length=3)
    either: Box | Bag | None = None


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"boxes": [{"size": None}]}, ["/boxes/0/size"]),
        ({"boxes": [{"size": 1, "inner": {"size": 2, "inner": {}}}]}, ["/boxes/0/inner/inner/size"]),
        ({"boxes": 3}, ["/boxes"]),
        ({"either": {"width": 3, "height": "x"}}, ["/either/height"]),
        ({"either": {"size": []}}, ["/either/size"]),
        # A key that is spelt like what pydantic puts into the path of a union's error.
        ({"either": {"size": 1, "Box": {"Box": 1}}}, ["/either/Box"]),
        ({"boxs": []}, ["/boxs"]),
        (3, [""]),
    ],
)
def test_any_models_errors_become_one_problem_a_mistake(body: object, pointers: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Shelf.model_validate(body)
    for model in (Shelf, None):
        found = problems_from(caught.value.errors(), body, model)
        assert [problem.pointer for problem in found] == pointers
        assert all("Received: " in problem.detail for problem in found)

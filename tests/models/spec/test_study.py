"""The grammar of studies: what is valid, where each mistake is pointed at, and what settings become."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.spec import Problem, SpecError, parse_spec, problems_from
from models.spec.metrics_direction import higher_is_better
from models.spec.study import StudySpec
from models.spec.study_checks import CheckedStudy, check_study, last_step
from models.spec.study_settings import Labels, canonical, grid
from tests.models.spec.strategies import specs

DENSE = {
    "dataset": "digits",
    "network": {
        "layers": ["flatten", {"type": "dense", "units": 64, "activation": "relu"}, {"type": "dense", "units": 10}]
    },
}
UNITS = "/network/layers/1/units"
FEW = {"dataset": {"name": "polynomial", "degree": 3, "samples": 4}}
RATE = {"low": 1e-5, "high": 0.1, "log": True}


def body(**fields: Any) -> dict[str, Any]:
    return {"base": {"dataset": "digits"}, "vary": {"/optimizer": ["sgd", "adam"]}, **fields}


def checked(**fields: Any) -> CheckedStudy:
    return check_study(StudySpec.model_validate(body(**fields)))


def spec_of(study: CheckedStudy, n: int, repeat: int = 0) -> dict[str, Any]:
    assert study.grid is not None
    return study.base.spec_of(study.grid[n], repeat).model_dump(mode="json")


def problems_in(sent: dict[str, Any]) -> list[Problem]:
    """Everything that is wrong with a body."""
    try:
        check_study(StudySpec.model_validate(sent))
    except SpecError as error:
        return error.problems
    except ValidationError as error:
        return problems_from(error.errors(include_url=False), sent, StudySpec)
    return []


def mistakes(**fields: Any) -> list[tuple[str, str]]:
    """Pointer and code of each mistake."""
    return [(problem.pointer, problem.code) for problem in problems_in(body(**fields))]


def test_a_short_study_gets_every_default() -> None:
    study = checked()
    assert (study.objective, study.spec.repeats, study.spec.k_folds, study.spec.trials) == (
        "val_accuracy",
        1,
        None,
        None,
    )
    assert study.grid == [{"/optimizer": "sgd"}, {"/optimizer": "adam"}]
    assert checked(sampler="tpe").spec.trials == 20


def test_a_grid_is_every_combination_the_last_key_fastest() -> None:
    study = checked(vary={"/optimizer": ["sgd", "adam"], "/epochs": [1, 2]})
    assert [tuple(setting.values()) for setting in study.grid or ()] == [
        ("sgd", 1),
        ("sgd", 2),
        ("adam", 1),
        ("adam", 2),
    ]


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"base": {}}, "/base/dataset", "missing"),
        ({"base": {"dataset": "digits", "epochs": 0}}, "/base/epochs", "too_small"),
        ({"base": {"dataset": "digits", "kind": "gradient_check"}}, "/base/kind", "unknown_value"),
        ({"base": "digits"}, "/base", "wrong_type"),
        ({"vary": {}}, "/vary", "too_short"),
        ({"vary": {"/optimizer": []}}, "/vary/~1optimizer", "too_short"),
        ({"vary": {"/optimizer": "sgd"}}, "/vary/~1optimizer", "wrong_type"),
        ({"vary": {"optimizer": ["sgd"]}}, "/vary/optimizer", "unknown_key"),
        ({"vary": {"": [{}]}}, "/vary/", "unknown_key"),
        ({"vary": {"/optimiser": ["sgd"]}}, "/vary/~1optimiser", "unknown_key"),
        ({"vary": {"/metrics/7": ["accuracy"]}}, "/vary/~1metrics~17", "unknown_key"),
        ({"vary": {UNITS: [8]}}, "/vary/~1network~1layers~11~1units", "unknown_key"),
        ({"vary": {"/optimizer": ["sgd", "adm"]}}, "/vary/~1optimizer/1", "unknown_type"),
        (
            {"vary": {"/optimizer": ["adam", {"type": "sgd", "momentum": 2}]}},
            "/vary/~1optimizer/1/momentum",
            "too_large",
        ),
        ({"vary": {"/optimizer": ["sgd", "sgd"]}}, "/vary/~1optimizer/1", "duplicate"),
        ({"vary": {"/optimizer/learning_rate": RATE}}, "/vary/~1optimizer~1learning_rate", "invalid"),
        ({"vary": {"/epochs": {"low": 0, "high": 5}}, "sampler": "tpe"}, "/vary/~1epochs/low", "too_small"),
        ({"vary": {"/epochs": {"low": 1, "high": 10**6}}, "sampler": "tpe"}, "/vary/~1epochs/high", "too_large"),
        ({"vary": {"/epochs": {"low": 5, "high": 5}}, "sampler": "tpe"}, "/vary/~1epochs/high", "too_small"),
        ({"vary": {"/epochs": {"low": 1, "high": 5, "step": 9}}, "sampler": "tpe"}, "/vary/~1epochs/step", "invalid"),
        (
            {"vary": {"/epochs": {"low": 1, "high": 5, "step": 0.5}}, "sampler": "tpe"},
            "/vary/~1epochs/step",
            "wrong_type",
        ),
        (
            {"vary": {"/epochs": {"low": 0.5, "high": 5, "step": 1e-54}}, "sampler": "tpe"},
            "/vary/~1epochs/step",
            "too_small",
        ),
        ({"vary": {"/epochs": {"low": 1, "hihg": 5}}, "sampler": "tpe"}, "/vary/~1epochs/hihg", "unknown_key"),
        ({"vary": {"/epochs": {"low": True, "high": 5}}, "sampler": "tpe"}, "/vary/~1epochs/low", "wrong_type"),
        (
            {"vary": {"/early_stopping/min_delta": {"low": 0, "high": 1, "log": True}}, "sampler": "tpe"},
            "/vary/~1early_stopping~1min_delta/low",
            "too_small",
        ),
        ({"sampler": "gird"}, "/sampler", "unknown_value"),
        ({"trials": 5}, "/trials", "invalid"),
        ({"trials": 0, "sampler": "tpe"}, "/trials", "too_small"),
        ({"repeats": 3, "k_folds": 5}, "/k_folds", "invalid"),
        ({"repeats": 101}, "/repeats", "too_large"),
        ({"k_folds": 1}, "/k_folds", "too_small"),
        ({"repeat": 3}, "/repeat", "unknown_key"),
        ({"objective": "val_acuracy"}, "/objective", "unknown_value"),
        ({"parallel": 33}, "/parallel", "too_large"),
        ({"vary": {"/epochs": list(range(1, 41)), "/batch_size": list(range(1, 31))}}, "/vary", "too_large"),
        ({"vary": {"/epochs": list(range(1, 101))}, "repeats": 31}, "/repeats", "too_large"),
        ({"vary": {f"/{n}": [1] for n in range(21)}}, "/vary", "too_long"),
        ({"base": {"dataset": "digits", "seed": 2**31 - 2}, "repeats": 3}, "/base/seed", "too_large"),
        ({"vary": {"/dataset/validation": ["none", {"split": 0.2}]}}, "/vary/~1dataset~1validation/0", "unknown_value"),
        (
            {"base": {"dataset": {"name": "digits", "validation": {"split": 0.1}}}, "k_folds": 5},
            "/base/dataset/validation",
            "invalid",
        ),
        ({"vary": {"/dataset/validation": [{"split": 0.1}]}, "k_folds": 5}, "/vary/~1dataset~1validation/0", "invalid"),
    ],
)
def test_a_mistake_is_pointed_at(fields: dict[str, Any], pointer: str, code: str) -> None:
    assert mistakes(**fields) == [(pointer, code)]


def test_values_that_only_clash_together_are_told_as_a_combination() -> None:
    with pytest.raises(SpecError) as caught:
        checked(vary={"/early_stopping": [None, {"patience": 3}], "/early_stopping/min_delta": [0.0, 0.1]})
    assert [problem.pointer for problem in caught.value.problems] == ["/vary", "/vary"]
    assert 'with {"/early_stopping": null, "/early_stopping/min_delta": 0.1}' in caught.value.problems[1].detail


def test_values_that_are_only_valid_together_are_valid() -> None:
    study = checked(base=DENSE, vary={"/dataset/classes": [[3, 8]], "/network/layers/2/units": [2]})
    assert spec_of(study, 0)["network"]["layers"][2]["units"] == 2
    assert mistakes(base=DENSE, vary={"/network/layers/2/units": [10, 2]}) == [
        ("/vary/~1network~1layers~12~1units/1", "output_shape")
    ]


def test_the_closest_pointer_is_named() -> None:
    with pytest.raises(SpecError, match=r"did you mean /optimizer/learning_rate\?"):
        checked(vary={"/optimizer/learning_rates": [0.1]})


@pytest.mark.parametrize(
    ("base", "pointer", "value"),
    [
        ({"dataset": "digits"}, "/optimizer/learning_rate", 0.5),
        ({"dataset": "digits", "optimizer": "adam"}, "/optimizer/learning_rate", 0.5),
        ({"dataset": "digits"}, "/dataset/train_size", 100),
        (DENSE, "/network/layers/1/activation/type", "tanh"),
        (DENSE, UNITS, 16),
        ({"dataset": "digits"}, "/early_stopping", {"patience": 3}),
    ],
)
def test_what_is_absent_or_short_is_written_out_on_the_way(base: dict[str, Any], pointer: str, value: object) -> None:
    whole: Any = parse_spec(base).model_dump(mode="json")
    study = checked(base=base, vary={pointer: [value]})
    *way, last = pointer[1:].split("/")
    got: Any = spec_of(study, 0)
    for key in way:
        got, whole = (part[int(key) if isinstance(part, list) else key] for part in (got, whole))
    wanted = got[last]
    assert wanted == value or value.items() <= wanted.items()  # type: ignore[attr-defined]
    assert {key: inner for key, inner in got.items() if key != last} == {k: v for k, v in whole.items() if k != last}


def test_defaults_follow_from_the_setting_and_not_from_the_base() -> None:
    ends = [{"layers": ["flatten", {"type": "dense", "units": 10, "activation": a}]} for a in ("softmax", "linear")]
    study = checked(vary={"/network": ends})
    assert [spec_of(study, n)["loss"]["from_logits"] for n in (0, 1)] == [False, True]


def test_a_default_is_written_out_as_the_rest_of_the_setting_has_it() -> None:
    single = {"layers": ["flatten", {"type": "dense", "units": 1, "activation": "sigmoid"}]}
    study = checked(vary={"/loss/label_smoothing": [0.2], "/network": [single], "/dataset/classes": [[3, 8]]})
    loss = spec_of(study, 0)["loss"]
    assert (loss["type"], loss["label_smoothing"]) == ("binary_crossentropy", 0.2)


def test_an_inner_field_goes_into_the_outer_value_of_the_same_setting() -> None:
    study = checked(vary={"/optimizer/learning_rate": [0.5, 0.25], "/optimizer": ["sgd", "adam"]})
    made = [spec_of(study, n)["optimizer"] for n in range(4)]
    assert [(one["type"], one["learning_rate"]) for one in made] == [
        ("sgd", 0.5),
        ("adam", 0.5),
        ("sgd", 0.25),
        ("adam", 0.25),
    ]
    # Valid with some outer value is enough for a search, which draws them together.
    inner = {"/optimizer/momentum": {"low": 0.1, "high": 0.9}, "/optimizer": ["adam", "sgd"]}
    assert mistakes(vary=inner, sampler="random") == []
    assert mistakes(vary=inner | {"/optimizer": ["adam", "adagrad"]}, sampler="random") != []


def test_runs_differ_by_seed_or_by_fold() -> None:
    repeated = checked(base={"dataset": "digits", "seed": 7}, repeats=3)
    assert [spec_of(repeated, 0, repeat)["seed"] for repeat in range(3)] == [7, 8, 9]
    folded = checked(k_folds=4)
    found = [spec_of(folded, 1, fold) for fold in range(4)]
    assert [spec["dataset"]["validation"] for spec in found] == [{"fold": fold, "folds": 4} for fold in range(4)]
    assert {spec["seed"] for spec in found} == {0}


@pytest.mark.parametrize(
    ("base", "objective"),
    [
        ({"dataset": "digits"}, "val_accuracy"),
        ({"dataset": "digits", "metrics": []}, "val_loss"),
        (FEW, "val_mean_absolute_error"),
        (FEW | {"metrics": []}, "val_loss"),
        ({"dataset": {"name": "digits", "validation": "none"}}, "accuracy"),
        ({"dataset": {"name": "digits", "validation": "none"}, "metrics": []}, "loss"),
    ],
)
def test_the_objective_is_the_best_that_is_measured(base: dict[str, Any], objective: str) -> None:
    assert checked(base=base).objective == objective


def test_values_of_different_losses_are_not_compared() -> None:
    vary = {"/loss": ["categorical_crossentropy", "mean_squared_error"]}
    assert checked(vary=vary).objective == "val_accuracy"
    assert mistakes(vary=vary, objective="val_loss") == [("/objective", "invalid")]
    assert mistakes(vary={"/loss/label_smoothing": [0.0, 0.1]}, objective="loss") == [("/objective", "invalid")]
    assert mistakes(vary=vary, base={"dataset": "digits", "metrics": []}) == [("/objective", "missing")]
    assert mistakes(vary={"/loss": ["mean_squared_error"], "/epochs": [1, 2]}, objective="val_loss") == []


def test_folds_that_cannot_be_cut_are_told_of_k_folds() -> None:
    assert [pointer for pointer, _ in mistakes(base=FEW, k_folds=5)] == ["/k_folds"]


def test_short_forms_of_metrics_are_known() -> None:
    assert checked(objective="val_acc").objective == "val_accuracy"


@pytest.mark.parametrize(
    ("name", "rises"),
    [
        ("val_accuracy", True),
        ("top_k_categorical_accuracy", True),
        ("precision", True),
        ("val_f1", True),
        ("auc", True),
        ("loss", False),
        ("val_loss", False),
        ("mean_absolute_error", False),
        ("val_mean_squared_error", False),
    ],
)
def test_which_metrics_should_rise(name: str, rises: bool) -> None:
    assert higher_is_better(name) is rises


def test_labels_say_what_differs_and_no_more() -> None:
    tuned = [{"type": "sgd", "learning_rate": 0.1}, {"type": "sgd", "learning_rate": 0.01}, "adam"]
    study = StudySpec.model_validate(body(base=DENSE, vary={"/optimizer": tuned, UNITS: [8], "/epochs": [1, 2]}))
    assert [Labels(study).of(setting) for setting in grid(study)] == [
        "sgd learning_rate 0.1, epochs 1",
        "sgd learning_rate 0.1, epochs 2",
        "sgd learning_rate 0.01, epochs 1",
        "sgd learning_rate 0.01, epochs 2",
        "adam, epochs 1",
        "adam, epochs 2",
    ]
    twins = StudySpec.model_validate(body(base=DENSE, vary={UNITS: [8, 9], "/network/layers/2/units": [10, 10.0]}))
    assert Labels(twins).of({UNITS: 8, "/network/layers/2/units": 10}) == "layers/1/units 8, layers/2/units 10"


def labels(base: dict[str, Any] | None = None, **vary: Any) -> list[str]:
    study = StudySpec.model_validate(body(base=base or {"dataset": "digits"}, **vary))
    return [Labels(study).of(setting) for setting in grid(study)]


def test_labels_are_short_and_tell_settings_apart() -> None:
    networks = [{"layers": [*DENSE["network"]["layers"], f"flatten{n}"]} for n in range(3)]  # type: ignore[index]
    assert labels(vary={"/network": networks}) == ["network 1", "network 2", "network 3"]
    kernel, bias = "/network/layers/1/kernel_initializer", "/network/layers/1/bias_initializer"
    assert labels(vary={kernel: ["zeros", "ones"], bias: ["zeros"]}) == ["zeros", "ones"]
    assert labels(vary={kernel: ["zeros", "he_normal"], bias: ["zeros", "ones"]})[1:3] == [
        "kernel_initializer zeros, bias_initializer ones",
        "kernel_initializer he_normal, bias_initializer zeros",
    ]
    rates = [{"type": "sgd", "learning_rate": {"type": "cosine_decay", "decay_steps": n}} for n in (1, 2)]
    said = [f"sgd learning_rate cosine_decay decay_steps {n}" for n in (1, 2)]
    assert labels(vary={"/optimizer": [*rates, "adam"]}) == [*said, "adam"]
    assert labels(vary={"/x": [0.123456, 0.123457, 0.5]}) == ["x 0.123456", "x 0.123457", "x 0.5"]
    ranged = StudySpec.model_validate(body(vary={"/x": {"low": 0.1, "high": 0.2}}, sampler="random"))
    assert Labels(ranged).of({"/x": 0.123456}) != Labels(ranged).of({"/x": 0.123457})


@pytest.mark.parametrize(
    ("choice", "last"),
    [
        ({"low": 1, "high": 10, "step": 4}, 9),
        ({"low": 0.1, "high": 0.95, "step": 0.2}, 0.9),
        ({"low": 1, "high": 2.5}, 2.5),
    ],
)
def test_steps_end_where_they_reach(choice: dict[str, Any], last: float) -> None:
    study = StudySpec.model_validate(body(vary={"/epochs": choice}, sampler="tpe"))
    assert last_step(study.vary["/epochs"]) == last  # type: ignore[arg-type]


@given(specs(), st.data())
def test_setting_a_field_to_what_it_is_changes_nothing(sent: dict[str, Any], data: st.DataObject) -> None:
    """Of any base, any outer field of its normalised form may be varied, and its own value gives the same spec."""
    whole = parse_spec(sent).model_dump(mode="json")
    varied = ["optimizer", "loss", "network", "epochs", "early_stopping", "batch_size"]
    pointer = data.draw(st.sampled_from(varied))
    objective = "loss"
    study = checked(base=sent, vary={f"/{pointer}": [whole[pointer]]}, objective=objective)
    assert canonical(spec_of(study, 0)) == canonical(whole)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
known_keys = [
    "/optimizer",
    "/optimizer/learning_rate",
    "/epochs",
    "/seed",
    "/dataset",
    "/dataset/classes",
    "/kind",
    "/~2",
]
named = st.sampled_from(["a", "a, b", "b", "b, c", "c", 1, 1.0, True, None, "1", {"type": "a"}, [1, 2], "x" * 99])


@given(st.dictionaries(st.sampled_from(["/p/a", "/q/a", "/p/b", "/1"]), st.lists(named, min_size=1), min_size=1))
def test_no_two_settings_have_the_same_label(vary: dict[str, list[Any]]) -> None:
    study = StudySpec.model_validate(body(vary=vary))
    settings = list(itertools.islice(grid(study), 200))
    made = Labels(study)
    assert len({made.of(setting) for setting in settings}) == len({canonical(setting) for setting in settings})


pointers = st.sampled_from(known_keys) | st.text("/~01ao", max_size=6)
fitting = st.sampled_from(["sgd", {"type": "sgd"}, 0.5, 3, [3, 8], "mnist"])
ranges = st.fixed_dictionaries(
    {"low": st.integers(-2, 5) | st.floats(-1, 1), "high": st.integers(0, 9) | st.floats(0, 2)},
    optional={"log": st.booleans(), "step": st.integers(-1, 4) | st.floats(0, 1) | st.just(5e-324)},
)
choices = st.lists(fitting | json_values, max_size=3) | ranges | json_values


@given(
    st.dictionaries(pointers, choices, max_size=4),
    st.sampled_from(["grid", "random", "tpe"]),
    st.sampled_from([{}, {"repeats": 2}, {"k_folds": 3}]),
)
def test_whatever_varies_is_taken_or_pointed_at(vary: Any, sampler: str, runs: dict[str, int]) -> None:
    sent = body(vary=vary, sampler=sampler, **runs)
    if problems := problems_in(sent):
        for problem in problems:
            assert problem.pointer.startswith(("/vary", "/base", "/objective"))
            reach(sent, problem.pointer)
        return
    found = check_study(StudySpec.model_validate(sent))
    for setting in found.grid or ():
        assert Labels(found.spec).of(setting)
        for repeat in range(found.spec.runs):
            assert found.base.spec_of(setting, repeat).kind == "train"


def reach(value: Any, pointer: str) -> None:
    """Follow a JSON pointer up to its last part, which may be what is missing; a bare name has no parts."""
    for part in pointer[1:].split("/")[:-1]:
        key = part.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key] if isinstance(value, dict) else value

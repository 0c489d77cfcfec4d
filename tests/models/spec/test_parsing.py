"""Valid specs: defaults, short forms, and that the normalised spec stands still."""

import json
from typing import Any

import pytest
from hypothesis import given

from models.datasets import DATASETS
from models.spec import JobSpec, SpecError, check_spec, parse_spec
from models.spec.kinds import unused_by
from models.spec.layers import Dense
from tests.models.spec.strategies import Body, specs

END = {"type": "dense", "units": 10, "activation": "softmax"}


def normalised(body: object) -> Body:
    return parse_spec(body).model_dump(mode="json")


def network(*layers: Any, **rest: Any) -> Body:
    return {"dataset": "mnist", "network": {"layers": [*layers]}, **rest}


def test_a_dataset_alone_is_a_whole_spec() -> None:
    spec = normalised({"dataset": "mnist"})
    assert spec["dataset"] == {
        "name": "mnist",
        "validation": {"split": 0.1},
        "train_size": None,
        "classes": None,
        "scaling": "unit",
        "augmentation": None,
    }
    assert spec["model"] == "mnist"
    assert spec["network"] == {"preset": "mlp"}
    assert spec["loss"] == {"type": "sparse_categorical_crossentropy", "from_logits": False}
    assert spec["optimizer"]["type"] == "adam"
    assert spec["optimizer"]["learning_rate"] == 0.001
    assert spec["metrics"] == ["accuracy"]
    assert (spec["epochs"], spec["batch_size"], spec["seed"], spec["priority"]) == (5, 64, 0, 5)
    assert (spec["precision"], spec["device"], spec["spec_version"]) == ("float32", "auto", 1)


@given(specs())
def test_the_normalised_spec_stands_still(body: Body) -> None:
    spec = parse_spec(body)
    dumped = json.loads(json.dumps(spec.model_dump(mode="json"), allow_nan=False))
    again = parse_spec(dumped)
    assert again == spec
    assert again.model_dump(mode="json") == dumped
    assert list(again.model_dump(mode="json")) == [
        name for name in JobSpec.model_fields if name not in unused_by("train")
    ]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"optimizer": "sgd"}, {"optimizer": {"type": "sgd", "learning_rate": 0.01}}),
        ({"loss": "categorical_crossentropy"}, {"loss": {"type": "categorical_crossentropy", "from_logits": False}}),
        ({"loss": "mse"}, {"loss": {"type": "mean_squared_error"}}),
        ({"loss": {"type": "mse"}}, {"loss": {"type": "mean_squared_error"}}),
        ({"metrics": ["acc"]}, {"metrics": ["accuracy"]}),
        ({"network": "cnn"}, {"network": {"preset": "cnn"}}),
        (network("flatten", END), network({"type": "flatten"}, END)),
        (
            network("flatten", {**END, "kernel_initializer": "normal", "bias_initializer": {"type": "uniform"}}),
            network(
                "flatten",
                {
                    **END,
                    "kernel_initializer": {"type": "random_normal"},
                    "bias_initializer": {"type": "random_uniform"},
                },
            ),
        ),
        (
            network("flatten", {"type": "dense", "units": 3, "activation": "silu"}, END),
            network("flatten", {"type": "dense", "units": 3, "activation": {"type": "swish"}}, END),
        ),
        (
            network({"type": "conv2d", "filters": 2, "kernel_size": 3}, "flatten", END),
            network({"type": "conv2d", "filters": 2, "kernel_size": [3, 3], "strides": [1, 1]}, "flatten", END),
        ),
    ],
)
def test_a_short_form_is_the_long_form(short: Body, long: Body) -> None:
    assert normalised({"dataset": "mnist", **short}) == normalised({"dataset": "mnist", **long})


@pytest.mark.parametrize(
    ("last", "classes", "loss"),
    [
        ({**END}, None, {"type": "sparse_categorical_crossentropy", "from_logits": False}),
        ({**END, "activation": "linear"}, None, {"type": "sparse_categorical_crossentropy", "from_logits": True}),
        (
            {**END, "units": 1, "activation": "sigmoid"},
            [3, 8],
            {"type": "binary_crossentropy", "from_logits": False, "label_smoothing": 0.0},
        ),
        ({**END, "units": 2}, [3, 8], {"type": "sparse_categorical_crossentropy", "from_logits": False}),
    ],
)
def test_the_default_loss_fits_the_last_layer(last: Body, classes: list[int] | None, loss: Body) -> None:
    body = {"dataset": {"name": "digits", "classes": classes}, "network": {"layers": ["flatten", last]}}
    assert normalised(body)["loss"] == loss


@pytest.mark.parametrize("preset", ["mlp", "cnn"])
@pytest.mark.parametrize("classes", [None, [3, 8]])
@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "binary_crossentropy",
        "categorical_crossentropy",
        {"type": "sparse_categorical_crossentropy", "from_logits": True},
    ],
)
def test_a_preset_read_back_as_layers_is_the_same_network(preset: str, classes: Any, loss: Any) -> None:
    body = {"dataset": {"name": "mnist", "classes": classes}, "loss": loss}
    by_name = parse_spec({**body, "network": {"preset": preset}})
    layers = [node.layer.model_dump(mode="json") for node in by_name.nodes]
    written_out = parse_spec({**body, "network": {"layers": layers}})
    assert [node[:3] for node in written_out.nodes] == [node[:3] for node in by_name.nodes]
    last = by_name.nodes[-1].layer
    assert isinstance(last, Dense)
    assert last.units == len(classes or range(10))


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_dataset_has_a_valid_spec(name: str) -> None:
    assert parse_spec({"dataset": name}).dataset.name == name


def test_a_spec_is_frozen() -> None:
    spec = parse_spec({"dataset": "mnist"})
    with pytest.raises(ValueError, match="frozen"):
        spec.epochs = 3  # type: ignore[misc]


def test_check_spec_points_into_what_was_sent() -> None:
    body = {"dataset": {"name": "mnist", "validation": "none"}, "early_stopping": {}}
    with pytest.raises(SpecError) as caught:
        check_spec(JobSpec.model_validate(body), body)
    assert [problem.pointer for problem in caught.value.problems] == ["/early_stopping/monitor"]


def test_the_json_schema_describes_bounds_defaults_and_short_forms() -> None:
    schema = JobSpec.model_json_schema()
    assert schema["required"] == ["dataset"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert all("description" in field for field in properties.values())
    assert (properties["epochs"]["maximum"], properties["epochs"]["default"]) == (100_000, 5)
    assert {"mnist", "fashion_mnist", "digits"} == set(properties["dataset"]["anyOf"][0]["enum"])
    units = schema["$defs"]["Dense"]["properties"]["units"]
    assert (units["minimum"], units["maximum"]) == (1, 65_536)
    for example in schema["examples"]:
        parse_spec(example)

"""What a spec refers to, looked up when it is submitted."""

from typing import Any

import pytest

from models import jobs, registry
from models.artifacts import Stored
from models.database import Database
from models.references import with_initial_weights
from models.registry import ModelVersion
from models.spec import SpecError, parse_spec
from models.spec.initial import FromModel
from models.spec.kept_epochs import kept_every

LAYERS = ["flatten", {"type": "dense", "units": 10, "activation": "softmax"}]
SPEC: dict[str, Any] = {"dataset": "digits", "network": {"layers": LAYERS}}


@pytest.fixture
def parent(database: Database) -> str:
    """The id of a job that became m:1 and keeps the weights of epochs 2, 4 and 10."""
    with database.write() as session:
        job = jobs.create(session, parse_spec(SPEC))
        version = ModelVersion(
            name="m", job_id=job.id, dataset="digits", test_accuracy=0.5, test_loss=1.0, parameters=1, class_count=10,
            serving={},
        )  # fmt: skip
        registry.add_version(session, version)
        registry.add_artifacts(session, job.id, {f"epoch-{n}.npz": Stored("key", 1, "sum") for n in (10, 2, 4)})
        return job.id


def resolved(database: Database, source: Any, **changes: Any) -> Any:
    with database.read() as session:
        return with_initial_weights(session, parse_spec(SPEC | changes | {"initial_weights": source})).initial_weights


@pytest.mark.usefixtures("parent")
@pytest.mark.parametrize("ref", ["m", "m:1", "m@champion"])
def test_a_reference_becomes_the_version_it_means(database: Database, ref: str) -> None:
    assert resolved(database, {"model": ref}) == FromModel(model="m:1")


def test_an_epoch_that_is_kept_is_accepted(database: Database, parent: str) -> None:
    assert resolved(database, {"job": parent, "epoch": 10}).epoch == 10


@pytest.mark.parametrize(
    ("source", "pointer", "told"),
    [
        ({"model": "other"}, "/initial_weights/model", "other"),
        ({"model": "m:2"}, "/initial_weights/model", "m:2"),
        ({"job": "job_x", "epoch": 1}, "/initial_weights/job", "job_x"),
        ({"job": "PARENT", "epoch": 3}, "/initial_weights/epoch", "2, 4, 10"),
    ],
)
def test_what_is_not_there_is_pointed_at(
    database: Database, parent: str, source: dict[str, Any], pointer: str, told: str
) -> None:
    source = {key: parent if value == "PARENT" else value for key, value in source.items()}
    with pytest.raises(SpecError) as caught:
        resolved(database, source)
    (problem,) = caught.value.problems
    assert problem.pointer == pointer
    assert problem.code == "not_found"
    assert told in problem.detail


@pytest.mark.usefixtures("parent")
def test_a_network_with_nothing_in_common_is_refused(database: Database) -> None:
    with pytest.raises(SpecError) as caught:
        resolved(database, {"model": "m"}, network="cnn")
    assert [problem.pointer for problem in caught.value.problems] == ["/initial_weights"]


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (20, 1), (21, 2), (10_001, 501)])
def test_at_most_twenty_epochs_are_kept_evenly(epochs: int, every: int) -> None:
    spec = parse_spec(SPEC | {"epochs": epochs})
    assert kept_every(spec) == every
    assert len(range(every, epochs + 1, every)) <= 20


def test_a_large_network_keeps_fewer() -> None:
    wide = {"layers": ["flatten", {"type": "dense", "units": 10_000}, LAYERS[1]]}
    spec = parse_spec(SPEC | {"network": wide, "epochs": 20})
    assert kept_every(spec) == 10

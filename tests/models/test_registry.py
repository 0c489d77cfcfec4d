"""Versions, references and the champion, on every database."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models import jobs, registry
from models.database import Database
from models.registry import ModelVersion
from models.spec import parse_spec


def add(
    database: Database, name: str, accuracy: float | None, loss: float = 1.0, class_count: int = 10
) -> ModelVersion:
    with database.write() as session:
        job = jobs.create(session, parse_spec({"dataset": "digits"}))
        version = ModelVersion(
            name=name,
            job_id=job.id,
            dataset="digits",
            test_accuracy=accuracy,
            test_loss=loss,
            parameters=10,
            class_count=class_count,
            serving={"class_names": []},
        )
        return registry.add_version(session, version)


@pytest.fixture
def three(database: Database) -> Database:
    """`m` with accuracies 0.8, 0.9 and 0.9; a model `m2`."""
    for accuracy in (0.8, 0.9, 0.9):
        add(database, "m", accuracy)
    add(database, "m2", 0.5)
    return database


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        *[("m", 2), ("m@champion", 2), ("m:1", 1), ("m:3", 3), ("m:4", None), ("m:0", None), ("n", None)],
        *[("m@best", None), ("M", None), ("m:1:2", None), ("", None), ("m:", None), ("m@", None), ("../m", None)],
        ("m:99999999999", None),
    ],
)
def test_a_reference_means_a_version(three: Database, ref: str, version: int | None) -> None:
    with three.read() as session:
        found = registry.resolve(session, ref)
    assert (found.version if found else None) == version


def test_without_accuracy_the_lower_loss_is_champion(database: Database) -> None:
    for loss in (0.5, 0.2, 0.3):
        add(database, "r", None, loss)
    with database.read() as session:
        found = registry.resolve(session, "r")
    assert found is not None
    assert found.version == 2


def test_names_and_versions_are_listed(three: Database) -> None:
    with three.read() as session:
        assert registry.names(session) == ["m", "m2"]
        assert [version.version for version in registry.versions(session, "m")] == [3, 2, 1]


def test_jobs_that_end_at_once_get_different_numbers(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: add(database, "busy", n / 10), range(8)))
    assert sorted(version.version for version in made) == list(range(1, 9))


def test_a_version_of_two_classes_never_stands_in_for_one_of_ten(database: Database) -> None:
    for accuracy, class_count in ((0.9, 10), (0.999, 2), (0.8, 10)):
        add(database, "mnist", accuracy, class_count=class_count)
    with database.read() as session:
        found = registry.resolve(session, "mnist")
    assert found is not None
    assert found.version == 1

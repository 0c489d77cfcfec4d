"""Versions, references and the champion, on every database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

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


def test_a_person_may_pin_the_champion_and_let_it_go(three: Database) -> None:
    with three.write() as session:
        assert registry.move_alias(session, "m", "champion", 1)
    with three.read() as session:
        assert [version_of(session, ref) for ref in ("m", "m@champion", "m2")] == [1, 1, 1]
        assert registry.aliases(session, "m") == {"champion": 1}
    with three.write() as session:
        assert registry.move_alias(session, "m", "champion", None)
    with three.read() as session:
        assert version_of(session, "m") == 2
        assert registry.aliases(session, "m") == {}


def test_the_history_of_an_alias_is_kept(three: Database) -> None:
    for number in (3, 1, 1, None, 2):
        with three.write() as session:
            assert registry.move_alias(session, "m", "lab", number)
    with three.read() as session:
        assert version_of(session, "m@lab") == 2
        assert [move.version for move in registry.alias_history(session, "m", "lab")] == [3, 1, None, 2]


@pytest.mark.parametrize(("name", "number"), [("m", 4), ("n", 1)])
def test_an_alias_means_a_version_that_exists(three: Database, name: str, number: int) -> None:
    with three.write() as session:
        assert not registry.move_alias(session, name, "lab", number)
    with three.read() as session:
        assert registry.alias_history(session, name, "lab") == []


def test_a_version_that_is_gone_is_nobodys_and_its_number_stays_its_own(three: Database) -> None:
    with three.write() as session:
        registry.move_alias(session, "m", "lab", 3)
    assert delete(three, "m:3") == ["lab"]
    assert delete(three, "m:2") == []
    with three.write() as session:
        registry.move_alias(session, "m", "lab", None)
    assert delete(three, "m:3") == []
    with three.read() as session:
        assert [version_of(session, ref) for ref in ("m", "m:2", "m:3", "m@lab")] == [1, None, None, None]
    assert add(three, "m", 0.1).version == 4


def test_everything_that_changes_a_model_changes_its_revision(three: Database) -> None:
    def revision() -> int:
        with three.read() as session:
            return registry.revisions(session)["m"]

    seen = [revision()]
    with three.write() as session:
        registry.move_alias(session, "m", "lab", 1)
    seen.append(revision())
    delete(three, "m:3")
    seen.append(revision())
    add(three, "m", 0.1)
    seen.append(revision())
    add(three, "m2", 0.1)
    assert seen == sorted(set(seen))
    assert revision() == seen[-1]


def delete(database: Database, ref: str) -> list[str]:
    """Try to; the aliases that are in the way."""
    with database.write() as session:
        version = registry.resolve(session, ref)
        assert version is not None
        return registry.delete_version(session, version)


def version_of(session: Session, ref: str) -> int | None:
    found = registry.resolve(session, ref)
    return found.version if found else None

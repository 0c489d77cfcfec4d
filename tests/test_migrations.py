"""The revisions lead to exactly the schema that the code has, on every database."""

from contextlib import closing

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

import models.tables  # noqa: F401 - every table must be known to the metadata
from migrations.__main__ import config, upgrade
from models import jobs, registry, schema
from models.database import Base, Database
from models.spec import parse_spec


def test_the_newest_revision_equals_the_metadata(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_api_knows_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(config("sqlite://")).get_heads() == [schema.REVISION]


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    upgrade(database_url)


def test_the_execution_plan_can_be_taken_back_and_applied_again(database_url: str) -> None:
    """The rows that are there stay, before and after."""
    with closing(Database(database_url)) as database:
        with database.write() as session:
            job_id = jobs.create(session, parse_spec({"dataset": "digits"})).id
        command.downgrade(config(database_url), "0002")
        assert "execution" not in columns(database)
        upgrade(database_url)
        assert "execution" in columns(database)
        with database.read() as session:
            assert session.get_one(jobs.Job, job_id).execution is None


def columns(database: Database) -> set[str]:
    """Those of a job's row."""
    return {column["name"] for column in inspect(database.engine).get_columns("jobs")}


def test_versions_of_before_keep_their_numbers(database_url: str) -> None:
    """What registered models before aliases were known goes on where it was."""
    with closing(Database(database_url)) as database:
        add_version(database)
        add_version(database)
        command.downgrade(config(database_url), "0003")
        upgrade(database_url)
        with database.read() as session:
            assert registry.resolve(session, "m:2") is not None
        assert add_version(database) == 3


def add_version(database: Database) -> int:
    """Make another version of the model `m`; its number."""
    with database.write() as session:
        job = jobs.create(session, parse_spec({"dataset": "digits"}))
        facts = {"dataset": "digits", "test_accuracy": 0.5, "test_loss": 1.0, "parameters": 1, "class_count": 10}
        made = registry.ModelVersion(name="m", job_id=job.id, serving={}, **facts)
        return registry.add_version(session, made).version

"""The revisions lead to exactly the schema that the code has, on every database."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import models.tables  # noqa: F401 - every table must be known to the metadata
from migrations.__main__ import upgrade
from models.database import Base, Database


def test_the_newest_revision_equals_the_metadata(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    upgrade(database_url)

"""What Alembic runs: the project's own engine and metadata."""

from typing import Any, Literal

from alembic import context

import models.tables  # noqa: F401 - every table must be known to the metadata
from models.database import Base, Database, Utc
from models.settings import Settings


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Revisions must not depend on the project's own types, which may change."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Utc) else False


def migrate() -> None:
    """Apply or write revisions on one connection."""
    database = Database(context.config.attributes.get("url") or Settings().database)
    with database.engine.connect() as connection:
        # Batch mode: SQLite cannot alter a table in place.
        context.configure(
            connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            render_item=render_item,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    database.close()


migrate()

"""`python -m migrations`: bring the database of TRAINYARD_DATABASE_URL to the newest revision."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from models.settings import Settings


def config(url: str) -> Config:
    """Alembic's configuration for the database at `url`."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.attributes["url"] = url
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision`."""
    command.upgrade(config(url), revision)


if __name__ == "__main__":
    try:
        upgrade(Settings().database)
    except DBAPIError as error:
        sys.exit(f"The database cannot be brought up to date: {error.orig}")

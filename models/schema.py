"""Which tables this version works with, and whether a database has them."""

import re

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

# The newest revision under migrations/versions, which cannot be imported here.
REVISION = "0006"
MIGRATE = "run `python -m migrations`, which `trainyard up` does by itself"
# PostgreSQL: undefined_table, undefined_column. https://www.postgresql.org/docs/current/errcodes-appendix.html
SQLITE_MISSING = re.compile("no such (table|column)|table .* has no column named")
UNDEFINED = frozenset({"42P01", "42703"})


def what_is_wrong(session: Session) -> str | None:
    """A sentence when the tables are older or newer than this version needs them, or not there; None when they fit.

    Raises:
        DBAPIError: the database does not answer.
    """
    try:
        found = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DBAPIError as error:
        if not is_missing(error):
            raise
        found = None
    if found == REVISION:
        return None
    if found is None:
        return f"The database has no tables of Trainyard yet: {MIGRATE}."
    if found < REVISION:
        return f"The tables are of revision {found}, and this version needs {REVISION}: {MIGRATE}."
    return (
        f"The tables are of revision {found}, newer than the {REVISION} of this version: "
        "install the version of Trainyard that made them, or a later one."
    )


def is_missing(error: DBAPIError) -> bool:
    """Whether a statement failed because a table or a column is not there."""
    if isinstance(error, OperationalError) and SQLITE_MISSING.match(str(error.orig)):
        return True
    return isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", None) in UNDEFINED

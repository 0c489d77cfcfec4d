"""Whether a server may answer other machines; `python -m models.exposure` ends with 1 where nobody would need a key."""

import logging
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from models import keys
from models.database import Database
from models.settings import Settings

log = logging.getLogger(__name__)


def has_keys(url: str) -> bool | None:
    """Whether the database has active keys; None when it does not answer. A SQLite file is not made by asking."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        return False
    try:
        with closing(Database(url)) as database, database.read() as session:
            return inspect(session.connection()).has_table(keys.ApiKey.__tablename__) and bool(keys.active(session))
    except SQLAlchemyError as error:
        log.warning("Whether there are keys cannot be told, the database does not answer: %s", error)
        return None


def check_exposure(settings: Settings) -> None:
    """Refuse to serve other machines without keys, unless told to.

    A database that is away at the start does not stop the server: until it answers, no request is let in.

    Raises:
        ValueError: with what to do about it.
    """
    if settings.loopback or settings.api_keys or settings.insecure or has_keys(settings.database) is not False:
        return
    raise ValueError(
        f"TRAINYARD_HOST={settings.host} lets other machines reach the service, and there are no keys. "
        "Set TRAINYARD_API_KEYS, or say --insecure (TRAINYARD_INSECURE=true) if something else guards the door. "
        "`trainyard keys create` makes keys while the service listens on this machine only."
    )


if __name__ == "__main__":
    try:
        check_exposure(Settings())
    except ValueError as refusal:
        sys.exit(str(refusal))

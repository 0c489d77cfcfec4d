"""The active keys in memory, so that looking at one takes no database and half a microsecond."""

import threading
from collections.abc import Iterable
from contextlib import suppress

from sqlalchemy.exc import DBAPIError

from api.caller import ADMIN, ANYBODY, EVERYTHING, Caller
from api.errors import Unauthorized, Unavailable
from models import keys
from models.database import Database

LOOK_SECONDS = 1.0
BEARER = {"WWW-Authenticate": "Bearer"}


class Keyring:
    """Knows who has which key: those of the environment, and those of the database as they were at the last look.

    The process that makes or revokes a key looks at once, the others within LOOK_SECONDS. While the database is away
    the keys of the last look stay good; where there was none yet, nobody is let in whose key cannot be told.
    """

    def __init__(self, fixed: Iterable[str]) -> None:
        """`fixed` are the keys of the environment, each of which may do everything."""
        self._fixed = {keys.digest(key.encode()): ADMIN for key in fixed}
        self._known: dict[str, Caller] = self._fixed
        self._database: Database | None = None
        self._state: tuple[int, int, str | None] | None = None
        self._looking = threading.Lock()

    def open(self, database: Database) -> None:
        """Look into `database` for the first time, and from now on at each look."""
        self._database = database
        self.notice()

    @property
    def keyless(self) -> bool:
        """Whether there certainly are no keys, so that none is needed."""
        return self._state is not None and not self._known

    @property
    def has_fixed(self) -> bool:
        """Whether there are keys of the environment."""
        return bool(self._fixed)

    def caller(self, authorization: str) -> Caller:
        """Who sent this Authorization header.

        Raises:
            Unauthorized: it has no active key in it, and one is needed.
            Unavailable: it may, but the database has yet to be asked.
        """
        if self.keyless:
            return ANYBODY
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() == "bearer" and (found := self._known.get(keys.digest(key.encode("latin-1").strip()))):
            return found
        if self._state is None and (authorization or not self._known):
            raise Unavailable(
                "Which keys are good cannot be told: the database does not answer. Try again in a moment."
            )
        raise Unauthorized("A key is needed: send `Authorization: Bearer <key>`.", headers=BEARER)

    def notice(self) -> None:
        """Have what this process just changed be so for its next request."""
        # When the database went away just now, the next look makes up for it.
        with suppress(DBAPIError):
            self.look()

    def look(self) -> None:
        """Read the active keys, if there is anything new about them."""
        if self._database is None:
            return
        # One after the other: an older answer must not take the place of a newer one.
        with self._looking:
            with self._database.read() as session:
                state = keys.state(session)
                if state == self._state:
                    return
                found = {key.sha256: _caller(key) for key in keys.active(session)}
            self._known = found | self._fixed
            self._state = state


def _caller(key: keys.ApiKey) -> Caller:
    """Who has `key`; the scope admin stands for all."""
    scopes = frozenset(scope for scope in keys.SCOPES if scope in key.scopes)
    return Caller(key.owner, EVERYTHING if "admin" in scopes else scopes)

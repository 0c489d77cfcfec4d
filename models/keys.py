"""API keys: what is on record of each, never the key itself; how they are made, found and revoked."""

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import String, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now
from models.ids import new_id

Scope = Literal["read", "predict", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OWNER = "[A-Za-z0-9._@-]{1,64}"
# What `?owner=me` means cannot be a name too.
ME = "me"
PREFIX = "ty_"


class ApiKey(Base):
    """One key. Who has it acts as `owner`; several keys may have the same."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]


class NobodyLeft(Exception):
    """There would be active keys, and none of them could make or revoke others."""


def digest(key: bytes) -> str:
    """What is kept of a key. It has 256 random bits, so a plain SHA-256 cannot be searched backwards."""
    return hashlib.sha256(key).hexdigest()


def is_owner(name: str) -> bool:
    """Whether somebody may be called so: 1 to 64 letters, digits and `._@-`, and not `me`."""
    return re.fullmatch(OWNER, name) is not None and name != ME


def state(session: Session) -> tuple[int, int, str | None]:
    """What changes whenever a key is made or revoked: how many there are, how many of them revoked, and the newest."""
    row = session.execute(select(func.count(), func.count(ApiKey.revoked_at), func.max(ApiKey.id))).one()
    return row[0], row[1], row[2]


def active(session: Session) -> Sequence[ApiKey]:
    """Every key that was not revoked, oldest first."""
    return session.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id)).all()


def create(
    session: Session, owners: Iterable[str], scopes: Iterable[Scope], *, other_admin: bool = False
) -> list[tuple[ApiKey, str]]:
    """A new key for each of `owners`, with the secret that stands nowhere else. The caller commits.

    Args:
        other_admin: whether somebody has a key that is not on record here and may do everything.

    Raises:
        NobodyLeft: no active key has the scope admin, and these have not either.
    """
    wanted = set(scopes)
    ordered = [scope for scope in SCOPES if scope in wanted]
    if "admin" not in ordered and not other_admin and not any("admin" in key.scopes for key in _held(session)):
        raise NobodyLeft
    names, made = list(owners), []
    # Those of one millisecond are in no order; the list of keys should show them in that of their owners.
    for key_id, owner in zip(sorted(new_id("key") for _ in names), names, strict=True):
        secret = PREFIX + secrets.token_urlsafe(32)
        row = ApiKey(id=key_id, owner=owner, scopes=list(ordered), sha256=digest(secret.encode()))
        made.append((row, secret))
    session.add_all(row for row, _ in made)
    return made


def revoke(session: Session, key_id: str, *, other_admin: bool = False) -> bool:
    """Revoke a key for good; it stays on record. False when there is no such key. The caller commits.

    Raises:
        NobodyLeft: it is the last active one with the scope admin, and others are active.
    """
    held = _held(session)
    others = [key for key in held if key.id != key_id]
    key = next((key for key in held if key.id == key_id), None)
    if key is None:
        return session.get(ApiKey, key_id) is not None
    if others and not other_admin and not any("admin" in other.scopes for other in others):
        raise NobodyLeft
    key.revoked_at = now()
    return True


def _held(session: Session) -> Sequence[ApiKey]:
    """The active keys, none of which anybody else can revoke until this transaction ends.

    Two statements: the first waits for who changes them just now, only the second sees what that was.
    """
    query = select(ApiKey.id).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id)
    session.execute(query.with_for_update())
    return active(session)

"""Answers that are given again: what was once answered to a request with an `Idempotency-Key`."""

from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Index, String, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.database import Base, now


class FirstAnswer(Base):
    """The answer to the first request with this key of this owner, empty where there are no API keys."""

    __tablename__ = "first_answers"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    # Of method, path and body: the same key for something else is a mistake.
    request_sha256: Mapped[str] = mapped_column(String(64))
    location: Mapped[str]
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (Index(None, "created_at"),)


def take_key(session: Session, owner: str, key: str, request_sha256: str) -> FirstAnswer | None:
    """Take `key` for what this transaction makes; the first answer when another one has taken it already.

    Of two that come at once the second waits here for the end of the first, on PostgreSQL by the unique key, and on
    SQLite because one transaction writes at a time. None means that the caller makes what was asked for, and keeps the
    answer by `keep_answer` before it commits.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    row = {"owner": owner, "key": key, "request_sha256": request_sha256, "location": "", "answer": {}}
    statement = insert(FirstAnswer).values(**row, created_at=now()).on_conflict_do_nothing()
    while True:
        if session.execute(statement.returning(FirstAnswer.key)).one_or_none() is not None:
            return None
        # It is gone only where it was forgotten in between, and then the key can be taken.
        if (first := session.get(FirstAnswer, (owner, key))) is not None:
            return first


def keep_answer(session: Session, owner: str, key: str, location: str, answer: dict[str, Any]) -> None:
    """Fill in what the request with `key` is answered, now and whenever it comes again."""
    statement = update(FirstAnswer).where(FirstAnswer.owner == owner, FirstAnswer.key == key)
    session.execute(statement.values(location=location, answer=answer))


def forget_before(session: Session, moment: datetime) -> int:
    """Remove the answers of before `moment`, and say how many there were."""
    result: CursorResult[Any] = session.execute(delete(FirstAnswer).where(FirstAnswer.created_at < moment))  # type: ignore[assignment]
    return result.rowcount

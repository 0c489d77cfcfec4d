"""Answers that are given again: what was once answered to a request with an `Idempotency-Key`."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

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

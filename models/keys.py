"""API keys: what is on record of each, never the key itself."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base, now

Scope = Literal["read", "predict", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class ApiKey(Base):
    """One key. Who has it acts as `owner`; several keys may have the same."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]

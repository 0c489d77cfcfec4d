"""`python -m api.self_check`: what of an installation only our own packages can look at, for `trainyard doctor`.

It prints findings as JSON, an object a line, as it comes to them. Nothing is made or changed but a file in the artifact
store, written and removed again, and what opening a database does.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from celery import Celery
from kombu.exceptions import KombuError
from sqlalchemy import URL, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

import api.main  # noqa: F401 - whether it can be imported is a part of the answer
from api.dataset_files import whereabouts
from models import schema
from models.artifacts import ArtifactStore, StoreUnavailable, check_artifacts_url
from models.database import Database, now
from models.datasets import DATASETS
from models.exposure import check_exposure, has_keys
from models.logs import hidden
from models.messages import celery_settings
from models.settings import Settings

PROBE = "jobs/probe-doctor"
MOST_SECONDS_APART = 5.0
SHORTEST_SECRET = 4  # a shorter one is also a part of words


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it."""

    check: str
    status: Literal["ok", "warning", "wrong"]
    found: str
    advice: str = ""


def packages(_: Settings) -> Iterator[Finding]:
    """That this module could be imported."""
    yield Finding("packages", "ok", "what the API needs can be imported")


def database(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, has the right tables, and agrees about the time."""
    try:
        url = make_url(settings.database)
        shown = url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            yield Finding("database", "ok", f"{shown}: not made yet, `trainyard up` makes it")
            return
        opened = Database(settings.database)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        advice = "TRAINYARD_DATABASE_URL is sqlite:////folder/file.db or postgresql+psycopg://user@host/name."
        yield Finding("database", "wrong", f"TRAINYARD_DATABASE_URL cannot be used: {_first_line(error)}", advice)
        return
    except OSError as error:
        yield Finding("database", "wrong", f"{shown}: {error.strerror}", "Set TRAINYARD_HOME to a folder of yours.")
        return
    try:
        with opened.read() as session:
            wrong = schema.what_is_wrong(session)
            # Where a table is missing, PostgreSQL answers nothing more in this transaction.
            asked = wrong is None and url.get_backend_name() == "postgresql"
            there = session.scalar(select(func.clock_timestamp())) if asked else None
    except DBAPIError as error:
        yield Finding("database", "wrong", f"{shown}: {_first_line(error.orig)}", _about_database(url, str(error.orig)))
        return
    finally:
        opened.close()
    if wrong is not None:
        found, _, advice = wrong.partition(": ")
        yield Finding("database", "wrong", f"{shown}: {found}", advice[:1].upper() + advice[1:])
        return
    yield Finding("database", "ok", f"{shown}, revision {schema.REVISION}")
    if there is not None:
        yield _clocks("the database's", there)


def _clocks(whose: str, there: datetime) -> Finding:
    apart = abs((now() - there).total_seconds())
    if apart <= MOST_SECONDS_APART:
        return Finding("clocks", "ok", f"{whose} and this machine's agree within {MOST_SECONDS_APART:g} s")
    advice = "Have both set by NTP. Nothing is lost by it: only the times that are shown are wrong."
    return Finding("clocks", "warning", f"{whose} differs from this machine's by {apart:,.0f} s", advice)


def _about_database(url: URL, message: str) -> str:
    if url.get_backend_name() == "sqlite":
        return "Look at the file's and its folder's owner, rights and disk; a damaged file comes back from a backup."
    if "password" in message or "authentication" in message:
        return "Correct the user or the password in TRAINYARD_DATABASE_URL or PGPASSWORD."
    if "does not exist" in message:
        return "Make the database or the role (createdb, createuser), or correct TRAINYARD_DATABASE_URL."
    return "Start PostgreSQL, or correct host and port in TRAINYARD_DATABASE_URL."


def broker(settings: Settings) -> Iterator[Finding]:
    """Whether the broker that is set answers; the embedded one is for the caller to look at."""
    if not settings.broker_url:
        return
    try:
        celery = Celery("trainyard", set_as_current=False)
        celery.conf.update(celery_settings(settings))
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2, interval_start=0, interval_step=0)
    except (KombuError, OSError, ValueError, KeyError, ImportError) as error:
        advice = "Start Redis, or correct TRAINYARD_BROKER_URL (redis://host:6379/0). Jobs stay queued until then."
        yield Finding("broker", "wrong", f"{settings.broker_url}: {_first_line(error)}", advice)
        return
    yield Finding("broker", "ok", f"{settings.broker_url} answers")


def artifacts(settings: Settings) -> Iterator[Finding]:
    """Whether a file can be stored and removed."""
    shown = hidden(settings.artifacts)
    try:
        check_artifacts_url(settings.artifacts)
        if shown.startswith("file://") and _is_empty(Path(shown.removeprefix("file://"))):
            told = "nothing is in it yet, unless its disk is not mounted; the first worker makes what it needs"
            yield Finding("artifacts", "ok", f"{shown}: {told}")
            return
        store = ArtifactStore(settings.artifacts, make=False)
        store.write(PROBE, b"?")
        store.delete(PROBE)
    except ValueError as error:
        yield Finding("artifacts", "wrong", str(error), "Correct TRAINYARD_ARTIFACTS_URL, or install the package.")
    except StoreUnavailable as error:
        cause = _first_line(error.__cause__)
        advice = "Mind the folder's mount and rights, or the bucket's address and keys (AWS_...). Jobs wait until then."
        yield Finding("artifacts", "wrong", f"{shown}: {error} {cause}", advice)
    else:
        yield Finding("artifacts", "ok", f"{shown} takes files")


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and next(folder.iterdir(), None) is None)


def datasets(settings: Settings) -> Iterator[Finding]:
    """Which data sets are here, and whether they are the originals."""
    for facts in DATASETS.values():
        status, found, advice = whereabouts(facts, settings.datasets, settings.offline)
        yield Finding(f"data set {facts.name}", status, found, advice)


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def exposure(settings: Settings) -> Iterator[Finding]:
    """Who reaches the service, and whether they need a key."""
    try:
        check_exposure(settings)
    except ValueError as error:
        found, _, advice = str(error).partition(": ")
        yield Finding("keys", "wrong", found, advice[:1].upper() + advice[1:])
        return
    if settings.loopback:
        yield Finding("keys", "ok", f"TRAINYARD_HOST={settings.host}: only this machine reaches the service")
    elif settings.api_keys or has_keys(settings.database):
        yield Finding("keys", "ok", f"TRAINYARD_HOST={settings.host}, and every request needs a key")
    elif settings.insecure:
        advice = "Make one with `trainyard keys create`, unless a proxy or the network asks who comes."
        yield Finding("keys", "warning", f"other machines reach TRAINYARD_HOST={settings.host} without a key", advice)
    else:
        advice = "Look again when the database answers; until then the API lets nobody in."
        yield Finding("keys", "warning", f"TRAINYARD_HOST={settings.host}: whether there are keys is unknown", advice)


def secrets_of(settings: Settings) -> list[str]:
    """What no answer may show, whatever a library says in its errors."""
    urls = (settings.database, settings.broker_url, settings.artifacts)
    passwords = [match[1] for url in urls if (match := re.match("[^:]+://[^:@/]*:(.+)@", url))]
    given = [os.environ.get(name, "") for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
    all_of_them = [*passwords, *map(unquote, passwords), *given, *(key.get_secret_value() for key in settings.api_keys)]
    return [secret for secret in all_of_them if len(secret) >= SHORTEST_SECRET]


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    packages,
    database,
    broker,
    artifacts,
    exposure,
    datasets,
)


def main() -> None:
    """Print every finding."""
    settings = Settings()
    secrets = secrets_of(settings)
    for check in CHECKS:
        try:
            for finding in check(settings):
                _tell(finding, secrets)
        except Exception as error:
            # Something that nobody thought of is a finding too, and the others are still wanted.
            _tell(Finding(check.__name__, "wrong", f"{type(error).__name__}: {_first_line(error)}"), secrets)


def _tell(finding: Finding, secrets: Sequence[str]) -> None:
    told = {name: hidden(value) for name, value in asdict(finding).items()}
    for secret in secrets:
        told = {name: value.replace(secret, "**********") for name, value in told.items()}
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""What the OpenAPI document promises, tried by Schemathesis on every operation of a running server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.security import OPEN_PATHS
from models.settings import Settings
from tests.factories.examples import examples
from tests.servers import free_port, running, wait_until

EXAMPLES = examples(20)  # for each operation
FEW = 2
KEY = "key-of-the-test"
# A 500 is never documented, so the second of them covers it; a documented 503 may be.
CHECKS = (content_type_conformance, status_code_conformance, response_schema_conformance)


@pytest.fixture
def contract(settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """The OpenAPI document of an API that runs without keys."""
    with running_api(settings, tmp_path) as document:
        # The first key shuts the door, and nothing but a 401 would be tried from then on.
        yield document.exclude(path="/v1/keys", method="POST")


@pytest.fixture
def locked(settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """The OpenAPI document of an API that runs and wants keys."""
    with running_api(settings, tmp_path, TRAINYARD_API_KEYS=KEY, TRAINYARD_RATE_LIMIT="off") as document:
        yield document


@contextmanager
def running_api(settings: Settings, tmp_path: Path, **also: str) -> Iterator[Any]:
    """An API in a process of its own; its document."""
    port, log = free_port(), tmp_path / "api.log"
    environment = {
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database,
        "TRAINYARD_BROKER_URL": settings.broker_url,
    } | also
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as file, running(command, env=environment, stdout=file, stderr=subprocess.STDOUT):
        wait_until(lambda: _alive(url), "the API")
        # An event stream of a job that waits for ever has no end to wait for.
        yield schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path_regex="/events$")
    assert "Traceback" not in log.read_text()


def _alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.TransportError:
        return False


def test_every_answer_is_documented(contract: Any, subtests: pytest.Subtests) -> None:
    for found in contract.get_all_operations():
        operation = found.ok()
        with subtests.test(operation.label):
            try_out(operation)


def test_with_keys_nothing_is_answered_without_one(locked: Any, subtests: pytest.Subtests) -> None:
    for found in locked.get_all_operations():
        operation = found.ok()
        with subtests.test(operation.label):
            if operation.path not in OPEN_PATHS:
                nothing_without_key(operation)
            try_out(operation, FEW, Authorization=f"Bearer {KEY}")


def nothing_without_key(operation: Any) -> None:
    """Ask with no key or a wrong one: nothing else than a 401 comes back, whatever there is or is sent."""
    url = operation.base_url + re.sub(r"\{\w+\}", "1", operation.path)
    for key in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
        answer = httpx2.request(operation.method, url, headers=key, content=b"{}", timeout=20)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"


def try_out(operation: Any, examples: int = EXAMPLES, **headers: str) -> None:
    """Send what the document allows, and what it does not, and compare each answer with it."""

    @seed(0)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    def answers(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers, timeout=20)

    answers()

"""What the OpenAPI document promises, tried by Schemathesis on every operation of a running server."""

import subprocess
import sys
from collections.abc import Iterator
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

from models.settings import Settings
from tests.servers import free_port, running, wait_until

EXAMPLES = 15  # for each operation
# A 500 is never documented, so the second of them covers it; a documented 503 may be.
CHECKS = (content_type_conformance, status_code_conformance, response_schema_conformance)


@pytest.fixture
def contract(settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """The OpenAPI document of an API that runs."""
    port, log = free_port(), tmp_path / "api.log"
    environment = {
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database,
        "TRAINYARD_BROKER_URL": settings.broker_url,
    }
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


def try_out(operation: Any) -> None:
    """Send what the document allows, and what it does not, and compare each answer with it."""

    @seed(0)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    def answers(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=20)

    answers()

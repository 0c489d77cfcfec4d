"""Logs: one line a record, with the request and the job, and nothing secret."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import logs
from models.ids import new_id
from models.logs import Facts, Json, Text, hidden
from models.settings import Settings
from tests.servers import free_port, running, wait_until
from trainyard.console import Console

ROOT = Path(__file__).parents[1]
JOB, OTHER_JOB = new_id("job"), new_id("job")
KEY = "a-key-that-nobody-may-read"
PASSWORD = "password-of-the-broker"


def written(formatter: logging.Formatter, message: str, *arguments: Any, **extra: Any) -> str:
    """What a handler set up as ours writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Facts())
    handler.setFormatter(formatter)
    logger = logging.Logger("yard.part")
    logger.addHandler(handler)
    logger.warning(message, *arguments, extra=extra)
    return stream.getvalue()


@pytest.fixture
def in_a_request() -> Iterator[None]:
    token = logs.request_id.set("request-7")
    yield
    logs.request_id.reset(token)


def test_text_names_request_and_job_once(in_a_request: None) -> None:
    assert written(Text(), "hello") == "WARNING hello [request-7]\n"
    assert written(Text(), "%s: begins", JOB) == f"WARNING {JOB}: begins [request-7]\n"
    with logs.about_job(JOB, 2):
        assert written(Text(), "low on memory") == f"WARNING low on memory [request-7 {JOB}]\n"


def test_json_has_the_facts_that_are_known(in_a_request: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs._Process, "worker", None)
    logs.name_worker("box-12")
    with logs.about_job(JOB, 2):
        line = json.loads(written(Json(), "low on %s", "memory", status=503))
    moment = line.pop("time")
    assert moment.endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "yard.part",
        "message": "low on memory",
        "request_id": "request-7",
        "job_id": JOB,
        "attempt": 2,
        "worker": "box-12",
        "status": 503,
    }


def test_a_line_is_about_the_job_that_it_names() -> None:
    with logs.about_job(JOB, 2):
        line = json.loads(written(Json(), "%s: attempt 1 lost its worker", OTHER_JOB))
    assert line["job_id"] == OTHER_JOB
    assert "attempt" not in line
    assert "job_id" not in json.loads(written(Json(), "nothing is known"))


@given(st.text())
def test_nobody_forges_a_line(message: str) -> None:
    for formatter in (Text(), Json()):
        assert len(written(formatter, "%s", message).splitlines()) <= 1 or formatter.__class__ is Json
        assert written(formatter, "%s", message).count("\n") == 1
    assert json.loads(written(Json(), "%s", message))["message"] == hidden(message)


@pytest.mark.parametrize(
    "text",
    [
        "redis://:%s@host:6379/0 is away",
        "postgresql+psycopg://yard:%s@host/yard",
        "postgresql://host/yard?user=yard&password=%s",
        "Authorization: Bearer %s",
        "the key ty_%s was sent",
    ],
)
def test_passwords_and_keys_are_hidden(text: str) -> None:
    for secret in ("s3cret-Secret", "with_and-more"):
        assert secret not in written(Text(), text % secret)
        assert secret not in json.loads(written(Json(), text % secret))["message"]


def test_paths_stay_readable() -> None:
    assert hidden("http://127.0.0.1:8000/v1/models/mnist@champion") == "http://127.0.0.1:8000/v1/models/mnist@champion"


def test_the_supervisor_says_in_json_which_process_wrote() -> None:
    stream = io.StringIO()
    console = Console(stream, as_json=True)
    console.log("api", json.dumps({"time": "t", "level": "INFO", "message": "warm"}))
    console.log("worker-1", "E0000 from C++")
    console.say("Trainyard is ready.")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert first == {"time": "t", "level": "INFO", "message": "warm", "process": "api"}
    assert (second["process"], second["message"]) == ("worker-1", "E0000 from C++")
    assert (third["process"], third["message"]) == ("supervisor", "Trainyard is ready.")


def test_no_key_password_or_body_reaches_the_log_of_the_api(settings: Settings, tmp_path: Path) -> None:
    """As a process, at DEBUG: whatever any library logs."""
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database_url,
        "TRAINYARD_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0",
        "TRAINYARD_API_KEYS": KEY,
        "TRAINYARD_LOG_FORMAT": "json",
        "TRAINYARD_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
    path = tmp_path / "log"
    with (
        path.open("wb") as output,
        running(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http,
    ):
        wait_until(lambda: answers(http), "the API")
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "submitting"}
        body = {"dataset": "digits", "name": "a-name-in-the-body", "notes": "notes-in-the-body"}
        made = http.post("/v1/jobs", json=body, headers=headers)
        assert made.status_code == 201, made.text
        job_id = made.json()["id"]
        assert http.get("/v1/jobs", headers={"Authorization": f"Bearer wrong-{KEY}"}).status_code == 401
        http.get("/readyz")
        wait_until(lambda: "the broker is away" in path.read_text(), "the word that nobody could be rung")
    text = path.read_text()
    for secret in (KEY, PASSWORD, "a-name-in-the-body", "notes-in-the-body"):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    about = [line for line in lines if line.get("job_id") == job_id]
    assert any("the broker is away" in line["message"] for line in about)
    access = [line for line in lines if line["logger"] == "api.request_ids" and line["path"] == "/v1/jobs"]
    assert [(line["method"], line["status"], line["caller"]) for line in access] == [
        ("POST", 201, "admin"),
        ("GET", 401, "127.0.0.1"),
    ]
    assert any(line["logger"] == "uvicorn.error" for line in lines)
    assert [line for line in text.splitlines() if not line.startswith("{")] == []


def answers(http: httpx2.Client) -> bool:
    try:
        return http.get("/livez").status_code == 200
    except httpx2.HTTPError:
        return False

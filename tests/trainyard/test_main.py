"""The command, as a real process against a small real server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.trainyard.conftest import StandIn
from trainyard.main import app
from trainyard.typed import parse_rate

JOB = {
    "id": "job_1",
    "name": "first",
    "status": "succeeded",
    "is_terminal": True,
    "progress": {"epoch": 2, "epochs": 2},
    "evaluation": {"loss": 0.1, "accuracy": 0.9812},
    "failure": None,
    "model": {"name": "mnist", "version": 3},
}


def trainyard(*arguments: str, url: str = "", stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
    return subprocess.run(
        [sys.executable, "-m", "trainyard", *arguments],
        env=variables | {"TRAINYARD_URL": url} | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def url(stand_in: StandIn) -> str:
    """A service with one job that has ended."""
    row = {"seq": 2, "epoch": 1, "seconds": 0.5, "metrics": {"loss": 0.5, "accuracy": 0.8}, "nonfinite": {}}
    stand_in.events = [
        ("state", {"status": "running"}),
        ("epoch", row),
        ("epoch", row | {"epoch": 2, "metrics": {"loss": None, "accuracy": 0.9}, "nonfinite": {"loss": "nan"}}),
        ("state", {"status": "succeeded"}),
    ]
    stand_in.cuts = [2]
    stand_in.routes = {
        "/v1/jobs": (201, JOB),
        "/v1/jobs/job_1": (200, JOB),
        "/v1/jobs?limit=20": (200, {"data": [JOB], "next": None}),
        "/predict": (200, {"predictions": [{"label": 7, "class_name": "7", "probability": 0.998}]}),
    }
    return stand_in.url


def test_submit_and_watch_shows_every_epoch_once_in_plain_text(url: str) -> None:
    done = trainyard("submit", "-", "--watch", url=url, stdin='{"dataset": "mnist"}')
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "job_1",
        "running",
        "epoch 1/2 [##########----------] loss 0.5000  accuracy 0.8000  0.50 s",
        "epoch 2/2 [####################] loss nan  accuracy 0.9000  0.50 s",
        "succeeded",
        "succeeded; test loss 0.1000, accuracy 0.9812; model mnist:3",
    ]
    assert done.returncode == 0


def test_watch_of_a_job_that_failed_ends_with_1(url: str, stand_in: StandIn) -> None:
    failure = {"kind": "diverged", "message": "The loss is nan."}
    stand_in.routes["/v1/jobs/job_1"] = (200, JOB | {"status": "failed", "failure": failure})
    done = trainyard("watch", "job_1", url=url)
    assert done.stdout.splitlines()[-1] == "failed (diverged): The loss is nan."
    assert done.returncode == 1


def test_jobs_are_listed_a_line_each(url: str) -> None:
    assert trainyard("jobs", url=url).stdout == "job_1  succeeded        2/2  0.9812  first\n"


def test_job_is_json(url: str) -> None:
    assert json.loads(trainyard("job", "job_1", url=url).stdout) == JOB


def test_predict_says_what_is_on_each_picture(url: str, tmp_path: Path) -> None:
    picture = tmp_path / "seven.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert trainyard("predict", str(picture), url=url).stdout == f"{picture}: 7  99.8%\n"


@pytest.mark.parametrize("version", [("3",), ()])
def test_an_alias_is_set_or_shown(url: str, stand_in: StandIn, version: tuple[str, ...]) -> None:
    stand_in.routes["/v1/models/mnist/aliases/lab"] = (200, {"alias": "lab", "version": 3})
    assert json.loads(trainyard("alias", "mnist", "lab", *version, url=url).stdout) == {"alias": "lab", "version": 3}


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (("job", "job_9"), "", "Error: Not found (404): There is nothing at /v1/jobs/job_9."),
        (("submit", "-"), "{", "Error: stdin is not JSON: "),
        (("submit", "-"), "[1]", "Error: A spec is a JSON object such as"),
        (("submit", "/no/such/file.json"), "", "Error: /no/such/file.json: No such file or directory"),
        (("alias", "mnist", "lab", "3", "--remove"), "", "Error: Give a version or --remove, not both."),
        (("--url", "http://127.0.0.1:1", "jobs"), "", "Error: No answer from http://127.0.0.1:1"),
    ],
)
def test_errors_are_a_sentence_on_stderr(url: str, arguments: tuple[str, ...], stdin: str, told: str) -> None:
    done = trainyard(*arguments, url=url, stdin=stdin)
    assert done.stderr.startswith(told)
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_a_reader_that_has_gone_is_no_error(url: str, stand_in: StandIn) -> None:
    stand_in.routes["/v1/models"] = (200, {"data": [{"name": "x" * 1000}] * 1000, "next": None})
    command = f"{sys.executable} -m trainyard --url {url} models | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_up_refuses_what_cannot_be_with_a_sentence(tmp_path: Path) -> None:
    done = trainyard("up", "--host", "0.0.0.0", TRAINYARD_HOME=str(tmp_path / "var"))
    assert done.stderr.startswith("Error: TRAINYARD_HOST=0.0.0.0 lets other machines reach the service")
    assert done.returncode == 1
    assert not (tmp_path / "var").exists()


def test_settings_are_printed_with_their_meaning(tmp_path: Path) -> None:
    done = trainyard("settings", TRAINYARD_HOME=str(tmp_path))
    assert f"TRAINYARD_HOME={tmp_path}\n    everything the embedded default writes (default: var)\n" in done.stdout
    assert done.returncode == 0


def test_a_job_is_changed(stand_in: StandIn) -> None:
    stand_in.routes = {"/v1/jobs/job_1/changes": (201, {"number": 1, "new": {"epochs": 30}})}
    schedule = '{"type": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 9}'
    arguments = ["change", "job_1", "--learning-rate", schedule, "--patience", "4"]
    done = CliRunner().invoke(app, ["--url", stand_in.url, *arguments])
    assert (done.exit_code, json.loads(done.stdout)["number"]) == (0, 1)
    body = {"learning_rate": json.loads(schedule), "early_stopping": {"patience": 4}}
    assert json.loads(stand_in.requests[0]["body"]) == body


@pytest.mark.parametrize(("text", "rate"), [("1e-4", 0.0001), ('{"type": "x"}', {"type": "x"})])
def test_a_learning_rate_is_a_number_or_a_schedule(text: str, rate: object) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "quick", "[1]", '{"type": ', "nan", "inf"])
def test_what_is_no_learning_rate_is_told_with_what_would_do(text: str) -> None:
    with pytest.raises(ValueError, match="is a number, or a schedule such as"):
        parse_rate(text)


@pytest.mark.parametrize("same", [True, False])
def test_verify_waits_says_what_came_out_and_ends_so(stand_in: StandIn, same: bool) -> None:
    result = {"same": same, "summary": ["What came out.", "And more."]}
    stand_in.routes = {
        "/v1/jobs/job_1/verify": (201, {"id": "job_2"}),
        "/v1/jobs/job_2": (200, JOB | {"id": "job_2"}),
        "/v1/jobs/job_2/result": (200, result),
    }
    done = CliRunner().invoke(app, ["--url", stand_in.url, "verify", "job_1"])
    assert (done.stdout, done.stderr) == ("What came out.\nAnd more.\n", "")
    assert done.exit_code == (0 if same else 1)

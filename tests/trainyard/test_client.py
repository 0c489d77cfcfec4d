"""The client against a small real server that speaks the contract."""

import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainyard.conftest import StandIn
from trainyard import ApiError, Client, Damaged, JobFailed, StudyFailed, TrainyardError, Unreachable

PNG = b"\x89PNG\r\n\x1a\n rest"


def epochs(count: int) -> list[tuple[str, dict[str, object]]]:
    # U+2028 ends a line for str.splitlines, and not in a stream of events.
    return [("epoch", {"epoch": n, "note": "a\u2028b"}) for n in range(1, count + 1)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("cuts", [[], [0], [3], [1, 0, 2, 5]])
def test_events_come_once_each_and_in_order_over_broken_connections(stand_in: StandIn, cuts: list[int]) -> None:
    stand_in.events, stand_in.cuts = epochs(10), list(cuts)
    with Client(stand_in.url) as client:
        events = list(client.events("job_1"))
    assert [event["seq"] for event in events] == list(range(1, 11))
    assert events[2] == {"seq": 3, "event": "epoch", "data": {"epoch": 3, "note": "a\u2028b"}}
    asked = [request["headers"]["Last-Event-ID"] for request in stand_in.requests]
    assert asked[-1] == "10"
    assert len(asked) == len(cuts) + 2


def test_breaks_that_lie_apart_are_no_service_that_stays_away(stand_in: StandIn) -> None:
    """As of a job that is paused for long: nothing is told between one restart of the service and the next."""
    stand_in.events, stand_in.cuts = epochs(3), [0, 0, 0]
    with Client(stand_in.url) as client:
        assert len(list(client.events("job_1", patience=0.0))) == 3


def test_events_go_on_after_a_number(stand_in: StandIn) -> None:
    stand_in.events = epochs(5)
    with Client(stand_in.url) as client:
        assert [event["seq"] for event in client.events("job_1", after=3)] == [4, 5]


def test_events_wait_out_a_server_that_restarts(stand_in: StandIn) -> None:
    stand_in.events, stand_in.busy = epochs(2), 2
    with Client(stand_in.url) as client:
        assert len(list(client.events("job_1"))) == 2


def test_events_of_a_service_that_stays_away_end_with_unreachable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(Unreachable):
        list(client.events("job_1", patience=0.3))


def test_a_file_is_fetched_whole_and_unharmed_or_not_at_all(stand_in: StandIn, tmp_path: Path) -> None:
    path, data = "/v1/jobs/job_1/artifacts/model.onnx", b"0123456789" * 1000
    stand_in.routes[path] = (200, data)
    stand_in.etags[path] = f'"{hashlib.sha256(data).hexdigest()}"'
    with Client(stand_in.url) as client:
        assert client.download("job_1", "model.onnx", tmp_path) == tmp_path / "model.onnx"
        assert client.download("job_1", "model.onnx", tmp_path / "my.onnx").read_bytes() == data
        stand_in.routes[path] = (200, data[:-1] + b"x")
        with pytest.raises(Damaged, match=r"model\.onnx is not what was stored"):
            client.download("job_1", "model.onnx", tmp_path)
        with pytest.raises(ApiError, match="404"):
            client.download("job_1", "other", tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "my.onnx"}
    assert (tmp_path / "model.onnx").read_bytes() == data


def test_a_file_that_has_yet_to_be_made_is_waited_for(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainyard.client.EXPORT_PAUSE", 0.01)
    path, answers = "/v1/jobs/job_1/artifacts/model.tflite", [(202, {"id": "job_2"}), (200, b"made")]
    stand_in.routes[path] = lambda: answers.pop(0)
    stand_in.etags[path] = f'"{hashlib.sha256(b"made").hexdigest()}"'
    with Client(stand_in.url) as client:
        assert client.download("job_1", "model.tflite", tmp_path).read_bytes() == b"made"


def test_a_problem_becomes_an_error_with_its_parts(stand_in: StandIn) -> None:
    problem = {
        "type": "about:blank",
        "title": "The spec is not valid",
        "status": 422,
        "detail": "1 error",
        "errors": [{"pointer": "/epochs", "code": "too_small", "detail": "must be positive", "received": -3}],
    }
    stand_in.routes["/v1/jobs"] = (422, problem)
    with Client(stand_in.url) as client, pytest.raises(ApiError) as caught:
        client.submit({"dataset": "mnist", "epochs": -3})
    error = caught.value
    assert (error.status, error.title, error.detail) == (422, "The spec is not valid", "1 error")
    assert error.errors[0]["pointer"] == "/epochs"
    assert "/epochs: must be positive" in str(error)


def test_an_error_that_is_no_problem_json_is_still_a_sentence(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs/x"] = (502, b"<html>bad gateway</html>")
    with Client(stand_in.url) as client, pytest.raises(ApiError, match=r"Bad Gateway \(502\)"):
        client.job("x")


def test_another_service_on_the_port_is_told(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs/x"] = (200, b"<html>hello</html>")
    with Client(stand_in.url) as client, pytest.raises(TrainyardError, match="is not Trainyard"):
        client.job("x")


def test_nobody_there_is_unreachable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(Unreachable, match="trainyard up"):
        client.job("x")


def test_lists_are_read_page_by_page_and_none_is_no_filter(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs"] = (200, {"data": [{"id": "c"}, {"id": "b"}], "next": "b"})
    stand_in.routes["/v1/jobs?status=failed&after=b"] = (200, {"data": [{"id": "a"}], "next": None})
    with Client(stand_in.url) as client:
        assert [job["id"] for job in client.jobs(status="failed", tag=None)] == ["c", "b", "a"]
    assert stand_in.requests[0]["path"] == "/v1/jobs?status=failed"


def test_the_key_and_the_idempotency_key_are_sent(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs"] = (201, {"id": "job_1"})
    with Client(stand_in.url, api_key="secret") as client:
        assert client.submit({"dataset": "mnist"}, idempotency_key="once") == {"id": "job_1"}
    request = stand_in.requests[0]
    assert request["headers"]["Authorization"] == "Bearer secret"
    assert request["headers"]["Idempotency-Key"] == "once"
    assert json.loads(request["body"]) == {"dataset": "mnist"}


def test_wait_polls_until_the_end(stand_in: StandIn) -> None:
    states = iter(["queued", "running", "succeeded"])

    def job() -> tuple[int, dict[str, object]]:
        status = next(states)
        return 200, {"id": "job_1", "status": status, "is_terminal": status == "succeeded"}

    stand_in.routes["/v1/jobs/job_1"] = job
    with Client(stand_in.url) as client:
        assert client.wait("job_1")["status"] == "succeeded"


def test_wait_raises_for_a_job_that_failed_unless_told_not_to(stand_in: StandIn) -> None:
    failure = {"kind": "diverged", "message": "The loss is nan."}
    stand_in.routes["/v1/jobs/j"] = (200, {"id": "j", "status": "failed", "is_terminal": True, "failure": failure})
    with Client(stand_in.url) as client:
        with pytest.raises(JobFailed, match=r"Job j failed: The loss is nan\. \(diverged\)") as caught:
            client.wait("j")
        assert caught.value.kind == "diverged"
        assert client.wait("j", check=False)["status"] == "failed"


def test_wait_has_an_end(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs/j"] = (200, {"id": "j", "status": "running", "is_terminal": False})
    with Client(stand_in.url) as client, pytest.raises(TimeoutError, match="still running after"):
        client.wait("j", timeout=0.05)


def test_a_job_is_paused_and_resumed(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs/j/pause"] = (202, {"id": "j", "status": "paused"})
    stand_in.routes["/v1/jobs/j/resume"] = (202, {"id": "j", "status": "queued"})
    with Client(stand_in.url) as client:
        assert client.pause("j")["status"] == "paused"
        assert client.resume("j")["status"] == "queued"


def test_a_job_is_changed_and_verified(stand_in: StandIn) -> None:
    stand_in.routes["/v1/jobs/j/changes"] = (201, {"number": 1, "data": [{"number": 1}]})
    stand_in.routes["/v1/jobs/j/verify"] = (201, {"id": "k", "kind": "verify"})
    rate = {"type": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 100}
    with Client(stand_in.url) as client:
        assert client.change("j", learning_rate=0.5)["number"] == 1
        assert client.change("j", learning_rate=rate, epochs=30, patience=0, idempotency_key="mine")["number"] == 1
        assert client.changes("j") == [{"number": 1}]
        assert client.verify("j")["id"] == "k"
    first, second, _, last = stand_in.requests
    assert json.loads(first["body"]) == {"learning_rate": 0.5}
    assert json.loads(second["body"]) == {"learning_rate": rate, "epochs": 30, "early_stopping": {"patience": 0}}
    assert (second["headers"]["Idempotency-Key"], last["body"]) == ("mine", b"")
    assert len(last["headers"]["Idempotency-Key"]) > 20


def test_studies_are_submitted_read_listed_cancelled_and_drawn(stand_in: StandIn) -> None:
    study = {"base": {"dataset": "mnist"}, "vary": {"/epochs": [1, 2]}}
    stand_in.routes["/v1/studies"] = (201, {"id": "study_1"})
    stand_in.routes["/v1/studies?status=running"] = (200, {"data": [{"id": "study_1"}], "next": None})
    stand_in.routes["/v1/studies/study_1/cancel"] = (202, {"status": "cancelled"})
    stand_in.routes["/v1/studies/study_1/curves.png"] = (200, PNG)
    with Client(stand_in.url) as client:
        assert client.submit_study(study) == {"id": "study_1"}
        assert [one["id"] for one in client.studies(status="running")] == ["study_1"]
        assert client.cancel_study("study_1") == {"status": "cancelled"}
        assert client.study_curves("study_1") == PNG
    assert json.loads(stand_in.requests[0]["body"]) == study


def test_a_study_is_waited_for_to_its_end(stand_in: StandIn) -> None:
    states = iter(["running", "succeeded"])

    def study() -> tuple[int, dict[str, object]]:
        status = next(states)
        return 200, {"id": "s", "status": status, "is_terminal": status != "running"}

    stand_in.routes["/v1/studies/s"] = study
    failed = {"id": "f", "status": "failed", "is_terminal": True, "trials": [{"problem": "run 0: the loss is nan"}]}
    stand_in.routes["/v1/studies/f"] = (200, failed)
    stand_in.routes["/v1/studies/r"] = (200, {"id": "r", "status": "running", "is_terminal": False})
    with Client(stand_in.url) as client:
        assert client.wait_for_study("s")["status"] == "succeeded"
        assert client.wait_for_study("f", check=False)["status"] == "failed"
        with pytest.raises(StudyFailed, match="Study f failed: run 0: the loss is nan"):
            client.wait_for_study("f")
        with pytest.raises(TimeoutError, match="Study r is still running"):
            client.wait_for_study("r", timeout=0.01)


@pytest.mark.parametrize(
    ("model", "job", "path"),
    [(None, None, "/predict"), ("m@best", None, "/v1/models/m@best/predict"), (None, "j", "/v1/jobs/j/predict")],
)
def test_predict_asks_the_right_model(
    stand_in: StandIn, tmp_path: Path, model: str | None, job: str | None, path: str
) -> None:
    stand_in.routes[path] = (200, {"predictions": []})
    picture = tmp_path / "7.png"
    picture.write_bytes(PNG)
    with Client(stand_in.url) as client:
        client.predict(picture, model=model, job=job)
    assert stand_in.requests[0]["body"] == PNG
    assert stand_in.requests[0]["headers"]["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
        (b"BM....", "image/bmp"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-1.7", "application/octet-stream"),
    ],
)
def test_bytes_are_sent_with_the_type_they_begin_with(stand_in: StandIn, data: bytes, kind: str) -> None:
    stand_in.routes["/predict?seen=true"] = (200, {"predictions": []})
    with Client(stand_in.url) as client:
        client.predict(data, seen=True)
    assert stand_in.requests[0]["headers"]["Content-Type"] == kind


@pytest.mark.parametrize(
    ("array", "key", "depth"),
    [
        (np.zeros((28, 28), np.uint8), "pixels", 2),
        (np.zeros((3, 28, 28)), "instances", 3),
        (np.zeros((5, 2)), "instances", 2),
        ([0.5, 1.0], "instances", 2),
    ],
)
def test_arrays_are_sent_as_json(stand_in: StandIn, array: object, key: str, depth: int) -> None:
    stand_in.routes["/predict"] = (200, {"predictions": []})
    with Client(stand_in.url) as client:
        client.predict(array)  # type: ignore[arg-type]
    body = json.loads(stand_in.requests[0]["body"])
    assert list(body) == [key]
    assert np.array(body[key]).ndim == depth


def test_predict_takes_a_model_or_a_job() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ValueError, match="not both"):
        client.predict(PNG, model="m", job="j")


def test_the_client_brings_no_command_line_and_no_service_code() -> None:
    code = 'import sys; from trainyard import Client; print({"typer", "models", "fastapi"} & set(sys.modules))'
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"

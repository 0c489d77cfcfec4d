"""The story that the demo tells, against a small real server; the whole service is started end to end elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainyard.conftest import StandIn
from trainyard import Client
from trainyard.demo import PICTURES, SPECS, Story, digit_of, tell


def job(dataset: str, **changes: Any) -> dict[str, Any]:
    done = {
        "id": f"job_{dataset}",
        "status": "succeeded",
        "is_terminal": True,
        "progress": {"epoch": 1, "epochs": 1},
        "evaluation": {"loss": 0.1, "accuracy": 0.981},
        "failure": None,
        "model": {"name": dataset, "version": 1},
    }
    return done | changes


@pytest.fixture
def service(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A service that has MNIST and reads every picture as a 7; there is one picture, of a 7."""
    (tmp_path / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr("trainyard.demo.PICTURES", tmp_path)
    stand_in.events = [("epoch", {"epoch": 1, "seconds": 0.5, "metrics": {"loss": 0.5}, "nonfinite": {}})]
    here(stand_in, "here", "in the folder of data sets")

    def submit() -> tuple[int, Any]:
        return 201, stand_in.routes[f"/v1/jobs/job_{submitted(stand_in)[-1]}"][1]  # type: ignore[index]

    stand_in.routes["/v1/jobs"] = submit
    for dataset in ("mnist", "digits"):
        stand_in.routes[f"/v1/jobs/job_{dataset}"] = (200, job(dataset))
        answer = {"predictions": [{"label": 7, "class_name": "7", "probability": 0.998}]}
        stand_in.routes[f"/v1/models/{dataset}:1/predict"] = (200, answer)
    return stand_in


def here(stand_in: StandIn, status: str, detail: str) -> None:
    entry = {"name": "mnist", "workers": [{"worker": "w", "status": status, "detail": detail}]}
    stand_in.routes["/v1/datasets"] = (200, {"data": [entry], "next": None})


def submitted(stand_in: StandIn) -> list[str]:
    bodies = [request["body"] for request in stand_in.requests if request["path"] == "/v1/jobs"]
    return [json.loads(body)["dataset"] for body in bodies]


def test_it_takes_mnist_when_it_is_there(service: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(service.url, None) == 0
    told = capsys.readouterr().out
    assert submitted(service) == ["mnist"]
    assert "MNIST is here (in the folder of data sets)" in told
    assert "test accuracy 0.9810" in told
    assert "7.png -> 7   99.80%  right" in told
    assert f"URL={service.url}" in told
    assert "/docs" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("status", ["missing", "unknown"])
def test_it_takes_digits_when_mnist_cannot_be_had(
    service: StandIn, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here(service, status, "put it somewhere")
    assert tell(service.url, None) == 0
    assert submitted(service) == ["digits"]
    assert "MNIST is missing: " in capsys.readouterr().out


def test_it_takes_digits_when_the_download_fails(service: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    here(service, "fetchable", "by Keras")
    failure = {"kind": "dataset_unavailable", "message": "No network."}
    service.routes["/v1/jobs/job_mnist"] = (200, job("mnist", status="failed", failure=failure, model=None))
    assert tell(service.url, None) == 0
    assert submitted(service) == ["mnist", "digits"]
    assert "MNIST is not to be had: No network." in capsys.readouterr().out


def test_another_failure_ends_it(service: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    failure = {"kind": "internal", "message": "Something broke."}
    service.routes["/v1/jobs/job_mnist"] = (200, job("mnist", status="failed", failure=failure, model=None))
    assert tell(service.url, None) == 1
    assert "failed (internal): Something broke." in capsys.readouterr().out


def test_a_picture_read_wrong_ends_it_with_1(
    service: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert tell(service.url, None) == 1
    assert "WRONG, it is a 3" in capsys.readouterr().out


def test_the_curl_lines_name_a_key_where_one_is_needed(service: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(service.url, "secret") as client:
        assert Story(client, "secret").tell() == 0
    told = capsys.readouterr().out
    assert '$ curl -sS "$URL/v1/datasets" -H "Authorization: Bearer $KEY"' in told
    assert "secret" not in told


def test_a_service_that_goes_away_ends_it_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell("http://127.0.0.1:1", None) == 1
    assert "The demo stops here. No answer from" in capsys.readouterr().out


def test_there_is_a_picture_of_every_digit() -> None:
    assert [digit_of(picture) for picture in sorted(PICTURES.glob("*.png"))] == list("0123456789")


@pytest.mark.parametrize("dataset", SPECS)
def test_the_specs_are_valid(dataset: str) -> None:
    from models.spec import JobSpec

    assert JobSpec.model_validate(SPECS[dataset]).dataset.name == dataset

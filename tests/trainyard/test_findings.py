"""What was noticed about a job, and what was changed, in words for a terminal."""

from typing import Any

import pytest

from tests.trainyard.conftest import StandIn
from tests.trainyard.test_main import JOB, trainyard
from trainyard import Client
from trainyard.findings import applied_text, change_line, diagnosis_line, diagnosis_text

FOUND: dict[str, Any] = {
    "number": 1,
    "epoch": 2,
    "verdict": "learning_rate_too_low",
    "evidence": {"learning_rate": 1e-7, "losses": [2.30259, 2.30258, "nan"], "layers": {"dense": 1}},
    "sentence": "The steps are too small.",
    "advice": "A rate of 0.001.",
    "patch": {"/optimizer/learning_rate": 0.001},
    "live": {"learning_rate": 0.001},
    "applied": None,
}
CHANGE: dict[str, Any] = {"number": 1, "applied_at_step": 120, "epoch": 3, "old": None, "new": {"learning_rate": 0.001}}
PATH = "/v1/jobs/job_1/diagnosis"


def test_findings_are_told_with_evidence_and_what_to_try() -> None:
    told = diagnosis_text("job_1", {"text": "", "data": [FOUND, FOUND | {"number": 2, "verdict": "dead_units"}]})
    first, second = told.split("\n\n")
    assert first.splitlines() == [
        "1. learning rate too low, after epoch 2",
        "   The steps are too small.",
        "   learning rate: 1e-07",
        "   losses: 2.303, 2.303, nan",
        '   layers: {"dense": 1}',
        "   To try: A rate of 0.001.",
        "     /optimizer/learning_rate = 0.001",
        "   Apply it: trainyard diagnosis job_1 --apply 1",
    ]
    assert second.splitlines()[0] == "2. dead units, after epoch 2"


def test_a_whole_network_is_not_printed() -> None:
    layers = [{"type": "dense", "units": units} for units in range(100)]
    lines = diagnosis_text("job_1", {"text": "", "data": [FOUND | {"patch": {"/network/layers": layers}}]}).splitlines()
    [line] = [line for line in lines if "/network/layers" in line]
    assert line.endswith("...")
    assert len(line) < 150


@pytest.mark.parametrize(
    ("applied", "told"),
    [
        ({"change": 3, "job": None}, "Applied as change 3."),
        ({"change": None, "job": "job_2"}, "Applied as job_2."),
        ({"change": 3, "job": "job_2"}, "Applied as change 3 and as job_2."),
    ],
)
def test_what_was_applied_is_said(applied: dict[str, Any], told: str) -> None:
    assert diagnosis_text("job_1", {"text": "", "data": [FOUND | {"applied": applied}]}).endswith(told)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"learning_rate": 0.1}, {"learning_rate": 0.01}, "learning_rate 0.1 -> 0.01"),
        ({"epochs": 5, "learning_rate": 0.1}, {"learning_rate": 1e-4, "epochs": 30}, "0.1 -> 0.0001, epochs 5 -> 30"),
        (
            {"early_stopping": {"patience": 2}},
            {"early_stopping": {"patience": 5}},
            "step 120: early_stopping.patience 2 -> 5",
        ),
        ({"learning_rate": 0.1}, {"learning_rate": {"type": "step", "n": 1}}, '0.1 -> {"type": "step", "n": 1}'),
        (None, {"epochs": 3}, "step 120: epochs 3"),
    ],
)
def test_a_change_is_a_line(old: dict[str, Any] | None, new: dict[str, Any], told: str) -> None:
    line = change_line(CHANGE | {"old": old, "new": new})
    assert line.startswith("change 1 from epoch 3, step 120: ")
    assert line.endswith(told)


def test_the_client_reads_and_applies(stand_in: StandIn) -> None:
    answer = {"change": CHANGE, "job": None}
    stand_in.routes = {
        PATH: (200, {"data": [FOUND]}),
        f"{PATH}/1/apply": (201, answer),
        f"{PATH}/2/apply?as=job": (201, {"change": None, "job": JOB}),
    }
    with Client(stand_in.url) as client:
        assert client.diagnosis("job_1", after_epoch=4) == {"data": [FOUND]}
        assert stand_in.requests[-1]["path"] == f"{PATH}?after_epoch=4"
        assert client.apply("job_1") == answer
        assert client.apply("job_1", 2, as_job=True)["job"] == JOB
    keys = [request["headers"]["Idempotency-Key"] for request in stand_in.requests[-2:]]
    assert len(set(keys)) == 2


def test_the_command_tells_and_applies(stand_in: StandIn) -> None:
    healthy = "Nothing that would keep it from learning was noticed up to epoch 5."
    stand_in.routes = {
        PATH: (200, {"text": healthy, "data": []}),
        f"{PATH}/2/apply": (201, {"change": CHANGE, "job": None}),
    }
    assert trainyard("diagnosis", "job_1", url=stand_in.url).stdout == healthy + "\n"
    done = trainyard("diagnosis", "job_1", "--apply", "2", url=stand_in.url)
    assert done.stdout == "applied as change 1 of the job: learning_rate 0.001\n"
    assert applied_text({"change": None, "job": JOB}) == "applied as the new job job_1"


def test_what_is_only_for_applying_is_not_overlooked(stand_in: StandIn) -> None:
    done = trainyard("diagnosis", "job_1", "--as-job", url=stand_in.url)
    assert done.returncode == 2
    assert "--as-job goes with --apply" in done.stderr
    assert stand_in.requests == []


def test_who_watches_is_told_at_once(stand_in: StandIn) -> None:
    stand_in.routes = {"/v1/jobs/job_1": (200, JOB)}
    stand_in.events = [("diagnosis", FOUND), ("change", CHANGE | {"old": {"learning_rate": 1e-7}}), ("log", {})]
    told = trainyard("watch", "job_1", url=stand_in.url).stdout.splitlines()
    assert told[:2] == [
        "diagnosis 1: The steps are too small. A rate of 0.001.",
        "change 1 from epoch 3, step 120: learning_rate 1e-07 -> 0.001",
    ]
    assert told[0] == diagnosis_line(FOUND)

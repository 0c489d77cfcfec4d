"""GET /metrics: what Prometheus reads, and what is counted."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import text

from api import prometheus
from api.deps import Room
from api.main import create_app
from api.prometheus import Figures, WholeService
from models import jobs
from models.database import Database
from models.history import EpochResult
from models.jobs import Status
from models.schema import REVISION
from models.settings import Settings
from models.spec import parse_spec
from tests.api.conftest import LOCAL, add_version

BLANK = {"pixels": [[0] * 28] * 28}
TENSOR = {"inputs": [{"name": "image", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}]}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(client: TestClient) -> Samples:
    """Every number that /metrics tells now, by its name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return of(parse(answer.text))


def of(families: Any) -> Samples:
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def told(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def whole(service: WholeService) -> Samples:
    """What it tells, however lately it was asked."""
    service._kept = (float("-inf"), [])
    service._summed = float("-inf")
    return of(service.collect())


@pytest.fixture
def service(client: TestClient, room: Room) -> WholeService:
    """The figures of the database."""
    return WholeService(room.database, room.reaper)


def make(room: Room, **spec: Any) -> str:
    with room.database.write() as session:
        return jobs.create(session, parse_spec({"dataset": "digits", **spec})).id


def train(room: Room, job_id: str, epochs: int, seconds: float) -> None:
    """Claim the job and write epochs as a worker would."""
    with room.database.write() as session:
        claimed = jobs.claim(session, job_id, "w1")
        assert claimed is not None
        results = [EpochResult(number, seconds, 0.1, {"loss": 1.0}) for number in range(1, epochs + 1)]
        assert jobs.record_epochs(session, job_id, claimed.attempt, results, results[-1])


def test_requests_and_predictions_are_counted(client: TestClient, room: Room) -> None:
    add_version(room, 3)
    for _ in range(2):
        assert client.post("/predict", json=BLANK).status_code == 200
    assert client.post("/v2/models/digits/infer", json=TENSOR).status_code == 200
    assert client.post("/v1/models/digits:1/predict", json={"pixels": "no"}).status_code == 422
    for path in ("/v1/jobs/one", "/v1/jobs/two", "/nope", "/nope/again"):
        assert client.get(path).status_code == 404
    client.request("BREW", "/v1/jobs")
    found = samples(client)
    assert told(found, "trainyard_prediction_seconds_count", model="digits", version="1") == 3
    seconds = told(found, "trainyard_prediction_seconds_sum", model="digits", version="1")
    assert seconds is not None
    assert 0 < seconds < 60
    counted = {
        (labels["method"], labels["route"], labels["status"]): value
        for (name, pairs), value in found.items()
        if name == "trainyard_http_requests_total"
        for labels in [dict(pairs)]
    }
    assert counted == {
        ("POST", "/predict", "200"): 2,
        ("POST", "/v2/models/{model}/infer", "200"): 1,
        ("POST", "/v1/models/{ref}/predict", "422"): 1,
        ("GET", "/v1/jobs/{job_id}", "404"): 2,
        ("GET", "other", "404"): 2,
        ("other", "/v1/jobs", "405"): 1,
    }
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert told(of(families), "trainyard_database_up") == 1


def test_the_queue_and_the_jobs_are_told(client: TestClient, room: Room, service: WholeService) -> None:
    make(room, device="cpu")
    make(room, device="cpu")
    running = make(room)
    before = whole(service)
    assert told(before, "trainyard_jobs", status="queued") == 3
    assert told(before, "trainyard_jobs", status="failed") == 0
    assert told(before, "trainyard_queue_jobs", device="cpu") == 2
    assert told(before, "trainyard_queue_jobs", device="gpu") == 0
    assert told(before, "trainyard_queue_oldest_seconds", device="gpu") == 0
    assert told(before, "trainyard_epochs_total") == 0
    train(room, running, 5, seconds=2.5)
    after = whole(service)
    assert told(after, "trainyard_jobs", status="running") == 1
    assert told(after, "trainyard_epochs_total") == 5
    assert told(after, "trainyard_running_epoch_seconds", dataset="digits") == 2.5
    assert told(after, "trainyard_workers", status="idle") == 0


def test_what_is_deleted_takes_nothing_from_the_counters(room: Room, service: WholeService) -> None:
    gone, failing = make(room), make(room)
    train(room, gone, 7, seconds=1)
    whole(service)
    train(room, failing, 4, seconds=1)
    with room.database.write() as session:
        jobs.move(session, gone, Status.SUCCEEDED)
        jobs.move(session, failing, Status.FAILED, failure_kind="diverged", failure_message="It diverged.")
    counted = whole(service)
    assert told(counted, "trainyard_epochs_total") == 4
    assert told(counted, "trainyard_jobs_finished_total", status="succeeded", failure="") == 1
    assert told(counted, "trainyard_jobs_finished_total", status="failed", failure="diverged") == 1
    with room.database.write() as session:
        session.execute(text("DELETE FROM jobs"))
    after = whole(service)
    assert told(after, "trainyard_jobs", status="failed") == 0
    assert told(after, "trainyard_epochs_total") == 4
    assert told(after, "trainyard_jobs_finished_total", status="succeeded", failure="") == 1


def test_figures_of_the_process_are_told_while_the_database_is_away(client: TestClient, room: Room) -> None:
    make(room)
    with room.database.write() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO jobs_away"))
    client.get("/nope")
    found = samples(client)
    assert told(found, "trainyard_database_up") == 0
    assert told(found, "trainyard_http_requests_total", method="GET", route="other", status="404") == 1
    assert told(found, "trainyard_jobs", status="queued") is None


def test_the_figures_are_the_same_on_both_databases(database: Database, room: Room) -> None:
    with database.write() as session:
        job_id = jobs.create(session, parse_spec({"dataset": "digits"})).id
    found = whole(WholeService(database, room.reaper))
    assert told(found, "trainyard_queue_jobs", device="auto") == 1
    age = told(found, "trainyard_queue_oldest_seconds", device="auto")
    assert age is not None
    assert 0 <= age < 60
    with database.write() as session:
        claimed = jobs.claim(session, job_id, "w1")
        assert claimed is not None
        result = EpochResult(1, 0.5, 0.1, {"loss": 1.0})
        jobs.record_epochs(session, job_id, claimed.attempt, [result], result)
    found = whole(WholeService(database, room.reaper))
    assert told(found, "trainyard_running_epoch_seconds", dataset="digits") == 0.5


class Version:
    """As much of a model version as is counted."""

    def __init__(self, number: int) -> None:
        self.name, self.version = "m", number


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MOST_SERIES", 3)
    figures = Figures()
    for number in range(1, 9):
        served: Any = Version(number)
        figures.answered({"method": "GET"}, 200 + number, 0.01, None)
        figures.answered({"method": "POST"}, 200, 0.01, served)
    found = of(figures.collect())
    predicted = {dict(pairs)["version"]: value for (name, pairs), value in found.items() if name.endswith("_count")}
    assert predicted == {"1": 1, "2": 1, "3": 1, "other": 5}
    requests = [value for (name, _), value in found.items() if name == "trainyard_http_requests_total"]
    assert sum(requests) == 16


# Request ids.


def test_an_id_that_is_given_is_answered_and_no_other(client: TestClient) -> None:
    for given in ("a", "Az0._-" * 21, "0" * 128):
        assert client.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"] == given

    others: list[Any] = ["", "0" * 129, "with blank", "a\tb", "<script>", "ä".encode("latin-1")]
    made = [client.get("/livez", headers={"X-Request-Id": other}).headers["x-request-id"] for other in others]
    assert all(re.fullmatch(r"[0-9a-f]{12}-\d+", each) for each in made)
    assert len(set(made)) == len(made)
    answer = client.get("/v1/jobs", headers={"Host": "evil.example", "X-Request-Id": "r-1"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (403, "r-1")
    assert "request_id" not in answer.json()


def test_errors_of_the_server_tell_their_id_in_answer_and_log(
    client: TestClient, room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    @client.app.get("/broken")  # type: ignore[attr-defined]
    def broken() -> None:
        raise ZeroDivisionError

    answer = client.get("/broken", headers={"X-Request-Id": "r-2"})
    assert (answer.status_code, answer.headers.get_list("x-request-id")) == (500, ["r-2"])
    assert answer.json()["request_id"] == "r-2"

    with room.database.write() as session:
        session.execute(text("ALTER TABLE jobs RENAME COLUMN notes TO remarks"))
    answer = client.get("/v1/jobs", headers={"X-Request-Id": "r-3"})
    assert (answer.status_code, answer.json()["request_id"]) == (503, "r-3")
    assert answer.headers.get_list("x-request-id") == ["r-3"]
    assert "python -m migrations" in answer.json()["detail"]
    assert "python -m migrations" in caplog.text


@pytest.fixture
def chatty(settings: Settings) -> Iterator[TestClient]:
    """The API with its access log on."""
    with TestClient(create_app(settings.model_copy(update={"access_log": True})), base_url=LOCAL) as made:
        yield made


def test_the_access_log_tells_who_asked_for_what(chatty: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    chatty.get("/v1/jobs/one?token=secret-in-query")
    [record] = [record for record in caplog.records if record.name == "api.request_ids"]
    facts = {name: getattr(record, name) for name in ("method", "path", "status", "caller")}
    assert facts == {"method": "GET", "path": "/v1/jobs/one", "status": 404, "caller": "testclient"}
    assert "secret-in-query" not in record.getMessage()


def test_without_it_requests_leave_no_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client.get("/v1/jobs/one")
    assert [record for record in caplog.records if record.name == "api.request_ids"] == []


# Tables of another version.


@pytest.mark.parametrize(
    ("revision", "wanted"),
    [("0004", f"needs {REVISION}: run `python -m migrations`"), ("0099", f"newer than the {REVISION}")],
)
def test_tables_of_another_version_are_told_with_the_command(
    revision: str, wanted: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(settings.database)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    database.close()
    with TestClient(create_app(settings), base_url=LOCAL) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert wanted in answer.json()["database"]
    assert wanted in caplog.text

"""Submitting, reading, listing, changing and ending jobs over HTTP."""

import pytest
import redis
from fastapi.testclient import TestClient

from api.deps import Room
from api.main import create_app
from models import jobs, registry
from models.artifacts import Stored
from models.jobs import Job, Status
from models.settings import Settings
from tests.api.conftest import LOCAL, claim, submit
from tests.servers import wait_until


def queued(url: str, queue: str) -> int:
    """Messages that wait in a queue of the run's Redis, of all priorities."""
    socket = url.removeprefix("redis+socket://").partition("?")[0]
    with redis.Redis(unix_socket_path=socket) as connection:
        return sum(int(connection.llen(key)) for key in connection.keys(f"{queue}*"))


def test_a_short_spec_is_answered_with_the_whole_one(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json={"dataset": "mnist"})
    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["spec"]["optimizer"]["learning_rate"] == 0.001
    assert job["spec"]["dataset"]["validation"] == {"split": 0.1}
    assert job["queue"] == {"position": 1, "waiting_for": "no worker is online"}
    assert (job["evaluation"], job["model"], job["failure"]) == (None, None, None)
    assert client.get(answer.headers["Location"]).json() == job


@pytest.mark.parametrize(("device", "queue"), [("auto", "train"), ("cpu", "train.cpu"), ("gpu", "train.gpu")])
def test_the_doorbell_rings_in_the_queue_of_the_device(
    client: TestClient, redis_url: str, device: str, queue: str
) -> None:
    before = queued(redis_url, queue)
    submit(client, device=device)
    wait_until(lambda: queued(redis_url, queue) >= before + 1, "the message")


def test_without_a_broker_the_job_is_accepted_and_waits(settings: Settings) -> None:
    alone = settings.model_copy(update={"broker_url": "redis+socket:///nowhere/r.sock?virtual_host=0"})
    with TestClient(create_app(alone), base_url=LOCAL) as client:
        job = submit(client)
        assert client.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"
        assert client.get("/readyz").json() == {
            "ready": False,
            "database": "ok",
            "broker": "does not answer",
            "workers": "none is online",
            "disk": "ok",
        }
        room: Room = client.app.state.room  # type: ignore[attr-defined]
        assert room.doorbell.unsent() == [job["id"]]


def test_validate_says_what_a_spec_means_and_keeps_nothing(client: TestClient) -> None:
    spec = {"dataset": "mnist", "network": {"layers": ["flatten", {"type": "dense", "units": 10}]}}
    answer = client.post("/v1/jobs/validate", json=spec)
    assert answer.status_code == 200
    assert answer.json()["summary"]["parameters"] == 7850
    assert answer.json()["spec"]["loss"]["from_logits"] is True
    assert client.get("/v1/jobs").json() == {"data": [], "next": None}


def test_the_schema_of_a_spec_is_served(client: TestClient) -> None:
    schema = client.get("/v1/jobs/schema").json()
    assert schema["required"] == ["dataset"]
    assert "early_stopping" in schema["properties"]


def test_lists_are_newest_first_paged_and_filtered(client: TestClient) -> None:
    made = [submit(client, name=str(n), tags=["odd"] if n % 2 else [])["id"] for n in range(7)]
    seen: list[str] = []
    after = None
    while True:
        page = client.get("/v1/jobs", params={"limit": 3} | ({"after": after} if after else {})).json()
        seen += [job["id"] for job in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(made, reverse=True)
    odd = client.get("/v1/jobs", params={"tag": "odd"}).json()["data"]
    assert {job["name"] for job in odd} == {"1", "3", "5"}
    client.post(f"/v1/jobs/{made[0]}/cancel")
    cancelled = client.get("/v1/jobs", params={"status": "cancelled"}).json()["data"]
    assert [job["id"] for job in cancelled] == [made[0]]
    assert client.get("/v1/jobs", params={"dataset": "mnist"}).json()["data"] == []
    assert client.get("/v1/jobs", params={"limit": 0}).status_code == 422
    assert client.get("/v1/jobs", params={"status": "odd"}).status_code == 422


def test_name_tags_and_notes_can_change_and_nothing_else(client: TestClient) -> None:
    job = submit(client, name="old", tags=["a"], notes="n")
    url = f"/v1/jobs/{job['id']}"
    changed = client.patch(url, json={"name": "new", "tags": ["b", "c"]}).json()
    assert (changed["name"], changed["tags"], changed["notes"]) == ("new", ["b", "c"], "n")
    assert client.get("/v1/jobs", params={"tag": "a"}).json()["data"] == []
    assert len(client.get("/v1/jobs", params={"tag": "c"}).json()["data"]) == 1
    refused = client.patch(url, json={"epochs": 3})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/epochs"


def test_cancel_is_at_once_for_a_queued_job(client: TestClient) -> None:
    url = f"/v1/jobs/{submit(client)['id']}"
    first = client.post(f"{url}/cancel")
    assert (first.status_code, first.json()["status"]) == (202, "cancelled")
    assert client.post(f"{url}/cancel").status_code == 200
    assert client.get(f"{url}/events").status_code == 200
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_cancel_is_asked_of_the_worker_that_has_the_job(client: TestClient, room: Room) -> None:
    job = submit(client)
    claim(room, job["id"])
    answer = client.post(f"/v1/jobs/{job['id']}/cancel", json={"keep_model": True})
    assert (answer.status_code, answer.json()["status"], answer.json()["requested"]) == (202, "running", "cancel")
    refused = client.delete(f"/v1/jobs/{job['id']}")
    assert refused.status_code == 409
    assert "cancel it first" in refused.json()["detail"]


def test_what_ended_cannot_be_cancelled_and_a_needed_job_not_deleted(client: TestClient, room: Room) -> None:
    job = submit(client)
    claim(room, job["id"])
    with room.database.write() as session:
        registry.add_version(
            session,
            registry.ModelVersion(
                name="digits", job_id=job["id"], dataset="digits", parameters=1, class_count=10, serving={}
            ),
        )
        assert jobs.move(session, job["id"], Status.SUCCEEDED, by_attempt=1)
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 409
    refused = client.delete(f"/v1/jobs/{job['id']}")
    assert refused.status_code == 409
    assert "digits:1" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["", "/metrics", "/events", "/log", "/evaluation", "/artifacts", "/curves.png"])
@pytest.mark.parametrize("job_id", ["job_0", "nothing", "job_01KAHB9V2M0Q4T8XJ5N7C3R6WY", "%00", "😀", "a" * 3000])
def test_an_unknown_id_is_404(client: TestClient, job_id: str, path: str) -> None:
    answer = client.get(f"/v1/jobs/{job_id}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found"


@pytest.mark.parametrize("ref", ["digits:1", "digits@champion", "nobody", "%2e%2e", "a%2Fb"])
def test_only_a_name_names_a_model(client: TestClient, ref: str) -> None:
    assert client.get(f"/v1/models/{ref}").status_code == 404
    assert client.get(f"/v1/models/{ref}/versions").status_code == 404


@pytest.mark.parametrize("path", ["metrics", "events"])
@pytest.mark.parametrize("after", ["-1", "abc", "9" * 23, str(2**31)])
def test_a_place_that_cannot_be_is_422(client: TestClient, path: str, after: str) -> None:
    url = f"/v1/jobs/{submit(client)['id']}/{path}"
    assert client.get(url, params={"after": after}).status_code == 422
    if path == "events":
        assert client.get(url, headers={"Last-Event-ID": after}).status_code == 400


def test_validate_writes_a_preset_out(client: TestClient) -> None:
    answer = client.post("/v1/jobs/validate", json={"dataset": "mnist", "network": "mlp"}).json()
    assert [layer["type"] for layer in answer["network"]["layers"]] == ["flatten", "dense", "dropout", "dense"]
    again = client.post("/v1/jobs/validate", json={"dataset": "mnist", "network": answer["network"]}).json()
    assert again["summary"] == answer["summary"]
    assert "dense (256, relu)" in answer["text"]


def test_the_summary_of_a_job_is_json_or_a_table(client: TestClient) -> None:
    job = submit(client, network="cnn")
    table = client.get(f"/v1/jobs/{job['id']}/summary", headers={"Accept": "text/plain"})
    assert table.headers["content-type"].startswith("text/plain")
    assert "conv2d (32, 3x3, relu)" in table.text
    numbers = client.get(f"/v1/jobs/{job['id']}/summary").json()
    assert f"{numbers['parameters']:,}" in table.text
    assert [layer["inputs"] for layer in numbers["layers"]][:2] == [["input"], ["conv2d_1"]]


def test_initial_weights_of_a_model_that_is_none_are_pointed_at(client: TestClient) -> None:
    for path in ("/v1/jobs", "/v1/jobs/validate"):
        answer = client.post(path, json={"dataset": "mnist", "initial_weights": {"model": "nobody"}})
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/initial_weights/model"]


def test_a_pointer_leads_into_the_body_that_was_sent(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json={"dataset": "spiral", "network": "cnn"})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/network"]


def test_a_job_whose_weights_are_waited_for_stays(client: TestClient, room: Room) -> None:
    parent = submit(client, epochs=1)["id"]
    claim(room, parent)
    with room.database.write() as session:
        registry.add_artifacts(session, parent, {"epoch-1.npz": Stored("key", 1, "sum")})
        assert jobs.move(session, parent, Status.FAILED)
    child = submit(client, initial_weights={"job": parent, "epoch": 1})["id"]
    refused = client.delete(f"/v1/jobs/{parent}")
    assert refused.status_code == 409
    assert child in refused.json()["detail"]
    assert client.post(f"/v1/jobs/{child}/cancel").status_code == 202
    assert client.delete(f"/v1/jobs/{parent}").status_code == 204


def test_of_two_cancels_the_one_that_keeps_the_model_wins(client: TestClient, room: Room) -> None:
    for bodies in ([{"keep_model": True}, {}], [{}, {"keep_model": True}]):
        job_id = submit(client)["id"]
        claim(room, job_id)
        for body in bodies:
            assert client.post(f"/v1/jobs/{job_id}/cancel", json=body).status_code == 202
        with room.database.read() as session:
            assert session.get_one(Job, job_id).keep_model is True


def test_a_job_shows_how_it_is_trained(client: TestClient, room: Room) -> None:
    """Nothing before an attempt has decided, then what it decided and why, also when the job is over."""
    job_id = submit(client)["id"]
    assert client.get(f"/v1/jobs/{job_id}").json()["execution"] is None
    attempt = claim(room, job_id).attempt
    assert client.get(f"/v1/jobs/{job_id}").json()["execution"] is None
    plan = {
        "device": "cpu",
        "precision": "float32",
        "threads": 2,
        "xla": "chunk",
        "batches_per_chunk": 40,
        "reasons": ["float32, as the spec says", "XLA: 8440 steps of a small network repay compiling"],
    }
    with room.database.write() as session:
        assert jobs.record_event(session, job_id, attempt, "log", {"message": ""}, phase="compiling", execution=plan)
    assert client.get(f"/v1/jobs/{job_id}").json()["execution"] == plan
    with room.database.write() as session:
        assert jobs.move(session, job_id, Status.SUCCEEDED, by_attempt=attempt)
    assert client.get("/v1/jobs").json()["data"][0]["execution"] == plan

"""A job or study that is submitted again with its Idempotency-Key is made once."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.deps import Room
from api.main import create_app
from models.history import Event
from models.idempotency import FirstAnswer
from models.jobs import Job
from models.settings import Settings
from models.studies import Study
from tests.api.conftest import LOCAL
from trainyard import Client, again

JOB: dict[str, Any] = {"dataset": "digits", "epochs": 3}
STUDY: dict[str, Any] = {"base": {"dataset": "digits"}, "vary": {"/seed": [1, 2]}}
PATHS = {"/v1/jobs": JOB, "/v1/studies": STUDY}


def count(room: Room, table: type) -> int:
    with room.database.read() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


@pytest.mark.parametrize("path", PATHS)
def test_the_same_again_is_answered_as_the_first_time(client: TestClient, room: Room, path: str) -> None:
    headers = {"Idempotency-Key": "once, please"}
    first = client.post(path, json=PATHS[path], headers=headers)
    assert first.status_code == 201, first.text
    assert "Idempotent-Replayed" not in first.headers
    # Another order of names and other spaces say the same.
    body = json.dumps(dict(reversed(PATHS[path].items())), indent=3)
    again = client.post(path, content=body, headers=headers | {"Content-Type": "application/json"})
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert again.headers["Location"] == first.headers["Location"]
    assert again.json() == first.json()
    assert client.get(first.headers["Location"]).status_code == 200
    assert count(room, Study if path == "/v1/studies" else Job) == 1


def test_the_first_answer_stays_as_it_was_whatever_becomes_of_the_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=JOB, headers=headers).json()
    client.post(f"/v1/jobs/{first['id']}/cancel")
    client.delete(f"/v1/jobs/{first['id']}")
    again = client.post("/v1/jobs", json=JOB, headers=headers)
    assert again.json() == first
    assert first["status"] == "queued"


def test_a_key_is_good_for_one_request_only(client: TestClient, room: Room) -> None:
    headers = {"Idempotency-Key": "mine"}
    client.post("/v1/jobs", json=JOB, headers=headers)
    for path, body in (("/v1/jobs", JOB | {"epochs": 4}), ("/v1/studies", STUDY)):
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code == 422
        assert "Received: mine" in answer.json()["detail"]
    assert client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "another"}).status_code == 201
    assert (count(room, Job), count(room, Study)) == (2, 0)


def test_a_refused_request_leaves_its_key_free(client: TestClient, room: Room) -> None:
    headers = {"Idempotency-Key": "mine"}
    wrong = JOB | {"initial_weights": {"job": "job_that_is_not_there", "epoch": 1}}
    assert client.post("/v1/jobs", json=wrong, headers=headers).status_code == 422
    assert count(room, FirstAnswer) == 0
    assert client.post("/v1/jobs", json=JOB, headers=headers).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "tab\there"])
def test_a_key_is_printable_ascii_and_not_long(client: TestClient, room: Room, key: str) -> None:
    answer = client.post("/v1/jobs", json=JOB, headers=[(b"Idempotency-Key", key.encode())])
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert count(room, Job) == 0


def test_every_owner_has_keys_of_their_own(settings: Settings) -> None:
    keyed = settings.model_copy(update={"api_keys": ("root",)})
    with TestClient(create_app(Settings(**keyed.model_dump())), base_url=LOCAL) as client:
        root = {"Authorization": "Bearer root"}
        made = [client.post("/v1/keys", json={"owner": name}, headers=root).json() for name in ("ada", "bob")]
        secrets = [each["data"][0]["key"] if "data" in each else each["key"] for each in made]
        sent = [
            client.post("/v1/jobs", json=JOB, headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "1"})
            for secret in secrets
        ]
    assert [answer.status_code for answer in sent] == [201, 201]
    assert sent[0].json()["id"] != sent[1].json()["id"]


@pytest.fixture
def both(settings: Settings, database_url: str) -> Iterator[list[TestClient]]:
    """Two API processes' worth of apps on one database, on each engine in turn."""
    shared = settings.model_copy(update={"database_url": database_url})
    with ExitStack() as stack:
        apps = [create_app(Settings(**shared.model_dump())) for _ in range(2)]
        made = [stack.enter_context(TestClient(app, base_url=LOCAL)) for app in apps]
        for client in made:
            # The framework works out a route when it is first met, and filters warnings meanwhile, which two threads
            # of one process must not do at once.
            assert client.get("/openapi.json").is_success
        yield made


def test_of_many_at_once_at_two_servers_one_makes_the_job(both: list[TestClient]) -> None:
    rounds, senders = 4, 6
    together = threading.Barrier(senders)

    def send(n: int) -> list[tuple[int, Any, bool]]:
        answers = []
        for key in range(rounds):
            together.wait(timeout=60)
            answer = both[n % 2].post("/v1/jobs", json=JOB, headers={"Idempotency-Key": f"key {key}"})
            answers.append((answer.status_code, answer.json(), "Idempotent-Replayed" in answer.headers))
        return answers

    with ThreadPoolExecutor(senders) as pool:
        sent = list(pool.map(send, range(senders)))
    for answers in zip(*sent, strict=True):
        assert {status for status, _, _ in answers} == {201}, answers
        assert all(body == answers[0][1] for _, body, _ in answers)
        assert sum(not replayed for _, _, replayed in answers) == 1
    room: Room = both[0].app.state.room  # type: ignore[attr-defined]
    assert count(room, Job) == rounds
    assert count(room, Event) == rounds


class Relay(ThreadingHTTPServer):
    """Passes requests on to a client of the API, and cuts the first connections once the API has answered."""

    def __init__(self, client: TestClient, cuts: int) -> None:
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.client, self.cuts = client, cuts
        self.keys: list[str] = []


class RelayHandler(BaseHTTPRequestHandler):
    server: Relay

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = ("Content-Type", "Idempotency-Key")
        answer = self.server.client.post(self.path, content=body, headers={name: self.headers[name] for name in names})
        self.server.keys.append(self.headers["Idempotency-Key"])
        if len(self.server.keys) <= self.server.cuts:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)


@pytest.mark.parametrize("path", PATHS)
def test_the_client_asks_again_when_the_answer_is_cut_off(
    client: TestClient, room: Room, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "PAUSES", (0.0, 0.0, 0.0))
    with Relay(client, cuts=2) as relay, Client(f"http://127.0.0.1:{relay.server_port}") as service:
        threading.Thread(target=relay.serve_forever, args=(0.01,)).start()
        try:
            made = (service.submit if path == "/v1/jobs" else service.submit_study)(PATHS[path])
        finally:
            relay.shutdown()
    assert len(relay.keys) == 3
    assert len(set(relay.keys)) == 1
    table = Job if path == "/v1/jobs" else Study
    with room.database.read() as session:
        assert session.scalars(select(table.id)).all() == [made["id"]]

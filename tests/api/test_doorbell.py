"""The doorbell: no request waits for the broker, what cannot be rung is rung later, and each worker is rung."""

import socket
from contextlib import closing

import pytest

from api import queue
from api.queue import Doorbell
from models.jobs import Job
from models.settings import Settings
from tests.servers import wait_until


@pytest.mark.timeout(60)
def test_a_broker_whose_line_is_dead_is_given_up_and_rung_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes the connection and every byte, as where a cable was pulled, and nothing is ever answered."""
    monkeypatch.setattr(queue, "SEND_SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        doorbell = Doorbell(settings.model_copy(update={"broker_url": url}))
        with closing(doorbell):
            doorbell.ring(job("job_1"))
            doorbell.look()
            assert doorbell.unsent() == ["job_1"]
            assert not doorbell.answers()


def test_what_could_not_be_rung_is_rung_when_the_broker_is_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []
    away = True

    def send(self: Doorbell, job_id: str, queue: str, priority: int) -> bool:
        if not away:
            sent.append((job_id, queue))
        return not away

    monkeypatch.setattr(Doorbell, "_send", send)
    monkeypatch.setattr(queue, "AGAIN_SECONDS", 0.02)
    with closing(Doorbell(settings)) as doorbell:
        doorbell.rounds.start()
        for name, device in (("job_1", "auto"), ("job_2", "cpu"), ("job_3", "auto")):
            doorbell.ring(job(name, device))
        assert sorted(doorbell.unsent()) == ["job_1", "job_2", "job_3"]
        away = False
        wait_until(lambda: doorbell.unsent() == [], "the last message")
        doorbell.rounds.stop()
    assert sorted(sent) == [("job_1", "train"), ("job_2", "train.cpu"), ("job_3", "train")]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_of_many_jobs_at_once_each_worker_is_rung_after_the_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """While a message is on its way a hundred jobs come: those messages are sent after it that all workers need."""
    sent: list[str] = []

    def send(self: Doorbell, job_id: str, queue: str, priority: int) -> bool:
        sent.append(job_id)
        if job_id == "first":
            for number in range(100):
                self.ring(job(f"job_{number:03}"))
        return True

    monkeypatch.setattr(Doorbell, "_send", send)
    with closing(Doorbell(settings)) as doorbell:
        doorbell.most = workers + 1
        doorbell.ring(job("first"))
        doorbell.look()
        doorbell.look()
    assert workers <= len(sent[1:]) <= workers + 1


def job(name: str, device: str = "auto") -> Job:
    return Job(id=name, device=device, priority=5)

"""The doorbell where nobody is at home: a request must never wait for the broker."""

import socket
from contextlib import closing

import pytest

from api import queue
from api.queue import Doorbell
from models.jobs import Job
from models.settings import Settings


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
            assert not doorbell.ring(Job(id="job_1", device="auto", priority=5))
            assert doorbell.unsent() == ["job_1"]
            assert not doorbell.answers()

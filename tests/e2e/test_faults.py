"""Processes are killed in mid-job; the job succeeds, its epochs contiguous, and a follower saw each once."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.yard import Yard, alive, yard
from tests.servers import free_port, wait_until
from trainyard import Client

NETWORK = {"layers": ["flatten", {"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10}]}
EPOCHS = 60
# Single images a step keep it busy long enough to be killed in the middle.
SPEC = {"dataset": "digits", "network": NETWORK, "epochs": EPOCHS, "batch_size": 4}


class Follower(threading.Thread):
    """Follows a job's events with a client of its own, across every interruption."""

    def __init__(self, url: str, job_id: str) -> None:
        super().__init__(daemon=True)
        self.url, self.job_id = url, job_id
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        with Client(self.url) as client:
            for event in client.events(self.job_id, patience=120):
                self.events.append(event)

    @property
    def epochs(self) -> list[int]:
        """The epochs it saw, in the order in which they came."""
        return [event["data"]["epoch"] for event in self.events if event["event"] == "epoch"]


def check_whole(service: Yard, follower: Follower, job: dict[str, Any]) -> None:
    assert job["status"] == "succeeded", job["failure"]
    rows = service.client.metrics(job["id"])
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    assert [row["seq"] for row in rows] == sorted({row["seq"] for row in rows})
    follower.join(timeout=20)
    assert not follower.is_alive()
    assert follower.epochs == list(range(1, EPOCHS + 1))
    assert [event["seq"] for event in follower.events] == list(range(1, len(follower.events) + 1))
    assert sorted(row["attempt"] for row in rows) == [row["attempt"] for row in rows]


def in_the_middle(follower: Follower, beyond: int) -> None:
    wait_until(lambda: len(follower.epochs) > beyond, f"epoch {beyond + 1}", seconds=60)
    assert len(follower.epochs) < EPOCHS, "the job was over before it could be disturbed"


@pytest.mark.timeout(300)
def test_a_job_outlives_whatever_happens_to_the_processes(tmp_path: Path) -> None:
    """The one that trains is killed, then all are, then Ctrl-C stops them; `up` again and the job goes on each time."""
    port = str(free_port())
    with yard(tmp_path, PORT=port) as first:
        job = first.client.submit(SPEC)
        follower = Follower(first.url, job["id"])
        in_the_middle(follower, beyond=3)
        os.kill(first.training_process(), signal.SIGKILL)
        wait_until(lambda: first.client.job(job["id"])["attempt"] == 2, "the second attempt", seconds=60)
        in_the_middle(follower, beyond=len(follower.epochs) + 1)
        check_the_supervisor_takes_everything_along(first)
    with yard(tmp_path, PORT=port) as second:
        went_on = "an epoch of the third attempt"
        wait_until(lambda: second.client.metrics(job["id"])[-1]["attempt"] == 3, went_on, seconds=60)
        everything = [second.process.pid, *second.processes()]
        assert second.end() == 0
        assert [pid for pid in everything if alive(pid)] == []
    with yard(tmp_path, PORT=port) as third:
        ended = third.client.wait(job["id"], timeout=120, check=False)
        check_whole(third, follower, ended)
        assert ended["attempt"] == 4
        told = [event["data"].get("reason") for event in follower.events if event["event"] == "state"]
        assert "the worker stops and hands the job back" in told
        assert not list((tmp_path / "artifacts").rglob("checkpoints/*"))
        assert "Traceback" not in third.log.read_text().rpartition("Trainyard is ready")[2]


def check_the_supervisor_takes_everything_along(service: Yard) -> None:
    """Kill it, and nothing else: every process of the service, busy as it is, ends with it."""
    everything = service.processes()
    assert {service.api_process(), service.training_process()} < set(everything)
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait(timeout=10)
    wait_until(lambda: not any(map(alive, everything)), f"the end of {everything}", seconds=15)


@pytest.mark.parametrize("broker", ["filesystem"])
def test_the_service_works_on_the_fallback_broker(tmp_path: Path, broker: str) -> None:
    """Where there is no Redis at all: macOS or Python 3.13 without a redis-server."""
    with yard(tmp_path, EMBEDDED_BROKER=broker) as service:
        assert "filesystem transport" in service.log.read_text()
        job = service.client.submit(SPEC | {"epochs": 40})
        next(event for event in service.client.events(job["id"]) if event["event"] == "epoch")
        os.kill(service.training_process(), signal.SIGKILL)
        ended = service.client.wait(job["id"], timeout=120)
        assert (ended["attempt"], ended["progress"]["epoch"]) == (2, 40)
        assert [row["epoch"] for row in service.client.metrics(job["id"])] == list(range(1, 41))
        assert service.client.predict(Path("examples/digits/2.png"))["predictions"][0]["label"] in range(10)

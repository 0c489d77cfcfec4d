"""How long one waits: for the API after its start, and for the first epoch after a POST to a warm worker.

`python -m benchmarks.start` starts the whole service in a temporary HOME, with data from TRAINYARD_DATASETS_DIR.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from trainyard import Client

REPEATS = 5
SPEC: dict[str, Any] = {
    "dataset": "mnist",
    "network": {
        "layers": [
            {"type": "flatten"},
            {"type": "dense", "units": 128, "activation": "relu"},
            {"type": "dense", "units": 10, "activation": "softmax"},
        ]
    },
    "batch_size": 64,
    "epochs": 1,
}


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as home, service(home) as (process, url):
        del process
        show("API process to its first /livez", [until_alive(home) for _ in range(REPEATS)])
        with Client(url) as client:
            show("POST to first epoch, the first job", [until_first_epoch(client)])
            show("POST to first epoch, later jobs", [until_first_epoch(client) for _ in range(REPEATS)])


def until_alive(home: str) -> float:
    """Seconds from the start of an API process to its first answer."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", "8765"]
    settings = {"TRAINYARD_HOME": home, "TRAINYARD_BROKER_URL": "redis://127.0.0.1:1/0"}
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--log-level", "error"], env=os.environ | settings)
    try:
        while True:
            try:
                httpx2.get("http://127.0.0.1:8765/livez").raise_for_status()
                return time.perf_counter() - began
            except httpx2.TransportError:
                time.sleep(0.005)
    finally:
        process.terminate()
        process.wait()


def until_first_epoch(client: Client) -> float:
    """Seconds from the POST to the moment at which a follower is told of epoch 1; then waits for the job's end."""
    began = time.perf_counter()
    job = client.submit(SPEC)
    for event in client.events(job["id"]):
        if event["event"] == "epoch":
            took = time.perf_counter() - began
            client.wait(job["id"])
            return took
    raise RuntimeError(f"No epoch came: {client.job(job['id'])['failure']}")


@contextmanager
def service(home: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`trainyard up`, ready."""
    settings = {"TRAINYARD_HOME": home, "TRAINYARD_PORT": "0"}
    command = [sys.executable, "-m", "trainyard", "up"]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = next(line for line in process.stdout if line.startswith("Trainyard is ready: "))
        yield process, ready.rpartition(" ")[2].strip()
    finally:
        process.terminate()
        process.communicate()


def show(what: str, seconds: list[float]) -> None:
    """One line: minimum, median, maximum."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"{what:40} {low:6.2f} {middle:6.2f} {high:6.2f} s (min, median, max of {len(seconds)})")


if __name__ == "__main__":
    main()

"""How long one waits: for the API after its start, and for the first epoch after a POST to a warm worker.

`python -m benchmarks.start` starts the whole service in a temporary HOME, with data from TRAINYARD_DATASETS_DIR.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import httpx2

from benchmarks.service import follow, starting, wait_until_warm

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
    with tempfile.TemporaryDirectory() as home:
        show("API process to its first /livez", [until_alive(home) for _ in range(REPEATS)])
    with starting() as (client, _):
        wait_until_warm(client)
        show("POST to first epoch, the first job", [follow(client, SPEC).first_epoch])
        show("POST to first epoch, later jobs", [follow(client, SPEC).first_epoch for _ in range(REPEATS)])


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


def show(what: str, seconds: list[float]) -> None:
    """One line: minimum, median, maximum."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"{what:40} {low:6.2f} {middle:6.2f} {high:6.2f} s (min, median, max of {len(seconds)})")


if __name__ == "__main__":
    main()

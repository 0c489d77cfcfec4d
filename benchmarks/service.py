"""What the service makes of training: the wait for the first batch, whole jobs beside whole scripts, its overhead.

Each service that is measured is `trainyard up` with one worker in a HOME of its own, which is gone afterwards.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import CASES
from benchmarks.protocol import Data
from benchmarks.rounds import ROOT, ContestantFailed
from models.settings import Settings
from trainyard import Client
from trainyard.errors import ApiError, JobFailed, TrainyardError, Unreachable

CASE = CASES["dense-32"]
SCRIPT = ROOT / "benchmarks" / "scripts" / "keras_script.py"
START_SECONDS = 120.0


@dataclass(frozen=True)
class Amount:
    """How much is measured: epochs of the short jobs, seconds of the long ones, repeats, images (None: all)."""

    epochs: int = 10
    long_seconds: float = 20.0
    repeats: int = 3
    images: int | None = None


@dataclass(frozen=True)
class Followed:
    """A job as its follower saw it, in seconds.

    The first four count from the POST, or from the start of the service that was not up yet: the 201, the beginning of
    the first batch, the moments at which one was told of epoch 1 and of success. `attempt` is from claim to success by
    the job's own two times.
    """

    accepted: float
    first_batch: float
    first_epoch: float
    succeeded: float
    attempt: float
    epoch_seconds: tuple[float, ...]
    val_accuracy: float
    execution: dict[str, Any]


def measure(amount: Amount, data: Data) -> dict[str, Any]:
    """Every figure, for `benchmarks.service_table`; `data` is for the script, the service finds its own."""
    spec = spec_of(amount.epochs, amount.images)
    colds = [cold(spec) for _ in range(amount.repeats)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mnist.npz"
        np.savez(path, x_train=data.x_train, y_train=data.y_train, x_test=data.x_val, y_test=data.y_val)
        warm = [beside_script(spec, path) for _ in range(amount.repeats)]
    epochs = epochs_for(amount.long_seconds, [again.epoch_seconds for _, _, again in warm])
    return {
        "case": CASE.name,
        "amount": asdict(amount),
        "cold": list(map(asdict, colds)),
        "first": [asdict(first) for first, _, _ in warm],
        "script": [script for _, script, _ in warm],
        "second": [asdict(again) for _, _, again in warm],
        "long_epochs": epochs,
        "pairs": beside_bare_loop(spec_of(epochs, amount.images), amount.repeats),
    }


def spec_of(epochs: int, images: int | None) -> dict[str, Any]:
    """A job of the case on MNIST, validated on the test set after each epoch."""
    return {
        "dataset": {"name": "mnist", "validation": {"test": True}, "train_size": images},
        "network": {"layers": list(CASE.layers)},
        "optimizer": {"type": "adam", "learning_rate": 0.001},
        "batch_size": CASE.batch_size,
        "epochs": epochs,
    }


def cold(spec: dict[str, Any]) -> Followed:
    """A job that is posted to a service as soon as it takes one, from the start of that service."""
    with starting() as (client, began):
        return follow(client, spec, began)


def beside_script(spec: dict[str, Any], data: Path) -> tuple[Followed, float, Followed]:
    """The first job of a warm worker, the script, and the same job once more."""
    with starting() as (client, _):
        wait_until_warm(client)
        return follow(client, spec), run_script(data, spec["epochs"]), follow(client, spec)


def beside_bare_loop(spec: dict[str, Any], repeats: int) -> list[dict[str, Any]]:
    """The bare loop and a warm service's job in turn: seconds, and of both the last accuracy and the plan."""
    pairs = []
    with starting() as (client, _):
        wait_until_warm(client)
        for _ in range(repeats):
            bare, job = run_bare_loop(spec), follow(client, spec)
            both = {name: [bare[name], getattr(job, name)] for name in ("val_accuracy", "execution")}
            pairs.append({"bare": bare["seconds"], "job": job.attempt, **both})
    return pairs


def epochs_for(seconds: float, jobs: list[tuple[float, ...]]) -> int:
    """How many epochs take about so long, by the later halves of jobs whose epochs took what `jobs` says."""
    return max(1, round(seconds / statistics.median(epoch for job in jobs for epoch in job[len(job) // 2 :])))


@contextmanager
def starting(home: Path | None = None) -> Iterator[tuple[Client, datetime]]:
    """A client of a service that was just started, and when; a failure within comes with what the service said.

    Its HOME is `home`, which stays, or else one that is gone afterwards.
    """
    own = Settings()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, Path(folder, "up.log").open("w+") as said:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
        environment |= {"TRAINYARD_HOME": str(home or f"{folder}/home"), "TRAINYARD_PORT": str(port)}
        environment |= {"TRAINYARD_DATASETS_DIR": str(own.datasets), "TRAINYARD_OFFLINE": str(own.offline).lower()}
        command = [sys.executable, "-m", "trainyard", "up"]
        began = datetime.now(UTC)
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            with Client(f"http://127.0.0.1:{port}", timeout=START_SECONDS) as client:
                yield client, began
        except TrainyardError as error:
            said.seek(0)
            raise ContestantFailed(f"The service: {error}\n{said.read()[-2000:]}") from error
        finally:
            process.terminate()
            process.wait()


def wait_until_warm(client: Client) -> None:
    """Until the API answers and its worker has imported TensorFlow."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.ready()
            return
        except (ApiError, Unreachable):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def follow(client: Client, spec: dict[str, Any], began: datetime | None = None) -> Followed:
    """Submit a job, as soon as somebody listens, and follow its events to its success. Raises JobFailed without one."""
    began = began or datetime.now(UTC)
    job = submit(client, spec)
    accepted, first_epoch, succeeded = since(began), None, None
    epochs = []
    for event in client.events(job["id"]):
        if event["event"] == "epoch":
            first_epoch = first_epoch or since(began)
            epochs.append(event["data"])
        elif event["data"].get("status") == "succeeded":
            succeeded = since(began)
    job = client.job(job["id"])
    if first_epoch is None or succeeded is None:
        raise JobFailed(job)
    return Followed(
        accepted,
        since(began, first_batch(epochs)),
        first_epoch,
        succeeded,
        since(moment(job["started_at"]), moment(job["finished_at"])),
        tuple(epoch["seconds"] for epoch in epochs),
        epochs[-1]["metrics"]["val_accuracy"],
        job["execution"],
    )


def submit(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    """POST the job until somebody listens; the first connection may wait for an API that starts."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return client.submit(spec)
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def first_batch(epochs: list[dict[str, Any]]) -> datetime:
    """When the first batch began, at the latest.

    The row of an epoch is written after it, soon or in a group with later ones. So each row's time less the seconds of
    all epochs so far is no earlier than the beginning, and the earliest of these is the closest.
    """
    passed, found = 0.0, []
    for epoch in epochs:
        passed += epoch["seconds"]
        found.append(moment(epoch["at"]).timestamp() - passed)
    return datetime.fromtimestamp(min(found), UTC)


def moment(text: str) -> datetime:
    """A time as the API writes it, to the microsecond."""
    return datetime.fromisoformat(text)


def since(began: datetime, until: datetime | None = None) -> float:
    """Seconds between two moments, the second one now unless it is given. All processes are on one clock."""
    return ((until or datetime.now(UTC)) - began).total_seconds()


def run_script(data: Path, epochs: int) -> float:
    """Seconds that the script takes as a process, from its start to its end, its model saved."""
    command = [sys.executable, str(SCRIPT), str(data), str(epochs)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        output_of("keras_script.py", command, Path(folder))
        return time.perf_counter() - began


def run_bare_loop(spec: dict[str, Any]) -> dict[str, Any]:
    """What `benchmarks.contestants.bare` says of training `spec`."""
    command = [sys.executable, "-m", "benchmarks.contestants.bare", json.dumps(spec)]
    figures: dict[str, Any] = json.loads(output_of("the bare loop", command, ROOT).splitlines()[-1])
    return figures


def output_of(name: str, command: list[str], folder: Path) -> str:
    """What a command prints. Raises ContestantFailed, with what it said, when it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ContestantFailed(f"{name} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout

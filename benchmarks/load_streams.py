"""A thousand event streams on one API process while it is asked for predictions."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.load import request_bytes
from benchmarks.load_paced import Answers, paced
from benchmarks.load_service import Ground, Service, fill
from benchmarks.rounds import ROOT, ContestantFailed
from benchmarks.served import Deployment, picture_of
from benchmarks.servers import inherited

PREDICTIONS_A_SECOND = 50.0
MOST_P99 = 0.05
ALONE_SECONDS = 4.0
# The stand-in for a thousand workers is one process, and does not beat for those jobs whose turn it is not.
LEASE_SECONDS = 600


@dataclass(frozen=True)
class Crowd:
    """What the streams are on: how many, on how many jobs, and how many epochs each job has, over so many seconds."""

    name: str
    streams: int
    jobs: int
    epochs: int
    seconds: float

    @property
    def events(self) -> int:
        """Rows of each job: queued, running, its epochs, succeeded."""
        return self.epochs + 3


@dataclass(frozen=True)
class Streamed:
    """What came of a crowd; `alone` are predictions before it came, `beside` those while it was told of epochs."""

    crowd: Crowd
    followed: dict[str, Any]
    written: dict[str, float]
    alone: Answers
    beside: Answers
    connecting: Answers
    memory: tuple[float, float]

    @property
    def complete(self) -> bool:
        """Whether every stream saw every row of its job, and ended."""
        return bool(self.followed["complete"] == self.crowd.streams and self.followed["last"] == [self.crowd.events])

    @property
    def quick(self) -> bool:
        """Whether predictions stayed within their time."""
        return not self.beside.errors and self.beside.percentile(0.99) <= MOST_P99


def crowds(streams: int, seconds: float) -> list[Crowd]:
    """Many streams on few jobs, and each on a job of its own."""
    return [
        Crowd(f"{streams:,} streams on 10 jobs", streams, 10, round(seconds), seconds),
        Crowd(f"{streams:,} streams on {streams:,} jobs", streams, streams, 4, seconds),
    ]


def measure_streams(ground: Ground, deployment: Deployment, crowd: Crowd) -> Streamed:
    """One crowd on a new API process with the trained model."""
    database_url = f"sqlite:///{deployment.home / 'trainyard.db'}"
    settings = {"TRAINYARD_DEFAULT_MODEL": deployment.network, "TRAINYARD_LEASE_SECONDS": str(LEASE_SECONDS)}
    with ground.serving(database_url, deployment.home, **settings) as service:
        return _crowded(service, crowd)


def _crowded(service: Service, crowd: Crowd) -> Streamed:
    jobs = fill(service.database_url, crowd.jobs)
    picture = request_bytes(service.port, "/predict", picture_of(28), "image/png")

    def predictions(seconds: float) -> Answers:
        return paced(service.port, [picture] * round(seconds * PREDICTIONS_A_SECOND), PREDICTIONS_A_SECOND, 8)

    predictions(1.0)
    alone = predictions(ALONE_SECONDS)
    before = service.server.memory()
    with ExitStack() as stack:
        followers = _process(stack, "load_followers", port=service.port, jobs=jobs, streams=crowd.streams)
        connecting = predictions(ALONE_SECONDS)
        assert followers.stdout is not None
        if followers.stdout.readline() != "ready\n":
            raise ContestantFailed(f"The streams did not all begin: {followers.stdout.read()}")
        after = service.server.memory()
        wanted = {"jobs": jobs, "epochs": crowd.epochs, "seconds": crowd.seconds}
        writer = _process(stack, "load_writer", database_url=service.database_url, **wanted)
        beside = predictions(crowd.seconds)
        written = _answer(writer)
        followed = _answer(followers)
    return Streamed(crowd, followed, written, alone, beside, connecting, (before, after))


def _process(stack: ExitStack, module: str, **asked: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", json.dumps(asked)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=inherited(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if os.sched_getscheduler(0) == os.SCHED_RR:
        os.sched_setscheduler(process.pid, os.SCHED_RR, os.sched_param(1))  # as if on a machine of its own
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate(timeout=300)
    try:
        answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        raise ContestantFailed(
            f"A process of the benchmark ended with code {process.returncode}:\n{said[-2000:]}"
        ) from None
    return answer

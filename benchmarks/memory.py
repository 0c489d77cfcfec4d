"""Whether a worker grows from job to job: its memory over many short jobs of different networks, one after another.

`python -m benchmarks.memory` starts the whole service with one worker in a temporary HOME. It needs Linux.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.service import starting, wait_until_warm
from trainyard import Client

JOBS = 200
# What is compared with what: memory after the 20th job, when every kind of network was there twice, with the last.
FIRST = 20
MARKS = (FIRST, 50, 100, 150, 200)
JSON = Path(__file__).parent.parent / "var" / "bench" / "memory.json"

OUTPUT = {"type": "dense", "units": 10}
DROPOUT = {"type": "dropout", "rate": 0.3}


@dataclass(frozen=True)
class Sample:
    """The process that trains as a job ended; memory (resident) in MB, wall time from POST to end in seconds."""

    job: int
    pid: int
    memory: float
    seconds: float


def main() -> None:
    """Print the figures and write each sample as JSON."""
    options = parse(sys.argv[1:])
    with starting() as (client, _):
        wait_until_warm(client)
        samples = [run(client, job) for job in range(1, options.jobs + 1)]
    figures = summarize(samples)
    show(figures)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures | {"samples": list(map(asdict, samples))}, indent=2) + "\n")
    print(f"Every sample is in {options.json}.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"jobs in all ({JOBS})")
    parser.add_argument("--json", type=Path, default=JSON, help="where figures go")
    options = parser.parse_args(arguments)
    if options.jobs <= FIRST:
        parser.error(f"Growth is what comes after job {FIRST}. Received: --jobs {options.jobs}")
    return options


def spec_of(job: int) -> dict[str, Any]:
    """Ten kinds in turn, so that at every mark it was a job of the same kind that ended."""
    kind = job % len(NETWORKS)
    return {
        "dataset": {"name": "digits", "train_size": (None, 600, 900)[kind % 3], "validation": {"split": 0.2}},
        "network": {"layers": NETWORKS[kind]},
        "optimizer": ("adam", {"type": "sgd", "momentum": 0.9})[kind % 2],
        "batch_size": (32, 50, 64, 100)[kind % 4],
        "epochs": 1 + kind % 2,
        "seed": job,
    }


def dense_network(*units: int, activation: str = "relu", normalized: bool = False) -> list[Any]:
    """A multi-layer perceptron with dropout at its end."""
    between = ["batch_normalization"] if normalized else []
    hidden = [[{"type": "dense", "units": width, "activation": activation}, *between] for width in units]
    return ["flatten", *chain.from_iterable(hidden), DROPOUT, OUTPUT]


def convolutional_network(*filters: int, normalized: bool = False) -> list[Any]:
    """Convolutions, each with pooling, and dropout at its end."""
    between = ["batch_normalization"] if normalized else []
    convolution = {"type": "conv2d", "kernel_size": 3, "activation": "relu"}
    hidden = [[convolution | {"filters": count}, *between, "max_pooling2d"] for count in filters]
    return [*chain.from_iterable(hidden), "flatten", DROPOUT, OUTPUT]


NETWORKS = (
    dense_network(16),
    convolutional_network(4),
    dense_network(32, 32, normalized=True),
    convolutional_network(8, 8),
    dense_network(256),
    convolutional_network(16, normalized=True),
    dense_network(64, activation="swish"),
    convolutional_network(8, 16, normalized=True),
    dense_network(128, 64, 32),
    convolutional_network(24),
)


def run(client: Client, job: int) -> Sample:
    """Submit job number `job`, wait for its end, and look at the process that trained it."""
    began = time.perf_counter()
    client.wait(client.submit(spec_of(job))["id"])
    took = time.perf_counter() - began
    (worker,) = client.workers()
    pid = int(worker["name"].rpartition("-")[2])
    return Sample(job, pid, resident_memory(pid), took)


def resident_memory(pid: int) -> float:
    """What process `pid` has in memory, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith("Rss:")]
    return int(kilobytes) * 1024 / 1e6


def summarize(samples: list[Sample]) -> dict[str, Any]:
    """Memory in MB at the marks, its slope in MB a job after the first mark, and the last as a share of that mark's."""
    memory = {sample.job: sample.memory for sample in samples}
    later = [sample for sample in samples if sample.job >= FIRST]
    slope, _ = statistics.linear_regression([s.job for s in later], [s.memory for s in later])
    last = samples[-1].job
    return {
        "memory": {job: memory[job] for job in sorted({*MARKS, last}) if job in memory},
        "slope": slope,
        "ratio": memory[last] / memory[FIRST],
        "processes": len({sample.pid for sample in samples}),
        "seconds_a_job": statistics.median(sample.seconds for sample in samples),
    }


def show(figures: dict[str, Any]) -> None:
    """Print what was found."""
    for job, memory in figures["memory"].items():
        print(f"after job {job:4}: {memory:8.1f} MB")
    print(f"growth: {figures['slope']:.3f} MB a job; the last is {figures['ratio']:.3f} of job {FIRST}'s")
    print(f"processes that trained: {figures['processes']}; median job: {figures['seconds_a_job']:.2f} s")


if __name__ == "__main__":
    main()

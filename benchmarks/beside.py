"""How long one small picture takes while somebody else asks the same server for something large, again and again."""

import io
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.load import Load, load, request_bytes
from benchmarks.served import ENDPOINTS, Deployment
from benchmarks.servers import Server
from benchmarks.serving_table import OURS
from benchmarks.table import aligned

ARRAYS = 1_000
MOST_SECONDS = 0.5
# Together they make 8 MB.
LARGE_SIZE, NOISE, QUALITY = (4000, 3000), 22, 95
NOTHING = "nothing"


@dataclass
class Pair:
    """The small requests, a load a round, and the large ones that went on meanwhile."""

    small: list[Load] = field(default_factory=list)
    large: list[Load] = field(default_factory=list)


def measure_beside(
    server: Server, deployment: Deployment, picture: bytes, seconds: float, rounds: int
) -> dict[str, Pair]:
    """`picture` over one connection beside each kind of large request over another, in turn, round by round."""
    endpoint = ENDPOINTS[OURS]
    small = request_bytes(server.port, endpoint.path, *endpoint.form(picture))
    large = {NOTHING: b"", **large_requests(server.port, deployment.job_id, picture)}
    pairs = {name: Pair() for name in large}
    with one_process() as pool:
        for _ in range(rounds):
            for name, request in large.items():
                pressing = pool.submit(load, server.port, request, 1, seconds) if request else None
                pairs[name].small.append(server.load(small, 1, seconds))
                if pressing is not None:
                    pairs[name].large.append(pressing.result())
    return pairs


def large_requests(port: int, job_id: str, picture: bytes) -> dict[str, bytes]:
    """What takes a server long: many arrays, a large photograph, a drawing."""
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L").resize((28, 28)))
    arrays = json.dumps({"pixels": [grey.tolist()] * ARRAYS}).encode()
    return {
        f"{ARRAYS:,} arrays": request_bytes(port, "/predict", arrays, "application/json"),
        "8 MB JPEG": request_bytes(port, "/predict", photograph(picture), "image/jpeg"),
        "curves.png": request_bytes(port, f"/v1/jobs/{job_id}/curves.png"),
    }


def photograph(picture: bytes) -> bytes:
    """A JPEG of 12 million pixels and about 8 MB that shows `picture` under a camera's noise."""
    noise = np.random.default_rng(0).normal(0, NOISE, LARGE_SIZE[::-1]).astype(np.float32)
    shades = 50 + 0.6 * np.asarray(Image.open(io.BytesIO(picture)).convert("L").resize(LARGE_SIZE), np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(shades + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


@contextmanager
def one_process() -> Iterator[ProcessPoolExecutor]:
    """Another process that has started already, so that nothing but its requests is measured."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(int).result()
        yield pool


def rendered(pairs: dict[str, Pair]) -> str:
    """A line for each kind of large request."""
    heading = ("beside", "req/s", "p50 ms", "p99 ms", "max ms", "stalls", "the large one: p50 ms", "max ms")
    return aligned([heading, *(_cells(name, pair) for name, pair in pairs.items())])


def _cells(name: str, pair: Pair) -> tuple[str, ...]:
    small = together(pair.small)
    times = [f"{small.percentile(share) * 1e3:.2f}" for share in (0.5, 0.99, 1)]
    large = together(pair.large)
    taken = [f"{large.percentile(share) * 1e3:.0f}" for share in (0.5, 1)] if pair.large else ["-", "-"]
    return name, f"{small.rate:.0f}", *times, str(small.stalls), *taken


def together(loads: list[Load]) -> Load:
    """All rounds as one."""
    return Load(
        sum(one.seconds for one in loads),
        [latency for one in loads for latency in one.latencies],
        sum(one.stalls for one in loads),
    )


def verdicts(pairs: dict[str, Pair]) -> list[str]:
    """Whether a thousand arrays are answered in time, with somebody else being served meanwhile."""
    longest = together(pairs[f"{ARRAYS:,} arrays"].large).percentile(0.5)
    met = "met" if longest <= MOST_SECONDS else "MISSED"
    return [f"{ARRAYS:,} arrays in {longest:.3f} s beside small requests, at most {MOST_SECONDS}: {met}"]


def as_json(pairs: dict[str, Pair]) -> dict[str, Any]:
    """What the table shows, for the JSON file."""
    return {
        name: dict(
            zip(("rate", "p50", "p99", "max", "stalls", "large_p50", "large_max"), _cells(name, pair)[1:], strict=True)
        )
        for name, pair in pairs.items()
    }

"""The API under load: a long queue, a thousand event streams, 200 submits a second, thirty users at once.

`python -m benchmarks.under_load` starts real API processes on a real Redis, and on SQLite or the PostgreSQL server that
is named. Nothing is trained but the one small network that is asked for predictions. It needs Linux and some minutes.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.load import LoadFailed
from benchmarks.load_queue import LONG, measure_queue
from benchmarks.load_service import Ground, ground
from benchmarks.load_streams import Crowd, crowds, measure_streams
from benchmarks.load_submits import RATE, measure_submits, measure_users
from benchmarks.load_table import queue_table, streams_text, submits_text, users_text
from benchmarks.machine import machine_facts
from benchmarks.rounds import ROOT, ContestantFailed
from benchmarks.served import train
from trainyard.errors import TrainyardError

PARTS = ("queue", "submits", "users", "streams")


def main() -> bool:
    """Measure what the options ask for; whether every target was met."""
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Told to end."))  # so that every server is ended on the way out
    _allow_sockets()
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    report: dict[str, Any] = {"machine": machine_facts(), "options": {**vars(options), "json": str(options.json)}}
    facts = report["machine"]
    print(f"{facts['cpu']}, {facts['cores']} cores, load {facts['load_before']:.1f}", flush=True)
    met = []
    with tempfile.TemporaryDirectory() as folder, ground(Path(folder), options.postgres) as under:
        for part in options.part or PARTS:
            with _timed(part):
                met.append(_measure(part, under, options, report))
    facts["load_after"] = os.getloadavg()[0]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nEvery figure is in {options.json}.")
    return all(met)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="benchmarks.under_load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, to see that it works")
    parser.add_argument(
        "--postgres", default="", metavar="URL", help="a PostgreSQL server, on which databases are made and dropped"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="before whatever else runs here, and the API before those who follow and write; takes root",
    )
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench" / "load.json", help="where figures go")
    return parser.parse_args(arguments)


def _measure(part: str, under: Ground, options: argparse.Namespace, report: dict[str, Any]) -> bool:
    """One part, printed and reported; whether its targets were met."""
    share = 10 if options.quick else 1
    if part == "queue":
        rows = measure_queue(under, 150 // share, LONG // share)
        print(queue_table(rows, LONG // share), flush=True)
        report[part] = list(map(asdict, rows))
        return all(row.met for row in rows)
    if part == "submits":
        submitted = measure_submits(under, RATE, 30 / share)
        print(submits_text(submitted), flush=True)
        report[part] = asdict(submitted) | {"answers": figures(submitted.answers)}
        return submitted.kept_up
    if part == "users":
        served = measure_users(under)
        print(users_text(served), flush=True)
        report[part] = asdict(served) | {"answers": figures(served.answers)}
        return served.fair
    met = [_streams(under, crowd, report) for crowd in crowds(1_000 // share, 20 / share**0.5)]
    return all(met)


def _streams(under: Ground, crowd: Crowd, report: dict[str, Any]) -> bool:
    """One crowd of streams, on a service that learned to read digits before."""
    home = under.folder / "home"
    if not home.exists():
        under.deployments |= train(home, ["mlp"])
    done = measure_streams(under, under.deployments["mlp"], crowd)
    print(streams_text(done), flush=True)
    answers = {name: figures(getattr(done, name)) for name in ("alone", "connecting", "beside")}
    report.setdefault("streams", []).append(
        {"crowd": asdict(crowd), "followed": done.followed, "written": done.written, "memory": done.memory} | answers
    )
    return done.complete and done.quick


def figures(answers: Any) -> dict[str, Any]:
    """Answers as they are reported: not each, but how many, and their times in milliseconds."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1.0}
    milliseconds = {name: answers.percentile(share) * 1e3 for name, share in shares.items()}
    return milliseconds | {"answers": len(answers.latencies), "errors": answers.errors[:10], "seconds": answers.seconds}


def _allow_sockets() -> None:
    """A thousand streams are a thousand open files in the API and as many in their client."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _timed(part: str) -> Iterator[None]:
    print(f"\n{part}:", flush=True)
    began = time.perf_counter()
    yield
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except (ContestantFailed, LoadFailed, TrainyardError) as error:
        sys.exit(str(error))

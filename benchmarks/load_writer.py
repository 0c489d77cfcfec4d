"""Stands in for workers: claims jobs and writes their epochs through models.jobs at an even pace; trains nothing.

`python -m benchmarks.load_writer '{"database_url": ..., "jobs": [...], "epochs": 20, "seconds": 20}'`, a process of its
own, prints a line of JSON when it is done.
"""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from models import jobs
from models.database import Database
from models.history import EpochResult
from models.jobs import Status

METRICS = {"loss": 0.25, "accuracy": 0.9375, "val_loss": 0.3125, "val_accuracy": 0.90625}


def main(database_url: str, job_ids: Sequence[str], epochs: int, seconds: float) -> dict[str, float]:
    """Begin every job, write an epoch of each in turn so that all take `seconds`, and end each as succeeded."""
    with closing(Database(database_url)) as database:
        attempts = {job_id: _begin(database, job_id) for job_id in job_ids}
        began = time.perf_counter()
        steps = [(epoch, job_id) for epoch in range(1, epochs + 1) for job_id in job_ids]
        for number, (epoch, job_id) in enumerate(steps):
            time.sleep(max(0.0, began + number * seconds / len(steps) - time.perf_counter()))
            result = EpochResult(epoch, 1.0, 0.001, METRICS)
            with database.write() as session:
                if not jobs.record_epochs(session, job_id, attempts[job_id], [result], result):
                    raise RuntimeError(f"{job_id} was taken away from the stand-in")
        took = time.perf_counter() - began
        for job_id in job_ids:
            with database.write() as session:
                jobs.move(session, job_id, Status.SUCCEEDED)
    return {"wanted_seconds": seconds, "seconds": took, "rows_a_second": len(steps) / took}


def _begin(database: Database, job_id: str) -> int:
    with database.write() as session:
        job = jobs.claim(session, job_id, "stand-in")
    if job is None:
        raise RuntimeError(f"{job_id} is not to be had")
    return job.attempt


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(main(asked["database_url"], asked["jobs"], asked["epochs"], asked["seconds"])))

"""What a job whose workers are lost is said to have died of, from what was last seen of them."""

import pytest

from models import jobs, lost_workers, workers
from models.database import Database
from models.jobs import Job
from models.spec import parse_spec
from models.workers import Worker


@pytest.mark.parametrize(
    ("used", "kills_after", "kind", "told"),
    [
        (7800, 0, "out_of_memory", "it had used 7,800 of 8,000 MB"),
        (3000, 1, "out_of_memory", "the system ended a process there for want of memory"),
        (3000, 0, "worker_lost", "in a row without a new epoch."),
        (None, 0, "worker_lost", "in a row without a new epoch."),
    ],
)
def test_a_job_that_ran_out_of_memory_says_so(
    database: Database, used: int | None, kills_after: int, kind: str, told: str
) -> None:
    with database.write() as session:
        job_id = jobs.create(session, parse_spec({"dataset": "digits"})).id
    for attempt in range(1, lost_workers.MOST_LOSSES + 1):
        for pid, kills, mb in ((2 * attempt, 0, used), (2 * attempt + 1, kills_after, 700)):
            row = Worker(id=f"w{pid}", name=f"a_b-host-{pid}", pid=pid, queues=["train"])
            row.memory_mb, row.used_memory_mb, row.oom_kills = 8000, mb, kills
            with database.write() as session:
                workers.announce(session, row)
        with database.write() as session:
            job = jobs.claim(session, job_id, f"a_b-host-{2 * attempt}")
            assert job is not None
        with database.write() as session:
            assert lost_workers.put_back(session, job_id, attempt, job.heartbeat)
            workers.forget(session, f"w{2 * attempt}")
            workers.forget(session, f"w{2 * attempt + 1}")
    with database.read() as session:
        ended = session.get_one(Job, job_id)
    assert (ended.status, ended.failure_kind) == ("failed", kind)
    assert told in (ended.failure_message or "")

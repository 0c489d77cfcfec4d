"""Jobs submitted at a steady rate, and by many at once: what is answered, what is on record, who is served when."""

import json
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import select

from benchmarks.load import ask, request_bytes
from benchmarks.load_paced import Answers, paced
from benchmarks.load_service import SPEC, Ground, Service
from models import jobs, turns
from models.database import Database
from models.jobs import Job, Status

RATE = 200.0
CONNECTIONS = 32
ADMIN_KEY = "key-of-the-benchmark"
USERS, JOBS_EACH = 30, 5
WORKERS = 2


@dataclass(frozen=True)
class Submitted:
    """What came of a steady rate: the answers, and how many jobs that were answered with 201 are not on record."""

    rate: float
    seconds: float
    answers: Answers
    lost: int
    doubled: int

    @property
    def kept_up(self) -> bool:
        """Whether all were answered, at that rate, and none was lost or doubled."""
        late = self.answers.seconds > self.seconds * 1.05 + 1
        return not (late or self.answers.errors or self.lost or self.doubled)


def measure_submits(ground: Ground, rate: float, seconds: float) -> Submitted:
    """`rate` jobs a second for so long, at one API process."""
    url = ground.database()
    with ground.serving(url) as service:
        requests = [_request(service.port, number) for number in range(round(rate * seconds))]
        paced(service.port, requests[:20], rate, 4)
        answers = paced(service.port, requests[20:], rate, CONNECTIONS, keep=True)
    told = {json.loads(body)["id"] for body in answers.bodies}
    with closing(Database(url)) as database, database.read() as session:
        ids = set(session.scalars(select(Job.id)))
    return Submitted(rate, seconds, answers, len(told - ids), len(ids) - len(requests) + len(answers.errors))


@dataclass(frozen=True)
class Served:
    """What came of many users at once: the answers, how many jobs are on record, and the owners in the order served."""

    users: int
    answers: Answers
    on_record: int
    order: list[str]

    @property
    def fair(self) -> bool:
        """Whether everybody had a turn before anybody had the next one."""
        return in_turn(self.order, self.users) and len(self.order) == self.users * JOBS_EACH == self.on_record


def in_turn(order: list[str], users: int) -> bool:
    """Whether each run of so many turns has every owner once."""
    rounds = [order[start : start + users] for start in range(0, len(order), users)]
    return bool(rounds) and all(len(set(each)) == len(each) for each in rounds)


def measure_users(ground: Ground, users: int = USERS) -> Served:
    """So many users with keys of their own submit their jobs at once; then stand-ins for workers take all of them."""
    url = ground.database()
    with ground.serving(url, TRAINYARD_API_KEYS=ADMIN_KEY) as service:
        # Each asks for all of theirs before the next does, which is how the queue must not be served.
        requests = [_request(service.port, n, key) for key in _keys(service, users) for n in range(JOBS_EACH)]
        answers = paced(service.port, requests, 1e9, users)
    with closing(Database(url)) as database:
        with database.read() as session:
            on_record = len(session.scalars(select(Job.id)).all())
        return Served(users, answers, on_record, serve(database))


def serve(database: Database) -> list[str]:
    """The owners in the order in which two stand-ins for workers take all jobs, one after the other."""
    order: list[str] = []
    running: list[Job] = []
    able = turns.Able(("auto", "cpu"))
    while True:
        with database.write() as session:
            job = turns.take(session, f"stand-in {len(order) % WORKERS}", able, 0)
            if job is None:
                return order
            order.append(job.owner or "")
            running.append(job)
            if len(running) == WORKERS:
                jobs.move(session, running.pop(0).id, Status.SUCCEEDED)


def _keys(service: Service, users: int) -> list[str]:
    body = json.dumps({"owner": "user", "count": users, "scopes": ["read", "submit"]}).encode()
    made = ask(service.port, request_bytes(service.port, "/v1/keys", body, "application/json", ADMIN_KEY))
    return [entry["key"] for entry in json.loads(made)["data"]]


def _request(port: int, number: int, key: str = "") -> bytes:
    return request_bytes(port, "/v1/jobs", json.dumps(SPEC | {"seed": number}).encode(), "application/json", key)

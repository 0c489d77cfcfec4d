"""The users of a run: they submit jobs, follow each to its end, and cancel, pause and submit twice meanwhile."""

import random
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.faults.journal import Journal
from tests.faults.specs import SHARES, Json, spec_of
from trainyard import Client
from trainyard.errors import TrainyardError

ANSWER_SECONDS = 240
# What a service says that will take the same request later.
LATER = frozenset({429, 502, 503, 504, 507})
ACTS = {"": 12, "change": 8, "cancel": 2, "cancel keep_model": 2, "pause": 4, "pause, cancel keep_model": 2}
SHARE_OF_TWICE = 0.4
ACTIVE = 6
CHANGE = {"learning_rate": {"type": "cosine_decay", "initial_learning_rate": 0.02, "decay_steps": 2000}}


@dataclass(frozen=True)
class Plan:
    """What a user does: a job of this kind, sent twice at once or not, and an act after so many events."""

    name: str
    kind: str
    twice: bool
    act: str
    after: int
    delay: float


@dataclass
class Asked:
    """A job that was answered with 201, and all that its user saw of it."""

    plan: Plan
    job_id: str
    seqs: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    acts: list[str] = field(default_factory=list)


def plans(seed: int, count: int) -> list[Plan]:
    """What the users of a run do, drawn from its seed."""
    chance = random.Random(f"{seed}/users")
    drawn = []
    for number in range(1, count + 1):
        kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
        act = chance.choices(list(ACTS), list(ACTS.values()))[0]
        plan = Plan(
            f"{kind} {number}", kind, chance.random() < SHARE_OF_TWICE, act, chance.randint(1, 25), chance.uniform(0, 6)
        )
        drawn.append(plan)
    return drawn


class Users:
    """All users of a deployment; each answer that nobody should ever get is a violation."""

    def __init__(self, urls: tuple[str, ...], journal: Journal) -> None:
        self.asked: list[Asked] = []
        self.sent_twice = self._lost = 0
        self._urls, self._journal = urls, journal
        self._threads: list[threading.Thread] = []
        self._http = httpx2.Client(timeout=40, trust_env=False, limits=httpx2.Limits(max_connections=None))

    def submit(self, plan: Plan, source: str | None = None) -> Asked:
        """Submit the plan's job, follow it from now on, and do to it what the plan says.

        An export writes the model of the job `source`, and a verification trains that again.
        """
        data = self.answer("GET", f"/v1/jobs/{source}").json()["spec"]["dataset"] if plan.kind == "verify" else None
        spec = spec_of(plan.kind, plan.name, source, data)
        key = secrets.token_hex(8)
        ids: list[str] = []
        times = 2 if plan.twice else 1
        self.sent_twice += times - 1
        senders = [threading.Thread(target=lambda: ids.append(self._sent(spec, key))) for _ in range(times)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        if len(set(ids)) != 1:
            self._journal.violation(f"{plan.name}: one key, two answers: {ids}")
        asked = Asked(plan, ids[0])
        self.asked.append(asked)
        self._begin(self._follow, asked)
        if plan.act:
            self._begin(self._act, asked)
        return asked

    def feed(self, drawn: list[Plan], exported: str) -> threading.Thread:
        """Submit job after job so that several are active all the time; the thread that does it."""

        def submit_all() -> None:
            for plan in drawn:
                while self.active >= ACTIVE:
                    time.sleep(0.05)
                self.submit(plan, exported)

        return self._begin(submit_all)

    @property
    def active(self) -> int:
        """How many jobs have not been seen to end."""
        return sum(not asked.ended.is_set() for asked in self.asked)

    def answer(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        """Ask one API after another until one gives an answer that is not for later."""
        return next(self._answers(method, path, **arguments))

    def close(self) -> None:
        """Let everybody go home."""
        for thread in self._threads:
            thread.join(timeout=10)
        self._http.close()

    def _begin(self, what: Any, *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _answers(self, method: str, path: str, **arguments: Any) -> Iterator[httpx2.Response]:
        """Answers that are not for later; who is not content takes the next."""
        began, last = time.monotonic(), "nothing"
        while time.monotonic() - began < ANSWER_SECONDS:
            try:
                response = self._http.request(method, secrets.choice(self._urls) + path, **arguments)
            except httpx2.TransportError as error:
                last, self._lost = repr(error), self._lost + 1
            else:
                last = f"{response.status_code} {response.text[:300]}"
                self._lost += response.status_code >= 500
                if response.status_code not in LATER:
                    if response.status_code >= 500:
                        self._journal.violation(f"{method} {path} was answered {last}")
                    else:
                        yield response
            time.sleep(0.25)
        raise TimeoutError(f"{method} {path}: for {ANSWER_SECONDS} s no answer but {last}")

    def _sent(self, spec: Json, key: str) -> str:
        """The id of the job that a POST made, however often it has to be sent."""
        response = self.answer("POST", "/v1/jobs", json=spec, headers={"Idempotency-Key": key})
        if response.status_code != 201:
            self._journal.violation(f"{spec['name']}: {response.status_code} {response.text[:300]}")
            raise LookupError(spec["name"])
        return str(response.json()["id"])

    def _follow(self, asked: Asked) -> None:
        url = self._urls[len(self.asked) % len(self._urls)]
        with Client(url) as client:
            while True:
                try:
                    for event in client.events(asked.job_id, (asked.seqs or [0])[-1], patience=ANSWER_SECONDS):
                        asked.seqs.append(event["seq"])
                    break
                except TrainyardError as error:
                    self._journal.violation(f"{asked.plan.name}: its follower at {url} was told: {error}")
                    time.sleep(1)
        asked.ended.set()

    def _act(self, asked: Asked) -> None:
        plan = asked.plan
        while len(asked.seqs) < plan.after and not asked.ended.is_set():
            time.sleep(0.02)
        if plan.act == "change":
            self._change(asked)
        elif plan.act.startswith("pause"):
            self._pause(asked)
        else:
            self._post(asked, "cancel", json={"keep_model": plan.act.endswith("keep_model")})

    def _change(self, asked: Asked) -> None:
        """Two changes, of which the second may be asked while the first is lost with its worker."""
        # Where the plateau rule lowers the rate, it has to stay a number.
        second = {"learning_rate": 0.006} if asked.plan.kind == "plateau" else CHANGE
        for what in ({"learning_rate": 0.004}, second):
            key = secrets.token_hex(8)
            self._post(asked, "change", "changes", json=what, headers={"Idempotency-Key": key})
            time.sleep(asked.plan.delay)

    def _pause(self, asked: Asked) -> None:
        self._post(asked, "pause")
        time.sleep(asked.plan.delay)
        if asked.plan.act.endswith("keep_model"):
            self._post(asked, "cancel", json={"keep_model": True})
            return
        for response in self._answers("GET", f"/v1/jobs/{asked.job_id}"):
            job = response.json()
            if job["is_terminal"] or (job["status"] != "paused" and job["requested"] != "pause"):
                return
            self._post(asked, "resume")

    def _post(self, asked: Asked, act: str, path: str = "", **arguments: Any) -> None:
        """Ask it of the job, and note whether that was taken; 409 is the answer to who comes too late."""
        before = self._lost
        response = self.answer("POST", f"/v1/jobs/{asked.job_id}/{path or act}", **arguments)
        if response.status_code in (200, 201, 202):
            asked.acts.append(act)
        elif response.status_code != 409:
            told = f"{response.status_code} {response.text[:300]}"
            self._journal.violation(f"{asked.plan.name}: {act} was answered {told}")
        elif self._lost > before:
            # Perhaps it was taken, and the answer got lost.
            asked.acts.append(f"perhaps {act}")

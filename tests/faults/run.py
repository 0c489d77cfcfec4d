"""One run: deploy, train each spec undisturbed, put faults under running jobs, heal, and check everything."""

import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.faults.checks import Checks
from tests.faults.deployment import Deployment, deployed
from tests.faults.inflict import heal_all, inflict
from tests.faults.journal import Journal
from tests.faults.processes import marked
from tests.faults.schedule import Round, draw
from tests.faults.users import Plan, Users, plans
from tests.servers import wait_until

HEALTH_EVERY, HEALTH_SECONDS = 5, 180
END_SECONDS = 1800
LEFTOVER_SECONDS = 60
UNDISTURBED = "undisturbed"


def tracebacks(folder: Path) -> Counter[str]:
    """The last lines of all tracebacks in a folder's logs, and how often each is there."""
    found: Counter[str] = Counter()
    for log in folder.glob("*.log"):
        inside = False
        for line in log.read_text(errors="replace").splitlines():
            # `up` puts the name of the program before what it says.
            said = re.sub(r"^[a-z0-9-]+ *\| ?", "", line)
            if said.startswith("Traceback"):
                inside = True
            elif inside and said and not said[0].isspace():
                inside = False
                found[re.sub(r"0x[0-9a-f]+|job_\w+|\d{4,}", "...", said)] += 1
    return found


class Run:
    """A run on one deployment; what must not be goes into the journal."""

    def __init__(self, name: str, seed: int, faults: int, jobs: int, folder: Path, journal: Journal) -> None:
        self._name, self._seed, self._folder, self._journal = name, seed, folder, journal
        self._count, self._jobs = faults, jobs
        self._done = 0
        self._kinds: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)

    def go(self) -> None:
        """Do all of it."""
        journal = self._journal
        journal.say(f"{self._name}: seed {self._seed}, {self._count} faults under {self._jobs} jobs; {self._folder}")
        with deployed(self._name, self._folder) as made:
            journal.say(f"ready: {', '.join(made.urls)}; its disk is {'' if made.disk.mounted else 'not '}its own")
            users = Users(made.urls, journal)
            drawn = plans(self._seed, self._jobs)
            references = self._train_undisturbed(users, {plan.kind for plan in drawn} | {"plain"})
            feeder = users.feed(drawn, references["plain"])
            self._inflict_all(made, users, feeder)
            self._await_the_end(made, users, feeder)
            self._train_again(users)
            self._check(made, users, references)
            users.close()
            codes = made.keeper.close()
            # uvicorn ends in order and then by the signal that asked for it.
            if bad := {name: code for name, code in codes.items() if code not in (0, -signal.SIGTERM)}:
                journal.violation(f"asked to end, these did not end well: {bad}")
        self._await_no_process(made.mark)

    def _train_undisturbed(self, users: Users, kinds: set[str]) -> dict[str, str]:
        """The job of each kind that nothing happens to; `plain` is the first, which an export needs."""
        began, references = time.monotonic(), dict[str, str]()
        for some in (["plain"], sorted(kinds - {"plain"})):
            quiet = [Plan(f"{UNDISTURBED} {kind}", kind, twice=False, act="", after=0, delay=0) for kind in some]
            asked = [users.submit(plan, references.get("plain")) for plan in quiet]
            wait_until(lambda: users.active == 0, "the end of what is undisturbed", END_SECONDS)
            references |= {one.plan.kind: one.job_id for one in asked}
        self._journal.say(f"{len(references)} specs trained undisturbed in {time.monotonic() - began:.0f} s")
        return references

    def _inflict_all(self, made: Deployment, users: Users, feeder: threading.Thread) -> None:
        began = time.monotonic()
        healthy_at = 0
        for round_ in draw(self._seed, self._name, self._count):
            self._inflict(made, users, round_)
            time.sleep(round_.pause)
            if self._done - healthy_at >= HEALTH_EVERY:
                healthy_at = self._done
                self._await_health(made, users, feeder)
        seconds = time.monotonic() - began
        self._journal.say(f"{self._done} faults in {seconds:.0f} s, {seconds / self._done:.1f} s each")

    def _inflict(self, made: Deployment, users: Users, round_: Round) -> None:
        pending: list[tuple[float, Callable[[], object]]] = []
        for number, fault in enumerate(round_.faults):
            if number:
                time.sleep(round_.gap)
            began = time.monotonic()
            hit, heal = inflict(made, fault)
            self._done += 1
            self._kinds[fault.kind] += 1
            self._seconds[fault.kind] += time.monotonic() - began + fault.seconds
            pending.append((time.monotonic() + fault.seconds, heal))
            lasts = f" for {fault.seconds:.1f} s" if fault.seconds else ""
            ended = len(users.asked) - users.active
            self._journal.say(
                f"{self._name} seed {self._seed} fault {self._done}/{self._count} {fault.kind}: {hit}{lasts}"
                f"; {ended} jobs ended, {users.active} active"
            )
        for what in heal_all(pending):
            self._journal.violation(what)

    def _await_health(self, made: Deployment, users: Users, feeder: threading.Thread) -> None:
        """A moment in which nothing is hurt: everything is up again and some job gets on."""
        began, seen = time.monotonic(), sum(len(asked.seqs) for asked in users.asked)

        def well() -> bool:
            news = sum(len(asked.seqs) for asked in users.asked) > seen
            return made.ready() and (news or not users.active or not feeder.is_alive())

        try:
            wait_until(well, "health", HEALTH_SECONDS)
        except TimeoutError as error:
            self._journal.violation(f"{error}: the service did not recover by itself")
        self._journal.say(f"healthy after {time.monotonic() - began:.1f} s")

    def _await_the_end(self, made: Deployment, users: Users, feeder: threading.Thread) -> None:
        for clock in ("api", "worker"):
            made.step_clock(clock, 0.0)
        began = time.monotonic()
        try:
            wait_until(lambda: not feeder.is_alive() and users.active == 0, "the end of every job", END_SECONDS)
        except TimeoutError as error:
            self._journal.violation(str(error))
        if missing := self._jobs - sum(not asked.plan.name.startswith(UNDISTURBED) for asked in users.asked):
            self._journal.violation(f"{missing} jobs of {self._jobs} could not be submitted")
        self._journal.say(f"all is healed; every job ended after {time.monotonic() - began:.0f} s more")

    def _train_again(self, users: Users) -> None:
        """Have every job that was changed on its way, and has a model, verified."""
        changed = [asked for asked in users.asked if {"change", "perhaps change"} & set(asked.acts)]
        for asked in changed:
            if users.answer("GET", f"/v1/jobs/{asked.job_id}").json()["model"] is not None:
                again = Plan(f"{asked.plan.name} again", "verify", twice=False, act="", after=0, delay=0)
                users.submit(again, asked.job_id)
        wait_until(lambda: users.active == 0, "the end of every verification", END_SECONDS)

    def _check(self, made: Deployment, users: Users, references: dict[str, str]) -> None:
        checks = Checks(made, users, references)
        for what in checks.all():
            self._journal.violation(what)
        left: list[str] = []

        def clean() -> bool:
            left[:] = checks.leftovers()
            return not left

        try:
            wait_until(clean, "a store without leftovers", LEFTOVER_SECONDS)
        except TimeoutError:
            self._journal.violation(f"{len(left)} files are left over in the store: {', '.join(left[:10])}")
        self._summarize(checks, users)

    def _summarize(self, checks: Checks, users: Users) -> None:
        lines = [f"{'kind of fault':<24}{'faults':>8}{'seconds':>9}"]
        lines += [f"{kind:<24}{count:>8}{self._seconds[kind]:>9.0f}" for kind, count in sorted(self._kinds.items())]
        lines += [f"{'in all':<24}{self._kinds.total():>8}{sum(self._seconds.values()):>9.0f}", ""]
        lines += [f"{'jobs ended':<24}{'jobs':>8}"]
        lines += [f"{how:<24}{count:>8}" for how, count in sorted(checks.failures().items())]
        attempts = Counter(job.attempt for job in checks.jobs.values())
        took = ", ".join(f"{count} jobs took {number}" for number, count in sorted(attempts.items()))
        lines += ["", f"attempts: {took}; succeeded at a later one: {checks.resumed}"]
        lines += [f"weights and epochs compared bit for bit with undisturbed ones: {checks.compared}"]
        lines += [f"changed, and verified: {checks.verified}, {checks.verified_after_losses} of them interrupted"]
        acts = Counter(act for asked in users.asked for act in asked.acts)
        lines += [f"models asked: {checks.predicted}; users' acts: {dict(acts)}; sent twice: {users.sent_twice}"]
        lines += ["", "what the services' logs have of tracebacks:"]
        lines += [f"{count:>8} {what[:150]}" for what, count in tracebacks(self._folder).most_common()]
        self._journal.write("\n".join(lines))

    def _await_no_process(self, mark: str) -> None:
        try:
            wait_until(lambda: not marked(mark), "the end of every process")
        except TimeoutError:
            self._journal.violation(f"processes are left over: {marked(mark)}")

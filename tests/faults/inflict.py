"""How each kind of fault is done, and undone."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.faults.deployment import Deployment
from tests.faults.processes import Process, alive, marked
from tests.faults.proxy import Proxy
from tests.faults.schedule import LARGEST_STEP_SECONDS, Fault
from tests.servers import wait_until

TARGET_SECONDS = 180
KILLED = {
    "kill-training": ("training", signal.SIGKILL),
    "kill-worker": ("worker", signal.SIGKILL),
    "stop-worker": ("worker", signal.SIGTERM),
    "kill-supervisor": ("supervisor", signal.SIGKILL),
    "stop-supervisor": ("supervisor", signal.SIGINT),
    "kill-api": ("api", signal.SIGKILL),
    "kill-broker": ("broker", signal.SIGKILL),
    "kill-database": ("database", signal.SIGKILL),
}
FROZEN = {"freeze-training": "training", "freeze-api": "api"}
LINKS = {
    "cut-worker-database": ("worker", "database"),
    "freeze-worker-database": ("worker", "database"),
    "cut-api-database": ("api", "database"),
    "freeze-api-database": ("api", "database"),
    "cut-broker": ("", "broker"),
    "freeze-broker": ("", "broker"),
}


def inflict(made: Deployment, fault: Fault) -> tuple[str, Callable[[], object]]:
    """Begin a fault; what was hit, and how it is healed."""
    if fault.kind in KILLED:
        role, number = KILLED[fault.kind]
        process, all_of_it = _hit(made, role, fault.pick, number), marked(made.mark)
        if role == "supervisor":
            return f"supervisor {process.pid}", partial(_await_ends, [p for p in all_of_it if p.parent != os.getpid()])
        return f"{role} {process.pid}", _nothing
    if fault.kind in FROZEN:
        process = _hit(made, FROZEN[fault.kind], fault.pick, signal.SIGSTOP)
        return f"{FROZEN[fault.kind]} {process.pid}", partial(process.send, signal.SIGCONT)
    if fault.kind in LINKS:
        return _hurt_link(made, fault)
    return OTHERS[fault.kind](made, fault)


def _nothing() -> None:
    """What was killed is started again by others."""


def _await_ends(processes: list[Process]) -> None:
    """A supervisor takes everything along."""
    wait_until(lambda: not any(map(alive, processes)), f"the end of {processes}", TARGET_SECONDS)


def _hit(made: Deployment, role: str, pick: float, number: signal.Signals) -> Process:
    """Send a signal to a process of that role, once there is one."""
    hit: list[Process] = []

    def try_once() -> bool:
        found = made.of_role(role)
        if found and (chosen := found[int(pick * len(found))]).send(number):
            hit.append(chosen)
        return bool(hit)

    wait_until(try_once, f"a process that is {role}", TARGET_SECONDS)
    return hit[0]


def _hurt_link(made: Deployment, fault: Fault) -> tuple[str, Callable[[], object]]:
    begin, end = LINKS[fault.kind]
    names = [name for name in made.links if name.startswith(begin) and name.endswith(end)]
    name = names[int(fault.pick * len(names))]
    proxy: Proxy = made.links[name]
    if fault.kind.startswith("cut"):
        proxy.cut()
        return name, proxy.heal
    proxy.freeze()
    return name, partial(_wake, proxy, late=fault.amount > 0)


def _wake(proxy: Proxy, late: bool) -> None:
    """What was held up comes late, or the line turns out to be dead."""
    if not late:
        proxy.cut()
    proxy.heal()


def _lock_database(made: Deployment, _: Fault) -> tuple[str, Callable[[], object]]:
    connection = sqlite3.connect(
        made.database_url.removeprefix("sqlite:///"), timeout=30, isolation_level=None, check_same_thread=False
    )
    connection.execute("BEGIN IMMEDIATE")
    return "SQLite's write lock", connection.close


def _restart_database(made: Deployment, fault: Fault) -> tuple[str, Callable[[], object]]:
    """PostgreSQL's own ways: immediate leaves recovery to the next start, fast breaks every connection first."""
    number = signal.SIGQUIT if fault.amount > 0 else signal.SIGINT
    process = _hit(made, "database", fault.pick, number)
    return f"database {process.pid} by {number.name}", _nothing


def _flush(made: Deployment, _: Fault) -> tuple[str, Callable[[], object]]:
    wait_until(made.flush_broker, "the broker", TARGET_SECONDS)
    return "the broker", _nothing


def _take_store_away(made: Deployment, _: Fault) -> tuple[str, Callable[[], object]]:
    made.disk.away()
    return "the artifacts' folder", made.disk.back


def _fill_store(made: Deployment, _: Fault) -> tuple[str, Callable[[], object]]:
    made.disk.full([process.pid for process in made.of_role("training")])
    return "the artifacts' disk" if made.disk.mounted else "the length of files", made.disk.roomy


def _step_clock(made: Deployment, fault: Fault) -> tuple[str, Callable[[], object]]:
    clock = "api" if fault.pick < 0.5 else "worker"
    # Small steps are as likely as large ones.
    seconds = (1 if fault.amount > 0 else -1) * LARGEST_STEP_SECONDS ** abs(fault.amount)
    made.step_clock(clock, seconds)
    return f"the {clock}'s clock is wrong by {seconds:.0f} s", _nothing


OTHERS: dict[str, Callable[[Deployment, Fault], tuple[str, Callable[[], object]]]] = {
    "lock-database": _lock_database,
    "restart-database": _restart_database,
    "flush-broker": _flush,
    "store-away": _take_store_away,
    "store-full": _fill_store,
    "step-clock": _step_clock,
}


def heal_all(pending: list[tuple[float, Callable[[], object]]]) -> Iterator[str]:
    """Wait for the end of each pending fault, in order of their ends, and heal it; what did not come of it."""
    for ends, heal in sorted(pending, key=lambda entry: entry[0]):
        time.sleep(max(0.0, ends - time.monotonic()))
        try:
            heal()
        except TimeoutError as error:
            yield str(error)

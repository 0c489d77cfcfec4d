"""What the harness itself does: a schedule of one seed, links that break and heal, programs kept, clocks shifted."""

import os
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.faults.inflict import FROZEN, KILLED, LINKS, OTHERS
from tests.faults.keeper import Keeper
from tests.faults.processes import MARK, Process, marked
from tests.faults.proxy import Proxy
from tests.faults.schedule import WEIGHTS, draw
from tests.faults.users import plans
from tests.servers import wait_until


@pytest.mark.parametrize("deployment", WEIGHTS)
def test_a_seed_gives_one_schedule_in_which_every_kind_has_its_share(deployment: str) -> None:
    rounds = draw(7, deployment, 60)
    kinds = Counter(fault.kind for round_ in rounds for fault in round_.faults)
    assert kinds.total() == 60
    assert kinds.keys() == WEIGHTS[deployment].keys() <= KILLED.keys() | FROZEN.keys() | LINKS.keys() | OTHERS.keys()
    assert rounds == draw(7, deployment, 60) != draw(8, deployment, 60)
    assert plans(7, 24) == plans(7, 24) != plans(8, 24)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(line,), daemon=True).start()

        def answer(line: socket.socket) -> None:
            with line, suppress(OSError):
                while data := line.recv(100):
                    line.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_link_is_cut_refused_frozen_and_healed(echo: int) -> None:
    with closing(Proxy(echo)) as proxy:
        address = ("127.0.0.1", proxy.port)
        with socket.create_connection(address, timeout=10) as line:
            line.sendall(b"one")
            assert line.recv(10) == b"one"
            proxy.freeze()
            line.sendall(b"two")
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                line.recv(10)
            line.settimeout(10)
            proxy.heal()
            assert line.recv(10) == b"two"
            proxy.cut()
            with suppress(ConnectionResetError):
                assert line.recv(10) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=10)
        proxy.heal()
        with socket.create_connection(address, timeout=10) as line:
            line.sendall(b"three")
            assert line.recv(10) == b"three"


def test_a_kept_program_is_started_again_until_it_is_stopped(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.start("sleeper", ["sleep", "60"], {MARK: tmp_path.name, "PATH": os.environ["PATH"]})
    wait_until(lambda: keeper.starts("sleeper") == 1 and sleepers(tmp_path.name) != [], "the first start")
    for process in sleepers(tmp_path.name):
        os.kill(process.pid, 9)
    wait_until(lambda: keeper.starts("sleeper") == 2, "the second start")
    assert keeper.close() == {"sleeper": -15}
    assert sleepers(tmp_path.name) == []


def sleepers(mark: str) -> list[Process]:
    """Not the Redis of the other tests, which is a child of this process too."""
    return [process for process in marked(mark) if process.command.startswith("sleep")]


def test_clocks_are_shifted_for_who_is_meant_and_take_steps(tmp_path: Path) -> None:
    for clock, wrong in (("api", -7200.0), ("worker", 3600.0)):
        (tmp_path / clock).write_bytes(struct.pack("d", wrong))
    environment = {"FAULTS_CLOCKS": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent / "clock")}
    code = (
        "import datetime, time, sys; true = time.clock_gettime(time.CLOCK_REALTIME);"
        "seen = [time.time(), time.time_ns() / 1e9, datetime.datetime.now(datetime.UTC).timestamp(),"
        "datetime.datetime.now().timestamp(), datetime.datetime.utcnow().replace(tzinfo=datetime.UTC).timestamp()];"
        "print(*(round((moment - true) / 60) for moment in seen), type(datetime.datetime.now()).__name__)"
    )
    for word, minutes in (("uvicorn", -120), ("celery", 60), ("pytest", 0)):
        command = [sys.executable, "-W", "ignore", "-c", code, word]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(minutes)] * 5 + ["datetime"]

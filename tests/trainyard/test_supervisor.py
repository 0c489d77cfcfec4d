"""The supervisor, as a real process with real children: order, restarts, the end, and what a SIGKILL leaves."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trainyard.processes import alive, pids, wait_for

ROOT = Path(__file__).parents[2]


class Yard:
    """A running supervisor over stand-ins; its output goes to a file."""

    def __init__(self, folder: Path, *names: str, **environment: str) -> None:
        self.folder = folder
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.trainyard.yard", str(folder), *names],
                cwd=ROOT,
                env=dict(os.environ) | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The tests themselves may run under nohup, which children would take over.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    def output(self) -> str:
        return self._log.read_text()

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.output())

    def pid(self, name: str, nth: int = 1) -> int:
        return wait_for(lambda: pids(self.folder, name)[nth - 1 : nth])[0]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    yards: list[Yard] = []

    def make(*names: str, **environment: str) -> Yard:
        yards.append(Yard(tmp_path, *names, **environment))
        return yards[-1]

    yield make
    for one in yards:
        one.end()


def test_the_next_starts_when_the_one_before_is_healthy_and_lines_carry_names(yard: Callable[..., Yard]) -> None:
    one = yard("slow", "plain")
    one.until("plain     | hello from plain")
    lines = one.output().splitlines()
    assert lines.index("started slow") < lines.index("plain     | hello from plain")
    assert (one.folder / "slow.ready").exists()
    assert "\x1b" not in one.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_in_order_with_exit_code_0(yard: Callable[..., Yard], number: signal.Signals) -> None:
    one = yard("last", "first")
    one.until("first is up")
    one.until("last is up")
    running = [one.pid("last"), one.pid("first")]
    one.process.send_signal(number)
    assert one.process.wait(10) == 0
    assert not any(alive(pid) for pid in running)
    lines = one.output().splitlines()
    assert lines.index("first     | first ends") < lines.index("last      | last ends")


def test_the_end_of_the_terminal_is_ignored_under_nohup(tmp_path: Path) -> None:
    command = f'trap "" HUP; exec {sys.executable} -m tests.trainyard.yard {tmp_path} plain'
    with subprocess.Popen(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("all started" in line for line in process.stdout)
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert "Received SIGTERM" in process.stdout.read()
    assert process.returncode == 0


def test_a_program_that_ignores_sigterm_is_killed_in_the_end(yard: Callable[..., Yard]) -> None:
    one = yard("stubborn", YARD_STOP="0.3")
    one.until("stubborn is up")
    one.process.terminate()
    assert one.process.wait(10) == 0
    assert not alive(one.pid("stubborn"))


def test_a_second_ctrl_c_kills_at_once(yard: Callable[..., Yard]) -> None:
    one = yard("stubborn", YARD_STOP="60")
    one.until("stubborn is up")
    one.process.send_signal(signal.SIGINT)
    one.until("Received SIGINT")
    assert alive(one.pid("stubborn"))
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(10) == 0
    assert not alive(one.pid("stubborn"))


def test_a_killed_program_is_started_again_and_its_orphans_are_ended(yard: Callable[..., Yard]) -> None:
    one = yard("parent")
    killed, orphan = one.pid("parent"), one.pid("child")
    os.kill(killed, signal.SIGKILL)
    assert one.pid("parent", nth=2) != killed
    wait_for(lambda: not alive(orphan))
    assert "parent was ended by SIGKILL" in one.output()
    assert alive(one.pid("child", nth=2))


def test_a_program_that_keeps_crashing_is_given_up_with_exit_code_1(yard: Callable[..., Yard]) -> None:
    one = yard("plain", "crashing")
    assert one.process.wait(10) == 1
    assert len(pids(one.folder, "crashing")) == 4
    assert "crashing ended with exit code 3" in one.output()
    assert "given up after 4 such ends" in one.output()
    assert not alive(one.pid("plain"))


@pytest.mark.parametrize(
    ("name", "start", "sentence"),
    [
        ("unready", "20", "unready ended with exit code 4 before it answered."),
        ("never", "0.5", "never did not answer within 0.5 seconds."),
    ],
)
def test_one_that_never_gets_healthy_ends_the_start(
    yard: Callable[..., Yard], name: str, start: str, sentence: str
) -> None:
    one = yard("plain", name, "slow", YARD_START=start)
    assert one.process.wait(10) == 1
    assert sentence in one.output()
    assert pids(one.folder, "slow") == []
    assert not any(alive(pid) for pid in pids(one.folder, "plain") + pids(one.folder, name))


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, marks=pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")),
        {"TRAINYARD_TETHER_WATCH": "1"},
    ],
    ids=["the kernel ends them", "a watching parent ends them"],
)
def test_a_supervisor_that_is_killed_leaves_nothing_behind(
    yard: Callable[..., Yard], environment: dict[str, str]
) -> None:
    one = yard("plain", "stubborn", **environment)
    one.until("stubborn is up")
    running = [one.pid("plain"), one.pid("stubborn")]
    one.process.kill()
    wait_for(lambda: not any(alive(pid) for pid in running))


def test_the_watching_parent_passes_the_end_on(yard: Callable[..., Yard]) -> None:
    one = yard("first", TRAINYARD_TETHER_WATCH="1")
    one.until("first is up")
    running = one.pid("first")
    one.process.terminate()
    assert one.process.wait(10) == 0
    assert not alive(running)
    assert "first ends" in one.output()


def test_the_tether_refuses_to_start_for_a_parent_that_has_gone(tmp_path: Path) -> None:
    tether = ROOT / "trainyard" / "tether.py"
    command = [sys.executable, "-I", "-S", str(tether), str(os.getpid() + 1), "touch", str(tmp_path / "ran")]
    assert subprocess.run(command, check=False).returncode == 0
    assert not (tmp_path / "ran").exists()

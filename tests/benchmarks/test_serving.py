"""The benchmark of prediction: its client, its hold on the servers' processes, its tables and its options."""

import io
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.beside import photograph
from benchmarks.load import Load, LoadFailed, ask, body_of, is_complete, load, request_bytes
from benchmarks.rounds import ROOT, ContestantFailed
from benchmarks.served import ENDPOINTS, PROGRAMS, picture_of
from benchmarks.servers import PROC, Server, free_port, lives, processes_of
from benchmarks.serving import CASES, chosen, disagree, installed, parse, take_turns
from benchmarks.serving_table import Figures, Row, rendered, verdicts
from tests.servers import wait_until

linux = pytest.mark.skipif(not PROC.exists(), reason="it reads /proc")

# Starts a process that leaves the session, then becomes a server.
RUNAWAY = """
import runpy, subprocess, sys
print("as I was saying", flush=True)
subprocess.Popen(["sleep", "60"], start_new_session=True)
runpy.run_path("benchmarks/rivals/ceiling.py", run_name="__main__")
"""


LETTERS = st.characters(codec="utf-8", exclude_characters="\r")


def ceiling(port: int, *command: str, request: bytes | None = None) -> Server:
    """A server that answers everything alike, by default the plain one."""
    command = command or (sys.executable, "benchmarks/rivals/ceiling.py")
    return Server("ceiling", [*command, str(port)], {}, port, request or request_bytes(port, "/"))


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60),
    st.integers(1, 20),
    st.booleans(),
    st.data(),
)
def test_an_answer_is_complete_with_its_last_byte(text: str, size: int, chunked: bool, data: st.DataObject) -> None:
    body = text.encode()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nserver: a0"
    if chunked:
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        answer = b"%b\r\n\r\n%b0\r\n\r\n" % (head, chunks)
    else:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nserver: a0\r\n\r\n%b" % (len(body), body)
    assert is_complete(answer)
    assert body_of(answer) == body
    assert not is_complete(answer[: data.draw(st.integers(0, len(answer) - 1))])


@linux
def test_a_server_is_kept_busy_and_nothing_of_it_is_left() -> None:
    port = free_port()
    small, large = request_bytes(port, "/"), request_bytes(port, "/", b"x" * 1_000_000, "text/plain")
    with ceiling(port, sys.executable, "-c", RUNAWAY) as server:
        assert server.first_answer == ask(port, large) == b"{}"
        done = load(port, small, 3, 0.5)
        assert len(done.latencies) > 3
        assert 0 < min(done.latencies) <= done.percentile(0.5) <= done.percentile(1) <= done.seconds
        family = processes_of(server._process.pid)
        assert server.memory() > 1
        assert server.processor_seconds() > 0
    assert len(family) == 2
    assert not any(map(lives, family))


@linux
def test_a_server_that_ends_is_blamed_with_what_it_said() -> None:
    command = (sys.executable, "-c", "print('no such model'); raise SystemExit(3)")
    with pytest.raises(ContestantFailed, match=r"(?s)^ceiling ended with code 3:.*no such model"), ceiling(1, *command):
        pass


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@linux
def test_an_answer_that_is_not_200_is_an_error_with_what_it_said() -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port), "the server")
            with pytest.raises(LoadFailed, match="404"):
                load(port, request_bytes(port, "/none"), 1, 0.1)
        finally:
            process.kill()


def test_nearest_rank_and_rate() -> None:
    done = Load(2.0, [0.4, 0.1, 0.2, 0.3], 0)
    assert (done.percentile(0.5), done.percentile(0.99), done.percentile(1), done.rate) == (0.3, 0.4, 0.4, 2.0)


@linux
def test_contestants_take_turns() -> None:
    port = free_port()
    picture = picture_of(28)
    with ceiling(port) as server:
        rows = take_turns({"ceiling": server}, ["ceiling"], picture, Namespace(rounds=2, seconds=0.02))
    (row,) = rows
    assert {at: len(figures.rates) for at, figures in row.by_concurrency.items()} == {1: 2, 16: 2}
    assert "ceiling" in rendered(rows)


def row(name: str, rate: float, p50: float = 0.5, stalls: int = 0) -> Row:
    """A contestant with the same figures at both concurrencies."""
    by_concurrency = {
        at: Figures([rate, rate * 2], [p50] * 2, [p50] * 2, [p50] * 2, [100.0] * 2, stalls) for at in (1, 16)
    }
    return Row(name, 100.0, 1.0, by_concurrency)


def test_targets_are_judged_against_those_who_are_there() -> None:
    said = verdicts([row("livez", 9000), row("trainyard", 2600), row("bentoml", 900), row("litserve", 1000)])
    assert [sentence.rpartition(": ")[2] for sentence in said] == ["met", "MISSED", "met", "met"]
    assert "2.89 and 2.89 times bentoml" in said[1]
    assert verdicts([row("livez", 9000)]) == []


@pytest.mark.parametrize(
    ("rate", "p50", "alive", "verdict"),
    [(2600, 0.9, 9000, "met"), (2600, 1.1, 9000, "MISSED"), (1600, 0.9, 9000, "MISSED"), (300, 3.0, 800, "met")],
)
def test_a_slow_machine_is_judged_by_a_third_of_livez(rate: float, p50: float, alive: float, verdict: str) -> None:
    assert verdicts([row("livez", alive), row("trainyard", rate, p50)])[0].endswith(verdict)


def test_a_stall_is_a_miss() -> None:
    assert verdicts([row("trainyard", 3000, stalls=1)])[-1] == "2 stalls over 50 ms, none: MISSED"


def test_answers_agree_within_rounding() -> None:
    assert not disagree([])
    assert not disagree([(2, 0.5), (2, 0.50001)])
    assert disagree([(2, 0.5), (2, 0.501)])
    assert disagree([(2, 0.5), (3, 0.5)])


def test_pictures_are_as_mnist_stores_them_or_on_paper() -> None:
    stored, paper = (np.asarray(Image.open(io.BytesIO(picture_of(size)))) for size in (28, 120))
    assert (stored.shape, stored[0].max()) == ((28, 28), 0)
    assert (paper.shape, paper[0].min() > 200) == ((120, 120), True)


def test_who_is_not_installed_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.serving.RIVALS", tmp_path)
    assert installed("trainyard")
    assert not installed("bentoml")
    assert capsys.readouterr().out == "bentoml: skipped: not installed (make bench-serving-setup)\n"


def test_every_contestant_has_a_server() -> None:
    assert {endpoint.program for endpoint in ENDPOINTS.values()} == set(PROGRAMS)


def test_cases() -> None:
    assert parse([]).cases == list(CASES)
    assert parse(["--quick"]).cases == [("mlp", 28)]
    assert chosen(None, [28, 512], True) == [("mlp", 28), ("mlp", 512)]
    assert chosen(["cnn"], None, False) == [("cnn", 28)]


@pytest.mark.parametrize("options", [["--rounds", "-1"], ["--seconds", "61"], ["--size", "0"]])
def test_senseless_options_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(options)
    said = capsys.readouterr().err.partition("Received: ")[2]
    assert options[0] in said
    assert options[1] in said


def test_the_photograph_is_as_large_as_it_says() -> None:
    assert 7_500_000 < len(photograph(picture_of(28))) < 9_500_000

"""The functions of the load benchmark: what is complete, in turn and slow by them, and that its client is patient."""

import socket
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import request_bytes
from benchmarks.load_followers import Follower, report
from benchmarks.load_paced import paced, percentile
from benchmarks.load_queue import compared
from benchmarks.load_submits import in_turn
from benchmarks.under_load import parse

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def follower_of(pieces: Sequence[bytes]) -> Follower:
    """A follower that got the pieces one by one, and then the end of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        follower = Follower(server.getsockname()[1], "/v1/jobs/j/events")
        peer, _ = server.accept()
        with follower.socket, peer:
            peer.recv(10_000)
            follower.socket.setblocking(True)
            for piece in pieces:
                peer.sendall(piece)
                follower.receive()
            if not follower.done:
                peer.close()
                follower.receive()
    return follower


def event(seq: int) -> bytes:
    """An event as a chunk of its own."""
    text = b'event: epoch\ndata: {"seq":%d}\nid: %d\n\n' % (seq, seq)
    return b"%x\r\n%b\r\n" % (len(text), text)


@given(st.data())
def test_a_stream_is_complete_wherever_its_bytes_are_cut(data: st.DataObject) -> None:
    whole = HEAD + b"".join(map(event, range(1, 4))) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(len(HEAD), len(whole) - 1), max_size=4, unique=True)))
    follower = follower_of([whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)])
    assert (follower.done, follower.broken, follower.seq) == (True, "", 3)
    assert report([follower], [0.1, 0.3], 1.0)["complete"] == 1


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([HEAD, event(1), event(3), b"0\r\n\r\n"], "3 came after 1"),
        ([HEAD, event(1), event(1), b"0\r\n\r\n"], "1 came after 1"),
        ([HEAD, event(1)], "the connection was closed in the middle"),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], "503"),
    ],
)
def test_a_stream_with_a_hole_a_double_or_no_end_is_not_complete(pieces: list[bytes], why: str) -> None:
    follower = follower_of(pieces)
    assert why in follower.broken
    assert report([follower], [], 1.0)["complete"] == 0


def test_in_turn_is_when_nobody_is_served_twice_in_a_round() -> None:
    assert in_turn(["a", "b", "b", "a"], 2)
    assert not in_turn(["a", "a", "b", "b"], 2)
    assert not in_turn([], 2)


def test_the_ratio_is_that_of_the_medians() -> None:
    row = compared("list", [0.001, 0.002, 0.009], [0.003, 0.004, 0.005])
    assert [row.short[0], row.long[0], row.ratio] == pytest.approx([2, 4, 2])
    assert row.met
    assert percentile([], 0.5) == 0


def test_requests_are_sent_when_due_and_one_that_fails_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            first, _ = server.accept()
            with first:
                for status in (b"201 Created", b"500 Internal Server Error"):
                    first.recv(10_000)
                    first.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
                second, _ = server.accept()
                with second:
                    second.recv(10_000)
                    second.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n[]")

        thread = threading.Thread(target=serve)
        thread.start()
        done = paced(port, [request_bytes(port, "/", b"{}", "application/json")] * 3, 1000, 1, keep=True)
        thread.join()
    assert done.bodies == [b"{}", b"[]"]
    assert len(done.errors) == 1
    assert "500" in done.errors[0]


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--quick"]).part is None
    with pytest.raises(SystemExit):
        parse(["--part", "everything"])
    assert "everything" in capsys.readouterr().err

"""What is written beside the training comes in order, and what goes wrong with it is not lost."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from worker.writer import Writer

PATIENCE = 20.0


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.close()


def broken() -> None:
    raise OSError("the disk is full")


def test_pieces_are_done_in_order_and_in_another_thread(writer: Writer) -> None:
    done: list[int] = []
    threads = set()

    def piece(n: int) -> None:
        done.append(n)
        threads.add(threading.get_ident())

    for n in range(20):
        writer.start(partial(piece, n))
    writer.wait()
    assert done == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_it_is_busy_until_the_piece_is_done_and_whoever_starts_another_waits(writer: Writer) -> None:
    done: list[bool] = []
    go_on = threading.Event()
    assert not writer.busy()
    writer.start(lambda: done.append(go_on.wait(PATIENCE)))
    assert writer.busy()
    assert done == []
    helper = threading.Timer(0.05, go_on.set)
    helper.start()
    writer.start(lambda: done.append(True))
    assert done[:1] == [True]
    writer.wait()
    assert done == [True, True]
    assert not writer.busy()
    helper.join()


def test_what_went_wrong_is_raised_once_by_the_next_call(writer: Writer) -> None:
    writer.start(broken)
    with pytest.raises(OSError, match="disk is full"):
        writer.wait()
    writer.wait()
    writer.start(broken)
    with pytest.raises(OSError, match="disk is full"):
        writer.start(lambda: None)
    assert not writer.busy()


def test_asking_whether_it_is_busy_tells_what_went_wrong(writer: Writer) -> None:
    failed = threading.Event()

    def failing() -> None:
        failed.set()
        broken()

    def ask() -> None:
        while writer.busy():
            """It has not come to its end yet."""

    writer.start(failing)
    assert failed.wait(PATIENCE)
    with pytest.raises(OSError, match="disk is full"):
        ask()


def test_closing_waits_for_the_last_piece() -> None:
    done: list[bool] = []
    writer, go_on = Writer(), threading.Event()
    writer.start(lambda: done.append(go_on.wait(PATIENCE)))
    helper = threading.Timer(0.05, go_on.set)
    helper.start()
    writer.close()
    assert done == [True]
    helper.join()


def test_closing_tells_what_went_wrong_and_ends_the_thread_all_the_same() -> None:
    before = threading.active_count()
    writer = Writer()
    writer.start(broken)
    with pytest.raises(OSError, match="disk is full"):
        writer.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        writer.start(lambda: None)


def test_the_time_of_the_processor_is_counted_and_waiting_is_not(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([5.0, 5.25])
    monkeypatch.setattr("worker.writer.time.thread_time", lambda: next(moments))
    writer.start(lambda: None)
    writer.wait()
    assert writer.seconds == 0.25

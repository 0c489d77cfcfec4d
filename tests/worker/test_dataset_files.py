"""Data set files: which place wins, what is wrong with a file, and downloads from a server on loopback."""

import functools
import gzip
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.datasets import DATASETS, DatasetFacts
from tests.factories.datasets import TINY_ARRAYS, TINY_NAMES, idx, tiny_facts, write_tiny_idx, write_tiny_npz
from worker import data, dataset_files
from worker.dataset_files import DatasetUnavailable

Write = Callable[[Path], None]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[DatasetFacts]:
    """The tiny data set, known to `load` under its name."""
    facts = tiny_facts()
    monkeypatch.setattr(data, "DATASETS", {facts.name: facts})
    data.load.cache_clear()
    yield facts
    data.load.cache_clear()


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The folder of TRAINYARD_DATASETS_DIR, not yet there."""
    return tmp_path / "ours"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras's cache, not yet there, in a KERAS_HOME of the test's own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras-home"))
    return tmp_path / "keras-home" / "datasets"


class Server(http.server.ThreadingHTTPServer):
    """Serves one folder on loopback and keeps the paths it was asked for."""

    daemon_threads = False  # closing the server waits for its answers to end

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Logs into the server's list instead of standard error."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Stands in for the place that Keras downloads from; its files are those in tmp_path/served."""
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served") as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(dataset_files, "ORIGIN", f"http://127.0.0.1:{running.server_port}/")
        yield running
        running.shutdown()
        thread.join()


def is_tiny(dataset: data.Dataset) -> bool:
    """Whether these are the tiny data set's arrays, in the shapes and types that training gets."""
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    return (
        np.array_equal(dataset.x_train, TINY_ARRAYS["x_train"][..., None])
        and np.array_equal(dataset.y_train, TINY_ARRAYS["y_train"])
        and np.array_equal(dataset.x_test, TINY_ARRAYS["x_test"][..., None])
        and np.array_equal(dataset.y_test, TINY_ARRAYS["y_test"])
    )


LAYOUTS: dict[str, Write] = {
    "gzipped IDX": lambda folder: write_tiny_idx(folder / "tiny-set"),
    "plain IDX": lambda folder: write_tiny_idx(folder / "tiny-set", gzipped=False),
    "IDX in a folder of the API's name": lambda folder: write_tiny_idx(folder / "tiny_set"),
    "npz beside": lambda folder: write_tiny_npz(folder / "tiny-set.npz"),
    "npz of the API's name": lambda folder: write_tiny_npz(folder / "tiny_set.npz"),
    "npz inside": lambda folder: write_tiny_npz(folder / "tiny-set" / "tiny-set.npz"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["TRAINYARD_DATASETS_DIR", "Keras's cache"])
def test_every_layout_in_either_place(layout: str, place: str, tiny: DatasetFacts, ours: Path, cache: Path) -> None:
    LAYOUTS[layout](cache if place == "Keras's cache" else ours)
    where = data.find(tiny, ours, offline=True)
    assert (where.status, where.detail) == ("here", f"in {place}")
    assert is_tiny(data.load("tiny_set", ours, True))


def test_keras_keeps_mnist_where_we_look(cache: Path, ours: Path) -> None:
    """Only whether the names agree: the content would be refused."""
    for name in DATASETS["mnist"].downloads + DATASETS["fashion_mnist"].downloads:
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
    assert data.find(DATASETS["mnist"], ours, offline=True).detail == "in Keras's cache"
    assert data.find(DATASETS["fashion_mnist"], ours, offline=True).detail == "in Keras's cache"


def test_keras_home_is_under_home_unless_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert dataset_files.keras_cache() == tmp_path / ".keras" / "datasets"


def test_our_folder_wins_over_the_cache(tiny: DatasetFacts, ours: Path, cache: Path) -> None:
    write_tiny_idx(ours / "tiny-set")
    write_tiny_npz(cache / "tiny-set.npz", y_test=np.zeros(8, np.uint8))
    assert data.find(tiny, ours, offline=False).detail == "in TRAINYARD_DATASETS_DIR"
    assert is_tiny(data.load("tiny_set", ours, True))


def test_a_wrong_file_in_our_folder_is_not_passed_over(tiny: DatasetFacts, ours: Path, cache: Path) -> None:
    """Whoever put it there believes that it is used."""
    write_tiny_npz(ours / "tiny-set.npz", y_test=np.zeros(8, np.uint8))
    write_tiny_idx(cache / "tiny-set")
    with pytest.raises(DatasetUnavailable, match=r"tiny-set\.npz in TRAINYARD_DATASETS_DIR is not the original"):
        data.load("tiny_set", ours, True)


def test_an_incomplete_folder_is_passed_over(tiny: DatasetFacts, ours: Path, cache: Path) -> None:
    write_tiny_idx(ours / "tiny-set")
    (ours / "tiny-set" / "t10k-labels-idx1-ubyte.gz").unlink()
    write_tiny_idx(cache / "tiny-set")
    assert is_tiny(data.load("tiny_set", ours, True))


def test_missing(tiny: DatasetFacts, ours: Path, cache: Path, tmp_path: Path) -> None:
    assert data.find(tiny, ours, offline=False).status == "fetchable"
    where = data.find(tiny, ours, offline=True)
    assert where.status == "missing"
    with pytest.raises(DatasetUnavailable) as raised:
        data.load("tiny_set", ours, True)
    assert str(raised.value) == where.detail
    for hint in (*TINY_NAMES.values(), "the folder tiny-set of TRAINYARD_DATASETS_DIR", "TRAINYARD_OFFLINE", "digits"):
        assert hint in where.detail
    assert str(tmp_path) not in where.detail


def test_missing_in_part(tiny: DatasetFacts, ours: Path, cache: Path) -> None:
    write_tiny_idx(ours / "tiny-set")
    (ours / "tiny-set" / "t10k-labels-idx1-ubyte.gz").unlink()
    detail = data.find(tiny, ours, offline=True).detail
    assert "Put t10k-labels-idx1-ubyte (gzipped or not)" in detail
    assert "train-images" not in detail


def _replace(part: str, content: bytes) -> Write:
    def write(folder: Path) -> None:
        write_tiny_idx(folder)
        (folder / f"{part}.gz").write_bytes(content)

    return write


def _swap(one: str, other: str) -> Write:
    def write(folder: Path) -> None:
        write_tiny_idx(folder)
        first, second = folder / f"{one}.gz", folder / f"{other}.gz"
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)

    return write


def _npz(**changed: np.ndarray) -> Write:
    return lambda folder: write_tiny_npz(folder / "tiny-set.npz", **changed)


def _raw_npz(content: bytes) -> Write:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "tiny-set.npz").write_bytes(content)

    return write


def _damaged_npz(folder: Path) -> None:
    path = folder / "tiny-set.npz"
    write_tiny_npz(path)
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(bytes(content))


def _npz_without_labels(folder: Path) -> None:
    folder.mkdir(parents=True)
    np.savez(folder / "tiny-set.npz", x_train=TINY_ARRAYS["x_train"])


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD_IMAGES, GOOD_LABELS = idx(TINY_ARRAYS["x_train"]), idx(TINY_ARRAYS["y_train"])
ANOTHER_PIXEL = GOOD_IMAGES[:-1] + bytes([GOOD_IMAGES[-1] ^ 1])

WRONG: dict[str, tuple[Write, str]] = {
    "no gzip": (_replace(IMAGES, b"<html>not found</html>"), f"{IMAGES}.gz in .* is not a gzip file"),
    "cut gzip": (_replace(IMAGES, gzip.compress(GOOD_IMAGES)[:-500]), f"{IMAGES}.gz in .* is cut off"),
    "damaged gzip": (
        _replace(IMAGES, gzip.compress(GOOD_IMAGES)[:40] + bytes(60) + gzip.compress(GOOD_IMAGES)[100:]),
        f"{IMAGES}.gz in .* (damaged|cut off)",
    ),
    "empty": (_replace(IMAGES, gzip.compress(b"")), "is only 0 bytes long"),
    "magic number": (_replace(IMAGES, gzip.compress(b"\0\0\x0d\x03" + GOOD_IMAGES[4:])), "magic number 3331"),
    "images and labels swapped": (_swap(IMAGES, LABELS), "holds IDX labels where images belong"),
    "train and test swapped": (_swap(IMAGES, "t10k-images-idx3-ubyte"), "holds 8 images instead of 40"),
    "count": (_replace(LABELS, gzip.compress(idx(TINY_ARRAYS["y_train"][:39]))), "holds 39 labels instead of 40"),
    "too short": (_replace(LABELS, gzip.compress(GOOD_LABELS[:-1])), f"is not the original: the MD5 of {LABELS}"),
    "too long": (_replace(IMAGES, gzip.compress(GOOD_IMAGES + b"!")), f"is not the original: the MD5 of {IMAGES}"),
    "one pixel": (_replace(IMAGES, gzip.compress(ANOTHER_PIXEL)), f"is not the original: the MD5 of {IMAGES}"),
    "npz, one label": (_npz(y_train=np.zeros(40, np.uint8)), "is not the original: the MD5 of train-labels"),
    "npz, a count": (_npz(x_test=TINY_ARRAYS["x_test"][:7]), r"has x_test as uint8 \(7, 28, 28\) instead of"),
    "npz, floats": (_npz(x_test=TINY_ARRAYS["x_test"] / 255), "has x_test as float64"),
    "npz, pickled": (_npz(y_test=np.array([{}] * 8)), "cannot be read"),
    "npz, an array too few": (_npz_without_labels, "has no array y_train"),
    "npz, text": (_raw_npz(b"<html>"), "is not an npz archive"),
    "npz, damaged": (_damaged_npz, "cannot be read"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file(wrong: str, tiny: DatasetFacts, ours: Path, cache: Path, tmp_path: Path) -> None:
    write, sentence = WRONG[wrong]
    write(ours / "tiny-set")
    with pytest.raises(DatasetUnavailable, match=sentence) as raised:
        data.load("tiny_set", ours, True)
    message = str(raised.value)
    assert message.startswith("tiny_set: ")
    assert "in TRAINYARD_DATASETS_DIR" in message
    assert "Put the original file there" in message
    assert str(tmp_path) not in message


def test_a_failure_is_not_remembered(tiny: DatasetFacts, ours: Path, cache: Path) -> None:
    with pytest.raises(DatasetUnavailable):
        data.load("tiny_set", ours, True)
    write_tiny_idx(ours / "tiny-set")
    assert is_tiny(data.load("tiny_set", ours, True))


def test_download(tiny: DatasetFacts, ours: Path, cache: Path, server: Server, tmp_path: Path) -> None:
    write_tiny_idx(tmp_path / "served")
    assert is_tiny(data.load("tiny_set", ours, False))
    assert sorted(server.asked) == sorted(f"/{name}.gz" for name in TINY_NAMES.values())
    assert data.find(tiny, ours, offline=True).detail == "in Keras's cache"
    data.load.cache_clear()
    assert is_tiny(data.load("tiny_set", ours, False))
    assert len(server.asked) == 4
    assert [path.name for path in cache.iterdir()] == ["tiny-set"]


def test_offline_asks_nobody(tiny: DatasetFacts, ours: Path, cache: Path, server: Server, tmp_path: Path) -> None:
    write_tiny_idx(tmp_path / "served")
    with pytest.raises(DatasetUnavailable):
        data.load("tiny_set", ours, True)
    assert server.asked == []
    assert not cache.exists()


def test_a_wrong_file_in_the_cache_is_fetched_again(
    tiny: DatasetFacts, ours: Path, cache: Path, server: Server, tmp_path: Path
) -> None:
    write_tiny_idx(tmp_path / "served")
    _replace(IMAGES, gzip.compress(GOOD_IMAGES)[:-500])(cache / "tiny-set")
    with pytest.raises(DatasetUnavailable, match="in Keras's cache is cut off"):
        data.load("tiny_set", ours, True)
    assert is_tiny(data.load("tiny_set", ours, False))
    data.load.cache_clear()
    assert is_tiny(data.load("tiny_set", ours, True))


def _serve_nothing(served: Path) -> None:
    pass


def _serve_a_login_page(served: Path) -> None:
    for name in TINY_NAMES.values():
        (served / f"{name}.gz").write_text("<html>Please log in</html>")


@pytest.mark.parametrize(
    ("serve", "sentence"),
    [(_serve_nothing, "could not be downloaded .*404"), (_serve_a_login_page, "in the download is not a gzip file")],
)
def test_a_download_that_fails_leaves_nothing_behind(
    serve: Write, sentence: str, tiny: DatasetFacts, ours: Path, cache: Path, server: Server, tmp_path: Path
) -> None:
    serve(tmp_path / "served")
    with pytest.raises(DatasetUnavailable, match=sentence) as raised:
        data.load("tiny_set", ours, False)
    assert "put the files into the folder tiny-set of TRAINYARD_DATASETS_DIR" in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert list(cache.iterdir()) == []


def test_a_server_that_says_nothing(
    tiny: DatasetFacts, ours: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(dataset_files, "ORIGIN", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(dataset_files, "SILENCE_SECONDS", 0.2)
        with pytest.raises(DatasetUnavailable, match=r"could not be downloaded .*timed out"):
            data.load("tiny_set", ours, False)
    assert socket.getdefaulttimeout() is None


def test_a_cache_that_cannot_be_written(
    tiny: DatasetFacts, ours: Path, cache: Path, server: Server, tmp_path: Path
) -> None:
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(DatasetUnavailable, match="could not be downloaded") as raised:
        data.load("tiny_set", ours, False)
    assert str(tmp_path) not in str(raised.value)

"""Files are complete or absent, in a folder and in a bucket, and a store that is away is told from a missing file."""

import errno
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.artifacts import (
    ArtifactStore,
    Corrupted,
    Stored,
    StoreFull,
    StoreUnavailable,
    check_artifacts_url,
    drop_checkpoints,
)
from tests.servers import free_port, make_bucket, s3_server

SUM = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
NOT_THERE = "The folder or bucket of the artifacts is not there."
CALLS: dict[str, Callable[[ArtifactStore], object]] = {
    "write": lambda store: store.write("jobs/a", b"data"),
    "read": lambda store: store.read("jobs/a"),
    "read a part": lambda store: store.read("jobs/a", 0, 2),
    "read verified": lambda store: store.read_verified("jobs/a", SUM),
    "keys": lambda store: store.keys("jobs"),
    "delete": lambda store: store.delete("jobs/a"),
}


@pytest.fixture(params=["folder", "s3", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the files go: a folder, a bucket of an S3 server, fsspec's memory."""
    if request.param == "s3":
        bucket: str = request.getfixturevalue("bucket_url")
        return bucket
    return f"file://{tmp_path}/artifacts" if request.param == "folder" else f"memory://{tmp_path}"


@pytest.fixture
def store(url: str) -> ArtifactStore:
    return ArtifactStore(url)


def test_what_is_written_is_read(store: ArtifactStore) -> None:
    stored = store.write("jobs/a/1/model.onnx", b"0123456789")
    assert stored == Stored("jobs/a/1/model.onnx", 10, SUM)
    assert store.read("jobs/a/1/model.onnx") == b"0123456789"
    assert store.read("jobs/a/1/model.onnx", 2, 5) == b"234"
    assert store.read("jobs/a/1/model.onnx", 8, 50) == b"89"
    assert store.write("empty", b"").size == 0
    assert store.read("empty") == b""


def test_a_second_write_replaces(store: ArtifactStore) -> None:
    store.write("k", b"old, and longer")
    store.write("k", b"new")
    assert store.read("k") == b"new"


def test_missing_is_said(store: ArtifactStore) -> None:
    for key in ("nothing", "jobs/nothing"):
        with pytest.raises(FileNotFoundError):
            store.read(key)
        with pytest.raises(FileNotFoundError):
            store.read(key, 0, 5)
    assert store.keys("nothing") == []
    store.delete("nothing")


def test_what_is_below_a_key_is_listed_and_deleted_and_nothing_else(store: ArtifactStore) -> None:
    for key in ("jobs/a/1/x", "jobs/a/2/y", "jobs/ab/1/z"):
        store.write(key, b"data")
    assert store.keys("jobs/a") == ["jobs/a/1/x", "jobs/a/2/y"]
    store.delete("jobs/a/1/x")
    assert store.keys("jobs/a") == ["jobs/a/2/y"]
    store.delete("jobs/a")
    assert store.keys("jobs") == ["jobs/ab/1/z"]


def test_every_listing_is_a_new_one(url: str, store: ArtifactStore) -> None:
    """Another process writes between two of them."""
    other = ArtifactStore(url)
    store.write("jobs/a/1/x", b"data")
    assert store.keys("jobs") == ["jobs/a/1/x"]
    other.write("jobs/a/1/y", b"data")
    assert store.keys("jobs") == ["jobs/a/1/x", "jobs/a/1/y"]
    other.delete("jobs/a/1/x")
    assert store.keys("jobs/a") == ["jobs/a/1/y"]


def test_many_threads_share_a_store(store: ArtifactStore) -> None:
    def there_and_back(number: int) -> bool:
        data = str(number).encode() * 1000
        store.write(f"jobs/{number}", data)
        return store.read(f"jobs/{number}") == data

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, range(32)))
    assert len(store.keys("jobs")) == 32


def test_what_was_changed_is_found_out(store: ArtifactStore) -> None:
    stored = store.write("k", b"0123456789")
    assert store.read_verified("k", stored.sha256) == b"0123456789"
    store.write("k", b"0123456780")
    with pytest.raises(Corrupted, match="checksum"):
        store.read_verified("k", stored.sha256)


def test_checkpoints_go_and_what_else_an_attempt_left_stays(store: ArtifactStore) -> None:
    for key in ("jobs/a/1/checkpoints/1.npz", "jobs/a/2/checkpoints/3.npz", "jobs/a/2/model.onnx"):
        store.write(key, b"data")
    drop_checkpoints(store, "a", 3)
    assert store.keys("jobs") == ["jobs/a/2/model.onnx"]


def test_a_store_that_answers_keeps_nothing_of_the_question(store: ArtifactStore) -> None:
    assert store.answers(100_000)
    assert store.keys("jobs") == []


def require_away(store: ArtifactStore, sentence: str, *names: str) -> None:
    """These methods, or every one, say that the store is away, and nothing of where it is."""
    for name in names or CALLS:
        with pytest.raises(StoreUnavailable) as caught:
            CALLS[name](store)
        assert str(caught.value) == sentence, name
    assert not store.discard("jobs/a")
    assert not store.answers()


@pytest.mark.usefixtures("s3_keys")
def test_an_s3_server_without_a_bucket_and_one_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    store = ArtifactStore("s3://bucket/yard")
    with s3_server(port) as server:
        require_away(store, NOT_THERE)
        make_bucket(server, "bucket")
        store.write("jobs/a", b"data")
        assert store.read("jobs/a") == b"data"
    require_away(store, "The artifact store does not answer.", "write", "read a part", "keys")


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    """As a disk that is not mounted: nobody takes what is below it for the store."""
    store = ArtifactStore(f"file://{tmp_path}/yard")
    store.write("jobs/a", b"data")
    (tmp_path / "yard").rename(tmp_path / "elsewhere")
    require_away(store, NOT_THERE)
    assert not (tmp_path / "yard").exists()
    (tmp_path / "yard").mkdir()
    require_away(store, NOT_THERE)
    require_away(ArtifactStore(f"file://{tmp_path}/yard", make=False), NOT_THERE)
    assert list((tmp_path / "yard").iterdir()) == []
    (tmp_path / "yard").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "yard")
    assert store.read("jobs/a") == b"data"


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (errno.ENOSPC, StoreFull, "is full"),
        (errno.EDQUOT, StoreFull, "is full"),
        (errno.EIO, StoreUnavailable, "does not answer"),
        (errno.EROFS, StoreUnavailable, "does not answer"),
        (errno.EACCES, StoreUnavailable, "refuses access"),
    ],
)
def test_a_write_that_fails_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreUnavailable], sentence: str
) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    store.write("k", b"old")

    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("models.artifacts.os.fsync", failing)
    with pytest.raises(StoreUnavailable, match=sentence) as caught:
        store.write("k", b"newer")
    assert (type(caught.value), caught.value.needed) == (kind, 5)
    assert store.read("k") == b"old"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["k"]


def test_a_url_that_cannot_be_used_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"such as file:// or s3://\. Received: nowhere://"):
        check_artifacts_url("nowhere://key:secret@place")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    # The name of the module is that of a dictionary in the package.
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(ValueError, match=r"pip install 'trainyard\[s3\]'"):
        ArtifactStore("s3://bucket/yard")

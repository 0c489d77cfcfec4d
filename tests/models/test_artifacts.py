"""Files are complete or absent, in a folder and in a bucket."""

from pathlib import Path

import pytest

from models.artifacts import ArtifactStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A folder, and fsspec's memory file system in place of a bucket."""
    url = f"file://{tmp_path}/artifacts" if request.param == "file" else f"memory://{tmp_path}"
    return ArtifactStore(url)


def test_what_is_written_is_read(store: ArtifactStore) -> None:
    stored = store.write("jobs/a/1/model.onnx", b"0123456789")
    assert (stored.key, stored.size) == ("jobs/a/1/model.onnx", 10)
    assert stored.sha256 == "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    assert store.read("jobs/a/1/model.onnx") == b"0123456789"
    assert store.read("jobs/a/1/model.onnx", 2, 5) == b"234"


def test_a_second_write_replaces(store: ArtifactStore) -> None:
    store.write("k", b"old, and longer")
    store.write("k", b"new")
    assert store.read("k") == b"new"


def test_missing_is_said(store: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    assert store.keys("nothing") == []
    store.delete("nothing")


def test_a_folder_is_listed_and_deleted(store: ArtifactStore) -> None:
    for key in ("jobs/a/1/x", "jobs/a/2/y", "jobs/b/1/z"):
        store.write(key, b"data")
    assert store.keys("jobs/a") == ["jobs/a/1/x", "jobs/a/2/y"]
    store.delete("jobs/a")
    assert store.keys("jobs") == ["jobs/b/1/z"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    store.write("k", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.artifacts.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write("k", b"new")
    assert store.read("k") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["k"]

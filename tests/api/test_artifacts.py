"""Files over HTTP: whole, in part, checked, missing, damaged, and with their store away; from a folder and from S3."""

import base64
import hashlib
import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given

from api.artifacts import read_pieces, read_range
from api.deps import Room
from api.errors import BadGateway, RangeNotSatisfiable
from api.main import create_app
from models import jobs, registry
from models.artifacts import ArtifactStore
from models.jobs import Job, Status
from models.registry import Artifact
from models.settings import Settings
from tests.api.conftest import LOCAL, claim, submit
from tests.servers import free_port, make_bucket, s3_server
from worker.attempt import try_job
from worker.slot import Slot

DATA = bytes(range(256)) * 40
SUM = hashlib.sha256(DATA).hexdigest()
PIECE = 1000
SIZES = st.integers(0, 300)


@pytest.fixture
def job(client: TestClient, room: Room) -> str:
    """A job that ended, with one artifact."""
    job_id: str = submit(client)["id"]
    claim(room, job_id)
    stored = room.store.write(f"jobs/{job_id}/1/model.onnx", DATA)
    with room.database.write() as session:
        registry.add_artifacts(session, job_id, {"model.onnx": stored})
        assert jobs.move(session, job_id, Status.FAILED)
    return job_id


@pytest.fixture(params=["in one piece", "in several"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, job: str) -> str:
    """The artifact's URL; the file fits into one piece, or is read piece by piece."""
    if request.param == "in several":
        monkeypatch.setattr("api.artifacts.PIECE", PIECE)
    return f"/v1/jobs/{job}/artifacts/model.onnx"


# What Range means.


@given(SIZES, st.integers(0, 400), st.none() | st.integers(0, 400))
def test_a_range_is_a_slice(size: int, first: int, last: int | None) -> None:
    header = f"bytes={first}-" + ("" if last is None else str(last))
    if last is not None and last < first:
        assert read_range(header, size) is None
    elif first >= size:
        with pytest.raises(RangeNotSatisfiable):
            read_range(header, size)
    else:
        found = read_range(header, size)
        assert found is not None
        whole = range(size)
        assert whole[slice(*found)] == whole[first : None if last is None else last + 1]


@given(SIZES, st.integers(0, 400))
def test_a_suffix_is_the_end(size: int, count: int) -> None:
    if count == 0 or size == 0:
        with pytest.raises(RangeNotSatisfiable):
            read_range(f"bytes=-{count}", size)
    else:
        assert read_range(f"Bytes=-{count}", size) == (max(0, size - count), size)


@given(st.text(alphabet="bytes=-, 019\t٣", max_size=20) | st.from_regex(r"\Abytes=\d*-\d*,\d*-\d*\Z"))
def test_whatever_stands_in_a_range_is_a_slice_the_whole_or_nothing(header: str) -> None:
    try:
        found = read_range(header, 100)
    except RangeNotSatisfiable:
        return
    if found is not None:
        assert 0 <= found[0] < found[1] <= 100
        assert header.lower().startswith("bytes=")
        assert "," not in header


# What is answered.


def test_a_file_is_whole_and_says_what_it_is(client: TestClient, url: str) -> None:
    client.headers["X-Request-Id"] = "the-same"
    answer = client.get(url)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["etag"] == f'"{SUM}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == 'attachment; filename="model.onnx"'
    head = client.head(url, headers={"Range": "bytes=0-4"})
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(answer.headers)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("5-14", 5, 15), ("900-2100", 900, 2101), ("10000-", 10000, 10240), ("-7", 10233, 10240)],
)
def test_a_part_is_the_bytes_there(client: TestClient, url: str, asked: str, start: int, end: int) -> None:
    answer = client.get(url, headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)


def test_a_part_that_is_not_there_is_416_and_several_are_the_whole(client: TestClient, url: str) -> None:
    beyond = client.get(url, headers={"Range": "bytes=10240-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */10240")
    assert beyond.json()["detail"] == "The file has 10240 bytes. Received: bytes=10240-"
    for header in ("bytes=0-1,4-5", "lines=0-1", "bytes=5-1", "bytes=x"):
        assert client.get(url, headers={"Range": header}).status_code == 200


def test_a_part_of_what_one_has_already_and_of_nothing_else(client: TestClient, url: str) -> None:
    part = {"Range": "bytes=0-9"}
    assert client.get(url, headers=part | {"If-Range": f'"{SUM}"'}).status_code == 206
    for other in ('"another"', f'W/"{SUM}"', "Sat, 21 Nov 2026 18:00:00 GMT"):
        assert client.get(url, headers=part | {"If-Range": other}).content == DATA


def test_what_one_has_is_not_sent_again(client: TestClient, url: str) -> None:
    for known in (f'"{SUM}"', f'W/"{SUM}"', f'"another", "{SUM}"', "*"):
        answer = client.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", f'"{SUM}"')
    assert client.get(url, headers={"If-None-Match": '"another"'}).status_code == 200
    assert client.get(url.replace("model.onnx", "model.keras")).status_code == 404


# Files and stores that fail.


def test_a_file_that_is_gone_or_too_short_is_502(client: TestClient, room: Room, job: str, url: str) -> None:
    room.store.write(f"jobs/{job}/1/model.onnx", DATA[:500])
    short = client.get(url)
    assert (short.status_code, short.json()["type"]) == (502, "urn:trainyard:problem:bad-gateway")
    assert "is not what was stored" in short.json()["detail"]
    room.store.delete(f"jobs/{job}")
    gone = client.get(url, headers={"Range": "bytes=0-9"})
    assert (gone.status_code, "is gone" in gone.json()["detail"]) == (502, True)
    room.store.write(f"jobs/{job}/1/model.onnx", DATA)
    assert client.get(url).content == DATA


def test_a_small_file_that_was_changed_is_502_and_a_large_one_never_complete(
    client: TestClient, room: Room, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.store.write(f"jobs/{job}/1/model.onnx", b"x" + DATA[1:])
    for header in ({}, {"Range": "bytes=5-9"}):
        assert client.get(f"/v1/jobs/{job}/artifacts/model.onnx", headers=header).status_code == 502
    monkeypatch.setattr("api.artifacts.PIECE", PIECE)
    with room.database.read() as session:
        row = session.get_one(Artifact, (job, "model.onnx"))
    given: list[bytes] = []
    with pytest.raises(BadGateway):
        given.extend(read_pieces(room.store, row, 0, row.size))
    assert list(map(len, given)) == [PIECE] * 10


def test_a_store_that_is_away_is_503_until_it_is_back(client: TestClient, settings: Settings, url: str) -> None:
    folder = settings.home / "artifacts"
    folder.rename(settings.home / "elsewhere")
    away = client.get(url)
    assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    assert away.json()["detail"] == ("The folder or bucket of the artifacts is not there. Try again in a moment.")
    (settings.home / "elsewhere").rename(folder)
    assert client.get(url).content == DATA


def test_who_starts_while_the_store_is_away_makes_no_other_in_its_place(settings: Settings, job: str) -> None:
    folder, elsewhere = settings.home / "artifacts", settings.home / "elsewhere"
    folder.rename(elsewhere)
    with TestClient(create_app(settings), base_url=LOCAL) as client:
        assert client.get(f"/v1/jobs/{job}/artifacts/model.onnx").status_code == 503
        slot = Slot(settings, ["train"], multiprocessing.get_context("spawn").Event())
        with closing(slot):
            slot.announce()
            assert not slot.store.answers()
        assert not folder.exists()
        elsewhere.rename(folder)
        assert client.get(f"/v1/jobs/{job}/artifacts/model.onnx").content == DATA


def test_a_job_is_deleted_although_its_files_cannot_be(
    client: TestClient, settings: Settings, job: str, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.home / "artifacts").rename(settings.home / "elsewhere")
    with caplog.at_level(logging.WARNING, "models.artifacts"):
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert client.get(f"/v1/jobs/{job}").status_code == 404
    assert f"jobs/{job} is left over" in caplog.text
    waiting = submit(client)["id"]
    claim_and_put_back(client.app.state.room, waiting)  # type: ignore[attr-defined]
    assert client.post(f"/v1/jobs/{waiting}/cancel").json()["status"] == "cancelled"


def claim_and_put_back(room: Room, job_id: str) -> Job:
    """As if an attempt had let go of it."""
    job = claim(room, job_id)
    with room.database.write() as session:
        assert jobs.move(session, job_id, Status.QUEUED)
    return job


def test_a_url_that_cannot_be_used_ends_the_process_with_a_sentence(settings: Settings) -> None:
    with pytest.raises(SystemExit, match="such as file:// or s3://"):
        create_app(settings.model_copy(update={"artifacts_url": "nowhere://x"}))


# HEAD and Allow.


@pytest.mark.parametrize("path", ["/livez", "/v1/jobs", "/v1/models", "/v1/jobs/schema", "/docs", "/v1/jobs/{job}/log"])
def test_head_is_answered_as_get_without_a_body(client: TestClient, job: str, path: str) -> None:
    path = path.replace("{job}", job)
    client.headers["X-Request-Id"] = "the-same"
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert dict(head.headers) == dict(get.headers)


def test_head_of_a_stream_that_goes_on_ends(client: TestClient) -> None:
    running = submit(client)["id"]
    head = client.head(f"/v1/jobs/{running}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def test_a_method_that_is_none_is_told_which_are(client: TestClient, job: str) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/jobs", "HEAD, GET, POST"),
        ("POST", f"/v1/jobs/{job}", "HEAD, GET, PATCH, DELETE"),
        ("HEAD", f"/v1/jobs/{job}/cancel", "POST"),
        ("DELETE", f"/v1/jobs/{job}/artifacts/model.onnx", "HEAD, GET"),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


# On S3.


@pytest.fixture
def yard(settings: Settings, bucket_url: str) -> Iterator[tuple[Slot, TestClient]]:
    """A slot and the API of a deployment whose artifacts are in a bucket."""
    settings = settings.model_copy(update={"artifacts_url": bucket_url})
    slot = Slot(settings, ["train"], multiprocessing.get_context("spawn").Event())
    with closing(slot), TestClient(create_app(settings), base_url=LOCAL, raise_server_exceptions=False) as client:
        yield slot, client


def test_a_job_is_trained_and_served_out_of_a_bucket(yard: tuple[Slot, TestClient]) -> None:
    slot, client = yard
    layers: list[Any] = ["flatten", {"type": "dense", "units": 10}]
    job_id = submit(client, dataset={"name": "digits", "train_size": 300}, network={"layers": layers}, epochs=2)["id"]
    try_job(slot, job_id)
    listed = {entry["name"]: entry for entry in client.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]}
    assert {"model.keras", "model.onnx", "history.csv", "spec.json", "epoch-2.npz"} <= listed.keys()
    for name, entry in listed.items():
        answer = client.get(entry["url"])
        assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (entry["size"], entry["sha256"])
        part = client.get(entry["url"], headers={"Range": "bytes=-100"})
        assert (part.status_code, part.content) == (206, answer.content[-100:]), name
    assert not [key for key in slot.store.keys("jobs") if "checkpoints" in key]
    predicted = client.post("/v1/models/digits/predict", json={"pixels": np.zeros((28, 28)).tolist()})
    assert predicted.status_code == 200, predicted.text
    assert len(predicted.json()["predictions"][0]["probabilities"]) == 10


@pytest.mark.usefixtures("s3_keys")
def test_an_s3_server_that_ends_and_comes_back_is_503_and_served_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    settings = settings.model_copy(update={"artifacts_url": "s3://bucket/yard"})
    with TestClient(create_app(settings), base_url=LOCAL, raise_server_exceptions=False) as client:
        room: Room = client.app.state.room  # type: ignore[attr-defined]
        job_id = submit(client)["id"]
        url, key = f"/v1/jobs/{job_id}/artifacts/model.onnx", f"jobs/{job_id}/1/model.onnx"
        with s3_server(port) as server:
            make_bucket(server, "bucket")
            stored = room.store.write(key, DATA)
            with room.database.write() as session:
                registry.add_artifacts(session, job_id, {"model.onnx": stored})
            assert client.get(url).content == DATA
        away = client.get(url)
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        assert away.json()["detail"] == "The artifact store does not answer. Try again in a moment."
        assert client.get("/v1/jobs").status_code == 200
        with s3_server(port) as server:
            make_bucket(server, "bucket")
            assert client.get(url).status_code == 502
            ArtifactStore(settings.artifacts).write(key, DATA)
            assert client.get(url).content == DATA

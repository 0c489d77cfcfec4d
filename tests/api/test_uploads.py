"""Uploads against a real server: cut ones leave no traceback, and heavy pictures are decoded one at a time."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from models import jobs, registry
from models.artifacts import ArtifactStore
from models.database import Database
from models.jobs import Status
from models.settings import Settings
from models.spec import parse_spec
from tests.factories.files import encoded, hollow_png
from tests.factories.networks import linear_onnx
from tests.servers import free_port, running, wait_until


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """An API with one model, `digits`; its URL, process and log."""
    with closing(Database(settings.database)) as database, database.write() as session:
        job = jobs.create(session, parse_spec({"dataset": "digits"}))
        assert jobs.claim(session, job.id, "w1")
        stored = ArtifactStore(settings.artifacts).write(
            f"jobs/{job.id}/1/model.onnx", linear_onnx(np.eye(784, 10, dtype=np.float32))
        )
        registry.add_artifacts(session, job.id, {"model.onnx": stored})
        serving = registry.serving_of(parse_spec({"dataset": "digits"}))
        facts: dict[str, Any] = {"name": "digits", "dataset": "digits", "parameters": 1, "class_count": 10}
        registry.add_version(session, registry.ModelVersion(job_id=job.id, serving=serving, **facts))
        assert jobs.move(session, job.id, Status.SUCCEEDED)
    port, log = free_port(), tmp_path / "api.log"
    environment = {
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database,
        "TRAINYARD_BROKER_URL": settings.broker_url,
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
    with log.open("wb") as file, running(command, env=environment, stdout=file, stderr=file) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _alive(url), "the API")
        yield url, process, log


def _alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_cut_upload_leaves_no_traceback(server: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    url, _, log = server
    host, port = url.removeprefix("http://").split(":")
    for kind in ("image/png", "multipart/form-data; boundary=x"):
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 3000000\r\n\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + b"abc")
    wait_until(lambda: _alive(url), "the API")
    assert httpx2.post(f"{url}/predict", json={"pixels": [[0] * 28] * 28}).status_code == 200
    assert "Traceback" not in log.read_text()


def test_heavy_pictures_are_decoded_one_at_a_time(server: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    url, process, _ = server
    heavy = encoded(Image.new("RGBA", (5000, 5000), (255, 255, 255, 255)))
    statuses: list[int] = []

    def ask() -> None:
        answer = httpx2.post(f"{url}/predict", content=heavy, headers={"Content-Type": "image/png"}, timeout=60)
        statuses.append(answer.status_code)

    def peak() -> int:
        return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[0]) // 1024

    ask()
    alone = peak()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 9
    assert peak() < alone + 100


def test_hostile_uploads_get_the_right_answer_and_a_pointer(server: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    url, _, log = server
    png = encoded(Image.new("L", (60, 60), 255))
    rows = [[0] * 28] * 27
    cases: dict[str, tuple[str, bytes, int, str | None]] = {
        "text named .png": ("image/png", b"I am a picture, believe me", 422, ""),
        "a cut PNG": ("image/png", png[:-30], 422, ""),
        "30,000 x 30,000 in a few kilobytes": ("image/png", hollow_png(30_000, 30_000), 413, ""),
        "a PDF called a picture": ("image/png", b"%PDF-1.7\n%%EOF", 422, ""),
        "a PDF": ("application/pdf", b"%PDF-1.7\n%%EOF", 415, None),
        "nothing": ("image/png", b"", 422, ""),
        "27 rows": ("application/json", json.dumps({"pixels": rows}).encode(), 422, "/pixels"),
        "a pixel of 256": ("application/json", json.dumps({"pixels": [[256] * 28] * 28}).encode(), 422, "/pixels/0/0"),
        "no base64": ("application/json", b'{"image": "!"}', 422, "/image"),
        "100,000 brackets": ("application/json", b"[" * 100_000, 422, ""),
        "1,001 arrays": ("application/json", json.dumps({"instances": [[]] * 1001}).encode(), 413, "/instances"),
        "a form without a file": ("multipart/form-data; boundary=x", b"--x--\r\n", 422, None),
        "50 MB": ("image/png", bytes(50_000_000), 413, None),
    }
    for name, (kind, body, status, pointer) in cases.items():
        answer = httpx2.post(f"{url}/predict", content=body, headers={"Content-Type": kind}, timeout=30)
        assert answer.status_code == status, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", name
        if pointer is not None:
            assert answer.json()["errors"][0]["pointer"] == pointer, (name, answer.text)
    sound = httpx2.post(f"{url}/predict", content=png, headers={"Content-Type": "image/png"})
    assert sound.status_code == 200
    assert "Traceback" not in log.read_text()

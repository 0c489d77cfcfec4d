"""Uploads against a real server: cut ones leave no traceback, and heavy pictures are decoded one at a time."""

import io
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
    file = io.BytesIO()
    Image.new("RGBA", (5000, 5000), (255, 255, 255, 255)).save(file, "PNG")
    statuses: list[int] = []

    def ask() -> None:
        answer = httpx2.post(
            f"{url}/predict", content=file.getvalue(), headers={"Content-Type": "image/png"}, timeout=60
        )
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

"""The service that the experiments run on: a private one that is started and stopped here, or one that runs already."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainyard.client import Client
from trainyard.errors import ApiError
from trainyard.launcher import launch, settings_with

Json = dict[str, Any]
READY_SECONDS = 300.0
INTERRUPTED = 130
PAUSE = 0.3


class Service(Client):
    """The client, and the files that the gallery shows."""

    def file(self, path: str) -> bytes:
        """The body of a GET: a picture, an artifact."""
        return self._request("GET", path).content

    def result(self, job_id: str) -> Json:
        """What a job that does not train found out."""
        return self._json("GET", f"/v1/jobs/{job_id}/result")

    def has(self, dataset: str) -> bool:
        """Whether some worker has the data set or can fetch it."""
        for entry in self.datasets():
            if entry["name"] == dataset:
                return any(worker["status"] in ("here", "fetchable") for worker in entry["workers"])
        return False

    def wait_for_worker(self, timeout: float = READY_SECONDS) -> None:
        """Wait until a worker is warm."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.ready()
                return
            except ApiError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)


def with_service(url: str | None, key: str | None, tell: Callable[[str], None], work: Callable[[Service], int]) -> int:
    """Do `work` with the service at `url`, or with one that lives as long as the work; answers the exit code."""
    if url is not None:
        with Service(url, key) as service:
            service.wait_for_worker()
            return work(service)
    usual = settings_with()
    usual.home.mkdir(parents=True, exist_ok=True)
    # The service gets a HOME of its own, so the data sets are looked for where the usual one would have them.
    os.environ.setdefault("TRAINYARD_DATASETS_DIR", str(usual.home / "datasets"))
    log_path = usual.home / "gallery.log"
    tell(f"What the service logs: {log_path}")
    with (
        tempfile.TemporaryDirectory(prefix="gallery-", dir=usual.home, ignore_cleanup_errors=True) as home,
        log_path.open("w", encoding="utf-8") as log,
    ):
        settings = settings_with(home=Path(home), port=0)
        own_key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
        codes: list[int] = []

        def inside(address: str) -> int:
            with Service(address, own_key) as service:
                codes.append(work(service))
                return codes[-1]

        async def body(address: str) -> int:
            # In a thread: the work waits for answers, and the supervisor must go on meanwhile.
            return await asyncio.to_thread(inside, address)

        def write(name: str, line: str) -> None:
            print(f"{name:<10}| {line}", file=log, flush=True)

        code = launch(settings, write, tell, body, ready_within=READY_SECONDS)
        # Told to stop, the service ends well; the work did not.
        return code or (codes[0] if codes else INTERRUPTED)

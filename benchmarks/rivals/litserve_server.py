"""LitServe: one worker, its fast queue, no log line a request; `benchmarks/.venv-serving` has it.

`python -m benchmarks.rivals.litserve_server 16` answers up to so many waiting requests in one go, 1 each by itself.
Batches are quicker when many wait and slower when one does. Without a `batch_timeout` nobody waits for others.
"""

import base64
import os
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]

from benchmarks.rivals.reader import Reader


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """A digit reader."""

    def setup(self, device: str) -> None:
        """Load the model, once a worker."""
        self.reader = Reader()

    def decode_request(self, request: dict[str, Any]) -> bytes:
        """The picture of a request."""
        return base64.b64decode(request["picture"])

    def predict(self, picture: bytes) -> dict[str, Any]:
        """One picture."""
        return self.reader.read(picture)


class Batches(Digits):
    """The same, given all pictures that wait."""

    def predict(self, pictures: list[bytes]) -> list[dict[str, Any]]:  # type: ignore[override]
        """An answer a picture."""
        return [self.reader.read(picture) for picture in pictures]


if __name__ == "__main__":
    most = int(sys.argv[1])
    api = Digits() if most == 1 else Batches(max_batch_size=most)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )

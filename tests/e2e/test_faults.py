"""Where there is no Redis at all a job outlives its process too; tests/faults/ kills everything else, with Redis."""

import os
import signal
from pathlib import Path

from tests.e2e.yard import yard

NETWORK = {"layers": ["flatten", {"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10}]}
# Single images a step keep it busy long enough to be killed in the middle.
SPEC = {"dataset": "digits", "network": NETWORK, "epochs": 40, "batch_size": 4}


def test_the_service_works_on_the_fallback_broker(tmp_path: Path) -> None:
    """macOS or Python 3.13 without a redis-server."""
    with yard(tmp_path, EMBEDDED_BROKER="filesystem") as service:
        assert "filesystem transport" in service.log.read_text()
        job = service.client.submit(SPEC)
        next(event for event in service.client.events(job["id"]) if event["event"] == "epoch")
        os.kill(service.training_process(), signal.SIGKILL)
        ended = service.client.wait(job["id"], timeout=120)
        assert (ended["attempt"], ended["progress"]["epoch"]) == (2, 40)
        assert [row["epoch"] for row in service.client.metrics(job["id"])] == list(range(1, 41))
        assert service.client.predict(Path("examples/digits/2.png"))["predictions"][0]["label"] in range(10)

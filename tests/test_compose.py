"""docker-compose.yml: what it promises, and every command in it run as a process against real servers.

What a container would give, a process gets here: the service's environment and nothing else, a folder in place of
/data, and the addresses of this machine.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import make_url

from models.settings import Settings
from tests.compose import COMPOSE, GIVEN, ROOT, SERVICES, Yard, command_of, interpolated, seconds
from tests.conftest import _postgres_database
from tests.servers import free_port, postgres_folder, wait_until
from trainyard import Client, broker
from trainyard.errors import Unreachable

LASTING = sorted(SERVICES.keys() - {"migrate"})
OUR_OWN = sorted(name for name, service in SERVICES.items() if "build" in service)
SMALL_JOB = {
    "dataset": "digits",
    "network": {"layers": ["flatten", {"type": "dense", "units": 10, "activation": "softmax"}]},
    "epochs": 3,
    "device": "cpu",
}


# What the file says.


def test_only_the_api_is_published_and_on_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    assert not any("network_mode" in service for service in SERVICES.values())


def test_what_it_says_about_the_api_and_no_keys_is_allowed_only_as_long_as_that_holds() -> None:
    environment = SERVICES["api"]["environment"]
    assert interpolated(environment["TRAINYARD_INSECURE"], {}) == "true"
    assert interpolated(environment["TRAINYARD_API_KEYS"], {"TRAINYARD_API_KEYS": "one,two"}) == "one,two"


@pytest.mark.parametrize("name", LASTING)
def test_every_service_that_lasts_is_watched_restarted_and_given_time_to_end(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries"} <= service["healthcheck"].keys()
    # Redis has nothing to write, so Docker's own ten seconds do.
    assert name == "redis" or seconds(service["stop_grace_period"]) >= 20


def test_the_gpu_is_asked_for_by_its_profile_alone() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"worker-gpu"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert {name for name, service in SERVICES.items() if "deploy" in service} == {"worker-gpu"}
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_what_runs_our_code_waits_for_the_tables_and_the_tables_for_the_database() -> None:
    needs = {
        "migrate": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }
    assert SERVICES["migrate"]["depends_on"] == {"postgres": needs["postgres"]}
    assert SERVICES["migrate"]["restart"] == "no"
    assert {name: SERVICES[name]["depends_on"] for name in ("api", "worker-cpu", "worker-gpu")} == dict.fromkeys(
        ("api", "worker-cpu", "worker-gpu"), needs
    )


def test_every_volume_is_declared_and_used_and_artifacts_are_shared() -> None:
    mounts = {
        name: dict(mount.split(":") for mount in service.get("volumes", ())) for name, service in SERVICES.items()
    }
    assert {volume for used in mounts.values() for volume in used} == COMPOSE["volumes"].keys()
    assert {name for name, used in mounts.items() if used.get("artifacts") == "/data/artifacts"} == {
        "api",
        "worker-cpu",
        "worker-gpu",
    }
    # From version 18 on the image refuses a volume at /var/lib/postgresql/data.
    assert int(SERVICES["postgres"]["image"].rpartition(":")[2]) >= 18
    assert mounts["postgres"]["postgres"] == "/var/lib/postgresql"


def test_images_are_pinned_to_a_major_version_and_ours_are_targets_of_the_dockerfile() -> None:
    images = {name: service["image"] for name, service in SERVICES.items() if "image" in service}
    assert images.keys() == {"postgres", "redis"}
    assert all(re.fullmatch(rf"{name}:\d+", image) for name, image in images.items())
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {SERVICES[name]["build"]["target"] for name in OUR_OWN} == {"api", "worker-cpu", "worker-gpu"} <= targets


@pytest.mark.parametrize("name", OUR_OWN)
def test_every_setting_is_one_and_every_value_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {key: interpolated(value, GIVEN) for key, value in SERVICES[name]["environment"].items()}
    ours = {key: value for key, value in named.items() if key.startswith("TRAINYARD_")}
    assert {key.removeprefix("TRAINYARD_").lower() for key in ours} <= Settings.model_fields.keys()
    for key in [key for key in os.environ if key.startswith("TRAINYARD_")]:
        monkeypatch.delenv(key)
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert (settings.database, settings.broker_url) == (ours["TRAINYARD_DATABASE_URL"], ours["TRAINYARD_BROKER_URL"])


def test_there_is_no_password_but_the_one_that_is_given() -> None:
    with pytest.raises(LookupError, match="put a line POSTGRES_PASSWORD="):
        interpolated(SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"], {})
    assert make_url(SERVICES["api"]["environment"]["TRAINYARD_DATABASE_URL"]).password is None
    for service in SERVICES.values():
        secret = {
            key: value for key, value in service.get("environment", {}).items() if re.search("PASSWORD|KEYS", key)
        }
        assert all(re.fullmatch(r"\$\{\w+:(-|\?.+)\}", value) for value in secret.values())


def test_the_page_on_deployment_shows_the_same_commands() -> None:
    page = " ".join((ROOT / "docs" / "deployment.md").read_text().replace("\\\n", " ").split())
    for name in ("migrate", "api", "worker-cpu", "worker-gpu"):
        command = " ".join(command_of(name)).replace("0.0.0.0", "127.0.0.1")
        assert f".venv/bin/{command}" in page
    # Besides settings: where the tests find a server, and by which the command reaches a service.
    names = set(re.findall(r"TRAINYARD_([A-Z_]+)", page)) - {"TEST_POSTGRES_URL", "URL", "API_KEY"}
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


# What its commands do.


@pytest.fixture(scope="module")
def yard(postgres_url: str, redis_url: str) -> Iterator[Yard]:
    """Everything of the file that runs, started in its order, until a worker of each kind is warm; and a second API.

    Where there is no Redis, `redis_url` skips; what runs here is the file's own.
    """
    folder = broker.socket_folder()
    server = broker.candidates(os.environ)[0].executable
    assert server is not None, redis_url
    places = [Path(sys.executable).parent, server.parent, *filter(None, [postgres_folder()])]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        database = make_url(postgres_url).set(database=stack.enter_context(_postgres_database(postgres_url)))
        composed = Yard(
            folder=folder,
            environment={
                "PATH": ":".join([*map(str, places), os.environ["PATH"]]),
                "HOME": str(folder),
                "PGPORT": str(database.port or 5432),
            },
            addresses={
                "TRAINYARD_DATABASE_URL": database.render_as_string(hide_password=False),
                "TRAINYARD_BROKER_URL": broker.redis_url(folder),
                "TRAINYARD_OFFLINE": "true",
                **({"PGPASSWORD": str(database.password)} if database.password else {}),
            },
            extra={"redis": ["--port", "0", "--unixsocket", str(broker.socket_path(folder))]},
            url=f"http://127.0.0.1:{free_port()}",
            second_url=f"http://127.0.0.1:{free_port()}",
        )
        stack.enter_context(composed.started("redis"))
        wait_until(lambda: composed.check("redis").returncode == 0, "Redis")
        with composed.started("migrate") as migrate:
            assert migrate.wait(timeout=120) == 0, composed.log("migrate")
        for name in ("api", "worker-cpu", "worker-gpu"):
            stack.enter_context(composed.started(name))
        stack.enter_context(composed.started("api", composed.second_url))
        try:
            wait_until(lambda: len(warm_workers(composed)) == 2, "a warm worker of each kind", 150)
            wait_until(lambda: answers(composed.second_url), "the second API")
        except TimeoutError as late:
            late.add_note("\n".join(f"{name}: {composed.log(name)}" for name in ("api", "worker-cpu", "worker-gpu")))
            raise
        yield composed


def warm_workers(yard: Yard) -> list[dict[str, Any]]:
    try:
        workers = httpx2.get(f"{yard.url}/v1/workers").json()["data"]
    except httpx2.TransportError:
        return []
    return [worker for worker in workers if worker["status"] != "starting"]


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez").status_code == 200
    except httpx2.TransportError:
        return False


def read(yard: Yard, path: str) -> Any:
    answer = httpx2.get(f"{yard.url}{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def submitted(yard: Yard, **changes: Any) -> str:
    answer = httpx2.post(f"{yard.url}/v1/jobs", json=SMALL_JOB | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["links"]["self"])


def test_everything_is_ready(yard: Yard) -> None:
    assert read(yard, "/livez") == {"status": "alive"}
    assert read(yard, "/readyz")["ready"] is True


@pytest.mark.parametrize("name", LASTING)
def test_the_health_check_of_each_service_is_content(yard: Yard, name: str) -> None:
    done = yard.check(name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_worker_announces_its_queues_and_without_a_gpu_only_the_cpu(yard: Yard) -> None:
    announced = {tuple(worker["queues"]): worker["devices"] for worker in warm_workers(yard)}
    assert announced.keys() == {("train", "train.cpu"), ("train", "train.gpu")}
    assert "cpu" in announced["train", "train.gpu"]
    if not Path("/dev/nvidia0").exists():
        assert list(announced.values()) == [["cpu"], ["cpu"]]


def test_a_job_is_trained_and_its_model_answers(yard: Yard) -> None:
    job = submitted(yard)
    wait_until(lambda: read(yard, job)["is_terminal"], "the job's end", 60)
    ended = read(yard, job)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 1), ended["failure"] or yard.log("worker-cpu")
    assert [row["epoch"] for row in read(yard, f"{job}/metrics")["data"]] == [1, 2, 3]
    answer = httpx2.post(f"{yard.url}/predict", files={"file": (ROOT / "examples" / "digits" / "0.png").read_bytes()})
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["predictions"]
    assert prediction["label"] in range(10)
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-3)
    # Written through the artifacts URL of the file, in the folder that API and workers share.
    assert list((yard.folder / "artifacts").rglob("model.onnx"))


class Follower(threading.Thread):
    """Follows a job's events at one API, and at another from where that broke off."""

    def __init__(self, urls: list[str], job: str) -> None:
        super().__init__(daemon=True)
        self.urls, self.job = urls, job
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        for url in self.urls:
            after = self.events[-1]["seq"] if self.events else 0
            with Client(url) as client, contextlib.suppress(Unreachable):
                for event in client.events(self.job, after=after, patience=0):
                    self.events.append(event)
                return

    def epochs(self) -> int:
        """How many epochs it saw."""
        return sum(event["event"] == "epoch" for event in self.events)

    def saw_all(self) -> bool:
        """Whether it came to the job's end and saw each event once, in order."""
        self.join(timeout=20)
        seqs = [event["seq"] for event in self.events]
        last = self.events[-1]["data"].get("status")
        return not self.is_alive() and seqs == list(range(1, len(seqs) + 1)) and last == "cancelled"


def test_two_apis_and_two_workers_are_one_service(yard: Yard) -> None:
    """A job given to one API is followed, cancelled and asked at the other; each worker takes one of two."""
    with Client(yard.url) as one, Client(yard.second_url) as two:
        endless = SMALL_JOB | {"device": "auto", "epochs": 100_000}
        given = [(api, other, api.submit(endless)["id"]) for api, other in ((one, two), (two, one))]
        followers = [Follower([other.base_url], job) for _, other, job in given]
        wait_until(lambda: all(follower.epochs() > 1 for follower in followers), "epochs of both jobs at once", 60)
        assert {worker["status"] for worker in two.workers()} == {"busy"}
        for _, other, job in given:
            other.cancel(job, keep_model=True)
        for api, _, job in given:
            ended = api.wait(job, timeout=60, check=False)
            assert (ended["status"], ended["attempt"], ended["model"] is not None) == ("cancelled", 1, True)
        assert all(follower.saw_all() for follower in followers)
        picture = ROOT / "examples" / "digits" / "0.png"
        for _, _, job in given:
            first, second = (api.predict(picture, job=job)["predictions"] for api in (one, two))
            assert first == second


def test_when_one_api_is_killed_the_other_carries_on_with_what_it_accepted(yard: Yard) -> None:
    """A follower of the one goes on at the other; started again, it knows what happened meanwhile."""
    with Client(yard.url) as one, Client(yard.second_url) as two:
        job = two.submit(SMALL_JOB | {"epochs": 100_000})["id"]
        follower = Follower([yard.second_url, yard.url], job)
        wait_until(lambda: follower.epochs() > 0, "an epoch", 60)
        yard.processes[yard.second_url].kill()
        seen = follower.epochs()
        wait_until(lambda: follower.epochs() > seen + 1, "more epochs at the other API", 60)
        assert not answers(yard.second_url)
        one.cancel(job)
        assert one.wait(job, timeout=60, check=False)["status"] == "cancelled"
        assert follower.saw_all()
        with yard.started("api", yard.second_url):
            wait_until(lambda: answers(yard.second_url), "the API that was started again")
            assert two.job(job)["status"] == "cancelled"


def test_a_worker_that_is_stopped_hands_its_job_back_in_time_and_is_no_longer_well(yard: Yard) -> None:
    job = submitted(yard, epochs=100_000)
    wait_until(lambda: read(yard, f"{job}/metrics")["data"] != [], "an epoch", 60)
    assert yard.check("worker-cpu").returncode == 0, "a worker answers while it trains"
    worker = yard.processes["worker-cpu"]
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=seconds(SERVICES["worker-cpu"]["stop_grace_period"]))
    assert (worker.returncode, read(yard, job)["status"]) == (0, "queued"), yard.log("worker-cpu")
    # The other worker still answers, but not for this one, which stays away: this is the last test of the file.
    assert yard.check("worker-cpu").returncode != 0
    assert httpx2.post(f"{yard.url}{job}/cancel").json()["status"] == "cancelled"

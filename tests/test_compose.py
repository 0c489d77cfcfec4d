"""docker-compose.yml: what it promises, and every command in it run as a process against real servers.

What a container would give, a process gets here: the service's environment and nothing else, a folder in place of
/data, and the addresses of this machine.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from sqlalchemy import make_url

from models.settings import Settings
from tests.conftest import _postgres_database
from tests.servers import free_port, postgres_folder, running, wait_until
from trainyard import broker

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(SERVICES.keys() - {"migrate"})
OUR_OWN = sorted(name for name, service in SERVICES.items() if "build" in service)
GIVEN = {"POSTGRES_PASSWORD": "a test's own"}
REFERENCE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?P<kind>:-|:\?)(?P<rest>[^}]*)\})")
SMALL_JOB = {
    "dataset": "digits",
    "network": {"layers": ["flatten", {"type": "dense", "units": 10, "activation": "softmax"}]},
    "epochs": 3,
    "device": "cpu",
}


def interpolated(value: str, given: dict[str, str]) -> str:
    """`value` as Compose would read it: `${NAME:-default}`, `${NAME:?what to do}`, and `$$` for a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        if match["kind"] == ":?" and not given.get(match["name"]):
            raise LookupError(match["rest"])
        return given.get(match["name"]) or match["rest"]

    return REFERENCE.sub(replace, value)


def command_of(name: str) -> list[str]:
    return [interpolated(word, GIVEN) for word in SERVICES[name]["command"]]


def seconds(span: str) -> float:
    assert span.endswith("s"), f"write it in seconds: {span}"
    return float(span.removesuffix("s"))


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
    names = set(re.findall(r"TRAINYARD_([A-Z_]+)", page)) - {"TEST_POSTGRES_URL"}
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


# What its commands do.


@dataclass
class Yard:
    """The composed services as processes of this machine."""

    folder: Path
    environment: dict[str, str]
    addresses: dict[str, str]
    extra: dict[str, list[str]]
    url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, str]:
        """The environment of a service: what Compose would set, and where things are here."""
        named = {key: interpolated(value, GIVEN) for key, value in SERVICES[name].get("environment", {}).items()}
        here = {key: re.sub(r"(^|//)/data", rf"\g<1>{self.folder}", value) for key, value in named.items()}
        return self.environment | here | {key: self.addresses[key] for key in here.keys() & self.addresses.keys()}

    def moved(self, words: list[str]) -> list[str]:
        """A command with this machine's addresses in it."""
        port = self.url.rpartition(":")[2]
        return [re.sub(r"\b8000\b", port, word).replace("0.0.0.0", "127.0.0.1") for word in words]

    @contextmanager
    def started(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """The service's command, running; its output is in the folder."""
        command = [*self.moved(command_of(name)), *self.extra.get(name, [])]
        command[0] = self.found(command[0])
        with (
            (self.folder / f"{name}.log").open("wb") as log,
            running(command, cwd=self.folder, env=self.of(name), stdout=log, stderr=log) as process,
        ):
            self.processes[name] = process
            yield process

    def check(self, name: str) -> subprocess.CompletedProcess[str]:
        """The service's health check, run once as Docker would."""
        kind, *words = (interpolated(word, GIVEN) for word in SERVICES[name]["healthcheck"]["test"])
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else self.moved(words)
        command[0] = self.found(command[0])
        if name == "redis":
            command[1:1] = ["-s", str(broker.socket_path(self.folder))]
        limit = seconds(SERVICES[name]["healthcheck"]["timeout"])
        return subprocess.run(
            command, cwd=self.folder, env=self.of(name), capture_output=True, text=True, check=False, timeout=limit
        )

    def found(self, program: str) -> str:
        """Where the program is, as the container's own PATH would tell."""
        path = shutil.which(program, path=self.environment["PATH"])
        if path is None:
            pytest.skip(f"{program} is not on this machine")
        return path

    def log(self, name: str) -> str:
        """What the service wrote."""
        return (self.folder / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def yard(postgres_url: str, redis_url: str) -> Iterator[Yard]:
    """Everything of the file that runs, started in its order, until a worker of each kind is warm.

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
        )
        stack.enter_context(composed.started("redis"))
        wait_until(lambda: composed.check("redis").returncode == 0, "Redis")
        with composed.started("migrate") as migrate:
            assert migrate.wait(timeout=30) == 0, composed.log("migrate")
        for name in ("api", "worker-cpu", "worker-gpu"):
            stack.enter_context(composed.started(name))
        try:
            wait_until(lambda: len(warm_workers(composed)) == 2, "a warm worker of each kind", 90)
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

"""docker-compose.yml as Compose would read it, and its services as processes of this machine."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import running
from trainyard import broker

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GIVEN = {"POSTGRES_PASSWORD": "a test's own"}
REFERENCE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?P<kind>:-|:\?)(?P<rest>[^}]*)\})")


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


@dataclass
class Yard:
    """The composed services as processes of this machine."""

    folder: Path
    environment: dict[str, str]
    addresses: dict[str, str]
    extra: dict[str, list[str]]
    url: str
    second_url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, str]:
        """The environment of a service: what Compose would set, and where things are here."""
        named = {key: interpolated(value, GIVEN) for key, value in SERVICES[name].get("environment", {}).items()}
        here = {key: re.sub(r"(^|//)/data", rf"\g<1>{self.folder}", value) for key, value in named.items()}
        return self.environment | here | {key: self.addresses[key] for key in here.keys() & self.addresses.keys()}

    def moved(self, words: list[str], url: str = "") -> list[str]:
        """A command with this machine's addresses in it."""
        port = (url or self.url).rpartition(":")[2]
        return [re.sub(r"\b8000\b", port, word).replace("0.0.0.0", "127.0.0.1") for word in words]

    @contextmanager
    def started(self, name: str, url: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The service's command, running, an API at `url`; its output is in the folder."""
        command = [*self.moved(command_of(name), url), *self.extra.get(name, [])]
        command[0] = self.found(command[0])
        with (
            (self.folder / f"{name}.log").open("ab") as log,
            running(command, cwd=self.folder, env=self.of(name), stdout=log, stderr=log) as process,
        ):
            self.processes[url or name] = process
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

"""`trainyard doctor`: what is wrong with an installation, and what to do about it."""

import difflib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from time import time
from typing import Any, Literal

import httpx2

from models.settings import Settings
from trainyard import broker
from trainyard.addresses import EVERYWHERE, on_this_machine, reachable
from trainyard.home import HomeError, refuse_shared

Status = Literal["ok", "warning", "wrong"]
# What is read besides the settings of models.settings.
OTHER_VARIABLES = frozenset(
    f"TRAINYARD_{name}" for name in ("URL", "API_KEY", "EMBEDDED_BROKER", "TEST_POSTGRES_URL", "TETHER_WATCH")
)
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
# A first import of TensorFlow from a slow disk takes a minute.
TENSORFLOW_SECONDS = 180
SELF_CHECK_SECONDS = 120
ANSWER_SECONDS = 5
SCARCE_MB = 2_000
MOST_SECONDS_APART = 5
IMPORT = (
    "import tensorflow as tf; kinds = {device.device_type for device in tf.config.list_physical_devices()}; "
    "print(tf.__version__, *sorted(kinds & {'CPU', 'GPU'}))"
)
SETUP = "Run `make setup` (`EXTRA=gpu make setup` for a GPU), or install trainyard with its extra: trainyard[cpu]."


@dataclass(frozen=True)
class Finding:
    """What was found of one thing, and what to do about it."""

    check: str
    status: Status
    found: str
    advice: str = ""


def examine(settings: Settings | str, url: str | None = None, key: str | None = None) -> list[Finding]:
    """Every finding, in the order in which they help; looks at the slow things side by side.

    Args:
        settings: those in use, or the sentence that says why they cannot be.
        url: where the service should answer; else where the settings have it.
        key: an API key, without which a service with keys does not tell of its workers.
    """
    found = [python(), *variables(os.environ)]
    with ThreadPoolExecutor() as pool:
        importing = pool.submit(tensorflow, settings.workers if isinstance(settings, Settings) else 1)
        if isinstance(settings, str):
            advice = "`trainyard settings` explains each; unset it for its default."
            return [*found, Finding("settings", "wrong", settings, advice), importing.result()]
        checking = pool.submit(self_check)
        found += [Finding("settings", "ok", "every value is allowed"), *home(settings)]
        service_found, running = service(settings, url, key)
        if not settings.broker_url and not running:
            found.append(embedded_broker())
        return [*found, *checking.result(), importing.result(), *service_found]


def python() -> Finding:
    """Whether this Python is one that Trainyard runs on."""
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return Finding("Python", "wrong", told, "Use Python 3.11, 3.12 or 3.13; `make setup` brings one.")
    if sys.platform == "win32":
        return Finding("Python", "wrong", told, "Trainyard runs on Linux and macOS; on Windows, run it in WSL 2.")
    return Finding("Python", "ok", told)


def variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that look like ours and that nothing reads."""
    known = {f"TRAINYARD_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    for name in sorted(name for name in environment if name.upper().startswith("TRAINYARD_")):
        # Their names are read in small letters as well as in capitals.
        if name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, 1, cutoff=0.9)
        advice = f"Did you mean {near[0]}?" if near else "Unset it; `trainyard settings` lists those there are."
        yield Finding("variables", "warning", f"{name} is set, and nothing reads it", advice)


def home(settings: Settings) -> Iterator[Finding]:
    """Whether HOME can be written to, is on a disk that SQLite can trust, and has room."""
    folder = settings.home
    try:
        refuse_shared(folder)
    except HomeError as error:
        found, _, advice = str(error).partition(". ")
        # With PostgreSQL nothing in HOME needs locks.
        yield Finding("home", "warning" if settings.database_url else "wrong", found, advice)
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free / 1e6
    except OSError as error:
        advice = "Set TRAINYARD_HOME to a folder of yours, or mend its owner, rights or mount."
        yield Finding("home", "wrong", f"{folder} cannot be written to ({existing}: {error.strerror})", advice)
        return
    told = f"{folder}, {free / 1000:,.1f} GB free"
    if free < settings.min_free_mb:
        advice = f"Make room: below TRAINYARD_MIN_FREE_MB={settings.min_free_mb:g} no job is accepted."
        yield Finding("home", "wrong", told, advice)
    elif free < SCARCE_MB:
        yield Finding(
            "home", "warning", told, "Make room before it runs out; `DELETE /v1/jobs/{id}` removes files too."
        )
    else:
        yield Finding("home", "ok", told)


def embedded_broker() -> Finding:
    """Which broker `trainyard up` would start."""
    try:
        best = broker.candidates(os.environ)[0]
    except ValueError as error:
        return Finding("broker", "wrong", str(error), "Unset TRAINYARD_EMBEDDED_BROKER, or install redis-server.")
    return Finding("broker", "ok", f"`trainyard up` starts {best}")


def tensorflow(workers: int) -> Finding:
    """Whether TensorFlow can be imported, and what it finds to compute on; in a process of its own."""
    here: Status = "warning" if workers == 0 else "wrong"
    try:
        done = run(["-c", IMPORT], TENSORFLOW_SECONDS)
    except subprocess.TimeoutExpired:
        found = f"not imported within {TENSORFLOW_SECONDS} s"
        return Finding("TensorFlow", here, found, "Look for a slow disk or a busy machine.")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        found = f"cannot be imported: {last}" if done.returncode > 0 else f"ended by signal {-done.returncode}"
        return Finding("TensorFlow", here, found, f"{SETUP} Only workers need it.")
    number, *kinds = done.stdout.split()[-3:] if "GPU" in done.stdout else done.stdout.split()[-2:]
    told = f"{number}, computes on {' and '.join(kinds)}"
    if "GPU" not in kinds and shutil.which("nvidia-smi"):
        advice = "For the GPU: `EXTRA=gpu make setup`, and a driver that `nvidia-smi` is content with."
        return Finding("TensorFlow", "warning", f"{told}, though there is an NVIDIA GPU", advice)
    return Finding("TensorFlow", "ok", told)


def self_check() -> list[Finding]:
    """What only the service's own packages can look at, from `python -m api.self_check`."""
    try:
        done = run(["-m", "api.self_check"], SELF_CHECK_SECONDS)
        output, ended = done.stdout, done.returncode
    except subprocess.TimeoutExpired as slow:
        output = slow.stdout.decode(errors="replace") if isinstance(slow.stdout, bytes) else slow.stdout or ""
        hangs = Finding(
            "self-check", "wrong", f"not at its end after {SELF_CHECK_SECONDS} s", "What follows the last one hangs."
        )
        return [*parsed(output), hangs]
    if ended == 0:
        return parsed(output)
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    return [*parsed(output), Finding("packages", "wrong", f"the API cannot be imported: {last}", SETUP)]


def parsed(lines: str) -> list[Finding]:
    """The findings that the self-check printed; whatever libraries print between them is left out."""
    return [Finding(**json.loads(line)) for line in lines.splitlines() if line.startswith('{"check"')]


def run(arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """A Python like this one; -P keeps a folder named `api` where the user stands from being taken for ours."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


def service(settings: Settings, url: str | None, key: str | None) -> tuple[list[Finding], bool]:
    """What answers where the service should; and whether it is a Trainyard."""
    base = (url or f"http://{reachable(settings.host)}:{settings.port}").rstrip("/")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(
        base_url=base, headers=headers, timeout=ANSWER_SECONDS, trust_env=not on_this_machine(base)
    ) as http:
        try:
            alive = http.get("/livez")
        except httpx2.HTTPError as error:
            return [silent(settings, base, url is not None, error)], False
        if alive.status_code != httpx2.codes.OK or '"alive"' not in alive.text:
            who = alive.headers.get("server") or "something"
            advice = "Stop it, or set TRAINYARD_PORT (and TRAINYARD_URL for the client) to another."
            return [Finding("service", "wrong", f"at {base} answers {who}, which is no Trainyard", advice)], False
        return list(running(http, base, alive)), True


def silent(settings: Settings, base: str, wanted: bool, error: Exception) -> Finding:
    """Nobody speaks HTTP there: fine, unless the port is taken or the URL was given."""
    if wanted:
        advice = "Start it with `trainyard up`, or correct --url or TRAINYARD_URL."
        return Finding("service", "wrong", f"nobody answers at {base} ({type(error).__name__})", advice)
    try:
        name = settings.host.strip("[]") or EVERYWHERE
        family = socket.getaddrinfo(name, settings.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((name, settings.port))
    except OSError as taken:
        advice = "Free it, or set TRAINYARD_HOST and TRAINYARD_PORT to an address that is free; port 0 takes any."
        place = f"{settings.host}, port {settings.port}"
        return Finding("service", "wrong", f"cannot listen on {place}: {taken.strerror}", advice)
    return Finding("service", "ok", f"not running; port {settings.port} is free for `trainyard up`")


def running(http: httpx2.Client, base: str, alive: httpx2.Response) -> Iterator[Finding]:
    """Of a service that answers: whether it is ready, its clock, its version and its workers."""
    try:
        ready = http.get("/readyz").json()
        parts = {name: ready[name] for name in ("database", "broker", "workers") if ready.get(name) != "ok"}
        if parts:
            told = "; ".join(f"{name}: {what}" for name, what in parts.items())
            advice = "Its log says more; a worker takes some seconds to be warm."
            yield Finding("service", "wrong", f"{base} is not ready: {told}", advice)
        else:
            yield Finding("service", "ok", f"{base} is ready")
        if "date" in alive.headers:
            yield clock(parsedate_to_datetime(alive.headers["date"]).timestamp())
        yield from versions(http)
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        yield Finding("service", "warning", f"{base} answers in part: {type(error).__name__}", "Look at its log.")


def clock(theirs: float) -> Finding:
    """The difference between this clock and the service's, from the Date of its answer."""
    apart = abs(time() - theirs)
    if apart <= MOST_SECONDS_APART:
        return Finding("clock", "ok", f"the service's and this machine's agree within {MOST_SECONDS_APART} s")
    advice = "Have both set by NTP. Nothing is lost by it: only the times that are shown are wrong."
    return Finding("clock", "warning", f"the service's differs from this machine's by {apart:,.0f} s", advice)


def versions(http: httpx2.Client) -> Iterator[Finding]:
    """Whether service and workers are of the version that is installed here."""
    own = version("trainyard")
    theirs: dict[str, Any] = {}
    about, answer = http.get("/v2"), http.get("/v1/workers")
    if about.status_code == httpx2.codes.OK:
        theirs["the service"] = about.json()["version"]
    if answer.status_code == httpx2.codes.OK:
        workers = answer.json()["data"]
        theirs |= {f"worker {each['name']}": each["libraries"].get("trainyard") for each in workers}
        yield Finding(
            "workers", "ok" if workers else "wrong", f"{len(workers)} online", "" if workers else "Start one."
        )
    else:
        advice = "Give --key or TRAINYARD_API_KEY."
        yield Finding("workers", "warning", f"not looked at: the service says {answer.status_code}", advice)
    others = [f"{who} has {what}" for who, what in theirs.items() if what not in (own, None)]
    if others:
        advice = "Upgrade them all to one version; `python -m migrations` comes first."
        yield Finding("versions", "warning", f"here is {own}; {', '.join(others)}", advice)
    elif theirs:
        yield Finding("versions", "ok", f"{own} everywhere")


def as_json(findings: list[Finding]) -> str:
    """For programs: `{"ok": ..., "findings": [...]}`."""
    return json.dumps({"ok": is_sound(findings), "findings": [asdict(each) for each in findings]}, indent=2)


def as_text(findings: list[Finding]) -> str:
    """For people: a line a finding, the advice below it, and a line that sums up."""
    width = max(len(each.check) for each in findings)
    lines = []
    for each in findings:
        lines.append(f"{each.status:<8} {each.check:<{width}}  {each.found}")
        if each.advice:
            lines.append(f"{'':<8} {'':<{width}}  -> {each.advice}")
    counts = {status: sum(each.status == status for each in findings) for status in ("wrong", "warning", "ok")}
    warnings = "1 warning" if counts["warning"] == 1 else f"{counts['warning']} warnings"
    return "\n".join([*lines, "", f"{counts['wrong']} wrong, {warnings}, {counts['ok']} ok"])


def is_sound(findings: list[Finding]) -> bool:
    """Whether nothing is wrong; warnings are none of that."""
    return all(each.status != "wrong" for each in findings)

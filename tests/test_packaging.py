"""What the repository promises as a whole: the import rule, the lock, the Dockerfile, the targets of make."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "models", "worker", "migrations", "trainyard")
LARGEST_FILE = 500_000

# What each package may import of ours. The API and the workers meet in models; the client speaks HTTP.
OURS = {
    "api": ("api", "models"),
    "models": ("models",),
    "worker": ("worker", "models"),
    "migrations": ("migrations", "models"),
    "trainyard": ("trainyard", "models.settings", "models.messages"),
}
TENSORFLOW = {"tensorflow", "keras", "tf2onnx"}
# What it may not import of others'.
NOT_OURS = {
    "api": TENSORFLOW,
    "models": TENSORFLOW | {"fastapi", "starlette", "celery", "kombu"},
    "worker": {"fastapi", "starlette"},
    "migrations": TENSORFLOW | {"fastapi", "starlette", "celery", "kombu"},
    "trainyard": TENSORFLOW | {"fastapi", "starlette", "celery", "kombu"},
}


# The import rule.


def imported(path: Path) -> Iterator[str]:
    """Full names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here, so that the rule can be read off them"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, module: str) -> bool:
    return f"{name}.".startswith(f"{module}.")


def breaches(root: Path) -> list[str]:
    """Each import below `root` that the rule forbids."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        for name in imported(path)
        if name.partition(".")[0] in NOT_OURS[package]
        or (name.partition(".")[0] in PACKAGES and not any(within(name, allowed) for allowed in OURS[package]))
    ]


def test_the_import_rule_holds() -> None:
    assert all(list((ROOT / package).rglob("*.py")) for package in PACKAGES)
    assert breaches(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/new.py", "import keras.ops"),
        ("models/deep/new.py", "from fastapi import FastAPI"),
        ("models/new.py", "from api import errors"),
        ("api/new.py", "def later():\n    from worker.network import build"),
        ("api/new.py", "import tensorflow as tf"),
        ("worker/new.py", "from api.main import create_app"),
        ("trainyard/new.py", "from models import jobs"),
        ("trainyard/new.py", "import models"),
        ("migrations/new.py", "import worker.app"),
    ],
)
def test_the_import_rule_is_noticed_when_it_is_broken(file: str, line: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"import os\n{line}\n")
    [breach] = breaches(tmp_path)
    assert breach.startswith(f"{file} imports ")


@pytest.mark.parametrize(
    ("process", "modules"),
    [
        ("the parent of a worker, which forks", "worker.app, worker.tasks"),
        ("the API", "api.main, api.inference"),
        ("the command", "trainyard.main, trainyard.client, migrations"),
    ],
)
def test_no_process_but_the_one_that_trains_loads_tensorflow(process: str, modules: str, tmp_path: Path) -> None:
    code = f"import {modules}, sys; print(*sorted({TENSORFLOW!r} & sys.modules.keys()))"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TRAINYARD_BROKER_URL": "redis://127.0.0.1:1"}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [], process


# The lock.


def locked() -> dict[str, dict[str, Any]]:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return {package["name"]: package for package in packages}


def closure(extra: str | None) -> set[str]:
    """Names of all locked packages that Trainyard with `extra` may bring, on any platform."""
    packages, seen, ahead = locked(), set[tuple[str, str | None]](), [("trainyard", wanted) for wanted in {None, extra}]
    while ahead:
        name, wanted = ahead.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        package = packages[name]
        needed = package.get("optional-dependencies", {}).get(wanted, []) if wanted else package.get("dependencies", [])
        for need in needed:
            ahead += [(need["name"], None), *((need["name"], more) for more in need.get("extra", ()))]
    return {name for name, _ in seen}


def test_the_lock_names_the_public_index_and_nothing_else() -> None:
    hosts = {urlsplit(url).hostname for url in re.findall(r'"(\w+://[^"]+)"', (ROOT / "uv.lock").read_text())}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_the_api_alone_brings_no_tensorflow_and_each_kind_of_worker_does() -> None:
    heavy = {"tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "scikit-learn"}
    assert closure(None) & heavy == set()
    assert {"fastapi", "onnxruntime", "redis", "psycopg-binary"} <= closure(None)
    assert "tensorflow-cpu" in closure("cpu")
    assert not any(name.startswith("nvidia-") for name in closure("cpu"))
    assert {"tensorflow", "nvidia-cudnn-cu12"} <= closure("gpu")


# The Dockerfile.


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile: its keyword, and the rest of it in one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in lines)]


def commands(start: str) -> list[str]:
    """The RUN commands that begin with `start`, without the cache that they are given."""
    runs = [re.sub(r"--mount=\S+ ", "", rest) for keyword, rest in instructions() if keyword == "RUN"]
    return [run for run in runs if run.startswith(start)]


def sent_to_docker(path: str) -> bool:
    """Whether .dockerignore lets a path of the repository through; the last line that matches decides."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    verdicts = [line.startswith("!") for line in lines if fnmatch(path, line.removeprefix("!"))]
    return not verdicts or verdicts[-1]


def uv() -> str:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("uv is not here, so nothing of the Dockerfile can be run")
    return found


def run_as_docker_would(command: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_PROJECT_ENVIRONMENT": str(folder / "venv")}
    environment.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        [uv(), *words[1:], "--offline", *more],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_dockerfile_copies_is_there_and_is_sent() -> None:
    stages = {rest.split(" AS ")[1] for keyword, rest in instructions() if keyword == "FROM"}
    sources = set()
    for keyword, rest in instructions():
        if keyword == "FROM":
            assert rest.split()[0] in stages | {"python:3.12-slim"}
        elif keyword == "COPY" and rest.startswith("--from="):
            assert rest.removeprefix("--from=").split()[0] in stages
        elif keyword == "COPY":
            sources |= set(rest.split()[:-1])
    assert {f"./{package}" for package in PACKAGES} <= {f"./{source}" for source in sources}
    for source in sources:
        assert (ROOT / source).exists()
        assert sent_to_docker(source)
    for private in (".env", ".git", ".venv", "var", "tests", "docker-compose.yml", "api/__pycache__"):
        assert not sent_to_docker(private)


def test_the_images_run_as_a_user_of_their_own_and_hold_no_secret() -> None:
    stages: dict[str, list[tuple[str, str]]] = {}
    parents = {}
    for keyword, rest in instructions():
        if keyword == "FROM":
            parent, current = rest.split(" AS ")
            parents[current], stages[current] = parent, []
        else:
            stages[current].append((keyword, rest))
    assert {parents[target] for target in ("api", "worker-cpu", "worker-gpu")} == {"runtime"}
    assert [rest for keyword, rest in stages["runtime"] if keyword == "USER"] == ["trainyard"]
    assert not any(keyword == "USER" for stage in stages for keyword, _ in stages[stage] if stage != "runtime")
    assert not re.search("PASSWORD|SECRET|TOKEN|API_KEY", (ROOT / "Dockerfile").read_text())


def test_the_images_are_built_with_the_uv_of_the_makefile() -> None:
    version = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    assert commands("pip") == [f"pip install --no-cache-dir uv=={version[1]}"]


@pytest.mark.parametrize(
    ("extra", "brings"), [("", None), (" --extra cpu", "tensorflow-cpu"), (" --extra gpu", "nvidia-cudnn-cu12")]
)
def test_each_image_installs_what_the_lock_says(extra: str, brings: str | None, tmp_path: Path) -> None:
    if brings and (sys.platform, os.uname().machine) != ("linux", "x86_64"):
        pytest.skip("these wheels are for Linux on x86-64")
    [command] = commands(f"uv sync --frozen --no-dev --no-install-project{extra} --extra s3 --compile-bytecode")
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    done = run_as_docker_would(command, tmp_path, "--dry-run", "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    would = set(re.findall(r"^ \+ ([\w-]+)==", done.stderr, re.MULTILINE))
    assert {"fastapi", "celery", "psycopg-binary", "s3fs"} <= would
    assert not would & {"pytest", "trainyard"}
    assert brings in would if brings else not would & {"tensorflow", "tensorflow-cpu", "keras"}


def test_trainyard_itself_is_installed_whole_beside_its_packages(tmp_path: Path) -> None:
    [command] = commands("uv pip install")
    built, target = tmp_path / "build", tmp_path / "app" / "project"
    ignore = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, built / package, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, built)
    command = command.replace("/app/project", str(target)).replace("/usr/local/bin/python", sys.executable)
    done = run_as_docker_would(command, built)
    if done.returncode and "network was disabled" in done.stderr:
        pytest.skip("hatchling, which builds the wheel, is not in uv's cache")
    assert done.returncode == 0, done.stderr
    for package in PACKAGES:
        sources = {path.relative_to(built) for path in (built / package).rglob("*") if path.is_file()}
        assert sources <= {path.relative_to(target) for path in (target / package).rglob("*")}
    code = "import api.main, importlib.metadata as m; print(api.main.__file__, m.version('trainyard'))"
    told = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told.stdout.split() == [str(target / "api" / "main.py"), project["version"]]


# The rest.


def test_every_make_target_that_is_told_of_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    # As code, or at the start of a line of a block: "make" is also a verb.
    told = {
        page: set(re.findall(r"(?:`|^|EXTRA=\w+ )make ([a-z-]+)", page.read_text(), re.MULTILINE)) for page in pages
    }
    assert {"demo", "test"} <= told[ROOT / "README.md"]
    assert {page.name: names - targets for page, names in told.items() if names - targets} == {}


def test_no_file_is_large() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files belong to the repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert files
    assert [f"{file}: {file.stat().st_size} bytes" for file in files if file.stat().st_size >= LARGEST_FILE] == []

"""`make setup`: what it says, when it does nothing, and that it heals; with stand-ins for Python, pip and uv."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Answers as Python does: makes an environment with itself in it, and "installs" a uv that notes how it is called.
FAKE_PYTHON = r"""#!/bin/sh
case "$*" in
  -V) echo "Python 3.11.9" ;;
  "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"pip install"*) cp ./fake-uv .venv/bin/uv ;;
esac
"""
FAKE_UV = r"""#!/bin/sh
case "$1" in
  --version) echo "uv UV_VERSION (stand-in)" ;;
  *) echo "$*" >> calls; test ! -e broken ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with our Makefile, and nothing installed."""
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    version = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("UV_VERSION"))
    scripts = {"python-stand-in": FAKE_PYTHON, "fake-uv": FAKE_UV.replace("UV_VERSION", version.split()[-1])}
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user would, not as a part of the make that may run these tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | {"HOME": ""}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def set_up(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return make(checkout, "setup", f"PYTHON={checkout}/python-stand-in", *arguments)


def calls(checkout: Path) -> list[str]:
    note = checkout / "calls"
    return note.read_text().splitlines() if note.exists() else []


def test_make_alone_lists_the_targets_that_scripts_rely_on() -> None:
    told = make(ROOT).stdout
    for target in ("setup", "demo", "up", "test", "check", "lint", "format", "types", "migration", "clean"):
        assert f"  make {target} " in told


def test_the_first_time_installs_the_lock_and_the_second_does_nothing(checkout: Path) -> None:
    first = set_up(checkout)
    assert first.returncode == 0, first.stderr
    assert "Setup: making ./.venv with Python 3.11.9." in first.stdout
    assert calls(checkout) == ["sync --frozen --extra cpu --compile-bytecode --python .venv/bin/python"]
    second = set_up(checkout)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(calls(checkout)) == 1


@pytest.mark.parametrize("change", ["another lock", "another extra"])
def test_what_it_was_made_for_is_remembered(checkout: Path, change: str) -> None:
    set_up(checkout)
    if change == "another lock":
        (checkout / "uv.lock").write_text("changed")
    again = set_up(checkout, *(["EXTRA=gpu"] if change == "another extra" else []))
    assert again.returncode == 0
    assert len(calls(checkout)) == 2


def test_what_an_interrupted_one_left_is_thrown_away_the_next_time(checkout: Path) -> None:
    (checkout / "broken").touch()
    failed = set_up(checkout)
    assert failed.returncode != 0
    assert "Setup: it failed, and the lines above say why." in failed.stderr
    (checkout / ".venv" / "half-installed").touch()
    (checkout / "broken").unlink()
    healed = set_up(checkout)
    assert healed.returncode == 0
    assert "an earlier one was interrupted; starting over" in healed.stdout
    assert not (checkout / ".venv" / "half-installed").exists()
    assert set_up(checkout).stdout == ""


def test_an_environment_whose_python_has_gone_is_made_anew(checkout: Path) -> None:
    set_up(checkout)
    (checkout / ".venv" / "bin" / "python").unlink()
    assert "making ./.venv" in set_up(checkout).stdout


def test_no_fitting_python_is_told_with_what_to_do(checkout: Path) -> None:
    done = make(checkout, "setup", "PYTHON=/bin/false")
    assert done.returncode != 0
    assert "Trainyard needs Python 3.11, 3.12 or 3.13, and /bin/false is none." in done.stderr
    assert "make setup PYTHON=/path/to/python3.12" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_told(checkout: Path) -> None:
    (checkout / "python-stand-in").write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\n')
    done = set_up(checkout)
    assert done.returncode != 0
    assert "has no venv module. On Debian and Ubuntu: apt install python3-venv" in done.stderr

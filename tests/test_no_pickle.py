"""Nothing of ours reads what could run code when it is read: no pickle in files, none in messages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.messages import celery_settings
from models.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "models", "worker", "migrations", "trainyard", "examples")
FORBIDDEN = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}


def faults(source: str) -> Iterator[str]:
    """What in a module could read a pickle or run text as code."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.partition(".")[0] in FORBIDDEN)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in FORBIDDEN:
                yield module
            case ast.Call(func=ast.Name(id=name)) if name in RUNS_CODE:
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="load"), keywords=keywords):
                if not any(_says(keyword, "allow_pickle", False) for keyword in keywords):
                    yield "np.load without allow_pickle=False"
            case ast.Call(keywords=keywords):
                yield from (f"{word.arg}" for word in keywords if _says(word, "allow_pickle", True))
                yield from (f"{word.arg}=False" for word in keywords if _says(word, "safe_mode", False))


def _says(keyword: ast.keyword, name: str, value: bool) -> bool:
    return keyword.arg == name and isinstance(keyword.value, ast.Constant) and keyword.value.value is value


def test_no_package_of_ours_reads_pickles() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 100
    assert [f"{path.relative_to(ROOT)}: {fault}" for path in files for fault in faults(path.read_text())] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import joblib.memory",
        "from dill import loads",
        "import shelve as s",
        "import marshal",
        "np.load(file)",
        "numpy.load(file, mmap_mode='r')",
        "np.load(file, allow_pickle=True)",
        "np.savez(file, allow_pickle=True)",
        "keras.models.load_model(path, safe_mode=False)",
        "eval(text)",
    ],
)
def test_each_way_would_be_found(line: str) -> None:
    assert list(faults(line))


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "filesystem"])
def test_messages_are_json_and_nothing_else_is_accepted(url: str, tmp_path: Path) -> None:
    sent = celery_settings(Settings(broker_url=url if "://" in url else f"filesystem://{tmp_path}"))
    assert sent["accept_content"] == ["json"]
    assert sent["task_serializer"] == "json"

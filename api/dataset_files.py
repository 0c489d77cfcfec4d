"""Where the files of a data set lie on this machine, for the self-check; a worker reads them by itself."""

import gzip
import hashlib
import importlib.util
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from models.datasets import DatasetFacts

Verdict = tuple[Literal["ok", "warning", "wrong"], str, str]


def whereabouts(facts: DatasetFacts, datasets_dir: Path, offline: bool) -> Verdict:
    """Whether a worker on this machine would find `facts`: a status, what was found, and what to do about it."""
    if not facts.files:
        if importlib.util.find_spec("sklearn"):
            return "ok", "comes with scikit-learn", ""
        return "warning", "scikit-learn, which brings it, is not installed", "`make setup` installs it."
    cache = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets"
    for folder in (datasets_dir, cache):
        homes = (folder / facts.folder, folder / facts.name)
        found = {
            file: _first(home / name for home in homes for name in (file.name, f"{file.name}.gz"))
            for file in facts.files
        }
        if all(found.values()):
            damaged = [path.name for file, path in found.items() if path and _md5(path) != file.md5]
            if damaged:
                return "wrong", f"not the original in {folder}: {', '.join(damaged)}", "Put the original file there."
            return "ok", f"in {folder}, the originals", ""
        if archive := _first(home / name for home in (folder, *homes) for name in facts.archives):
            return "ok", f"{archive}, which is verified when a job first reads it", ""
    if not offline:
        return "ok", "not here, downloaded when a job first needs it", ""
    names = ", ".join(file.name for file in facts.files)
    advice = f"Put {names} (gzipped or not) into {datasets_dir / facts.folder}, or unset TRAINYARD_OFFLINE."
    return "warning", "not here, and TRAINYARD_OFFLINE forbids downloading it", advice


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _md5(path: Path) -> str:
    """Of the content, unpacked; nothing that is on record where it cannot be read."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        return str(error)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

"""What the experiments ran on, in a line."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy")


def machine() -> str:
    """Date, processor, cores and versions."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    date = datetime.now(UTC).date().isoformat()
    return f"{date}, {os.cpu_count()} cores ({platform.machine()}), {', '.join(versions)}"

"""What the figures were measured on."""

import os
import platform
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = {"amx_bf16", "avx512_bf16"}


def machine_facts() -> dict[str, Any]:
    """Processor, cores this process may use, what it has for bfloat16, and the versions around the contestants."""
    fields = cpu_fields(CPUINFO.read_text()) if CPUINFO.exists() else {}
    return {
        "cpu": fields.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "bfloat16": sorted(BFLOAT16 & set(fields.get("flags", "").split())),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def cpu_fields(text: str) -> dict[str, str]:
    """The fields of the first processor of a /proc/cpuinfo."""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}

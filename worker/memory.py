"""How much memory this process has taken, how much there is for it, and whether the system ran out of it before."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MB = 1_000_000
PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def memory_facts() -> dict[str, int | None]:
    """The columns of a worker's row that tell of memory; None where this system does not say."""
    return {"memory_mb": _limit_mb(), "used_memory_mb": _used_mb(), "oom_kills": _oom_kills()}


def _used_mb() -> int | None:
    """The resident set of this process; where there is no /proc, the largest that it ever was."""
    with suppress(OSError, ValueError, IndexError):
        pages = int((PROC / "self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // MB
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak if sys.platform == "darwin" else peak * 1024) // MB
    return None


def _limit_mb() -> int | None:
    """The machine's memory, or what a control group leaves of it."""
    limits = [limit for folder in _cgroups() if (limit := _limit_of(folder)) is not None]
    with suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits) // MB if limits else None


def _limit_of(cgroup: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            return int((cgroup / name).read_text())
    return None


def _oom_kills() -> int | None:
    """How many processes of the innermost control group that counts them the kernel ended for want of memory."""
    for folder in _cgroups():
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError, ValueError):
                counts = dict(line.split() for line in (folder / name).read_text().splitlines())
                if "oom_kill" in counts:
                    return int(counts["oom_kill"])
    return None


def _cgroups() -> Iterator[Path]:
    """This process's control groups for memory, from the inside out; version 2, then version 1.

    In a container the path in /proc may be that of the host, of which only the root can be seen.
    """
    with suppress(OSError):
        lines = (PROC / "self/cgroup").read_text().splitlines()
        for number, controllers, path in (line.split(":", 2) for line in lines):
            if number == "0" or "memory" in controllers.split(","):
                root = CGROUP if number == "0" else CGROUP / "memory"
                inner = root / path.lstrip("/")
                yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))

"""What a worker tells of its memory, by the files of every kind of system."""

from pathlib import Path

import pytest

from worker import memory

V2 = {"proc/self/cgroup": "0::/yard/worker\n", "cgroup/yard/memory.max": "8000000000\n"}
EVENTS = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n"
V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
    "cgroup/memory/memory.limit_in_bytes": "4000000000\n",
    "cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
}
UNLIMITED = {"proc/self/cgroup": "0::/\n", "cgroup/memory.max": "max\n"}


@pytest.mark.parametrize(
    ("files", "limit", "kills"),
    [
        pytest.param(V2, 8000, None, id="version 2, limited outside"),
        pytest.param(V2 | {"cgroup/yard/worker/memory.max": "max\n"}, 8000, None, id="limited further out"),
        pytest.param(V2 | {"cgroup/yard/worker/memory.events": EVENTS}, 8000, 2, id="version 2 with kills"),
        pytest.param(V1, 4000, 1, id="version 1, in a container"),
        pytest.param(UNLIMITED, None, None, id="unlimited"),
        pytest.param({}, None, None, id="not Linux"),
    ],
)
def test_the_limit_is_the_smallest_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], limit: int | None, kills: int | None
) -> None:
    (tmp_path / "cgroup").mkdir()
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    machine = memory.memory_facts()["memory_mb"]
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "cgroup")
    told = memory.memory_facts()
    whole = memory._limit_mb() if limit is None else limit
    assert machine is not None
    assert (told["memory_mb"], told["oom_kills"]) == (whole, kills)
    assert limit is None or told["memory_mb"] == min(limit, told["memory_mb"] or 0)
    used = told["used_memory_mb"]
    assert used is not None
    assert 10 < used < 100_000

"""From the figures of the service to a table with its targets."""

import statistics
from dataclasses import dataclass, replace
from typing import Any

SCRIPT_RATIO = 5.0
# A job may take this share of the bare loop's time longer, and so many seconds more.
OVERHEAD_SHARE, OVERHEAD_SECONDS = 0.05, 1.0


@dataclass(frozen=True)
class Line:
    """One figure over its repeats, in the order they were measured, and what its median should be, if anything."""

    what: str
    values: list[float]
    unit: str = "s"
    verdict: str = ""


def lines_of(figures: dict[str, Any]) -> list[Line]:
    """The table's lines from what `benchmarks.service.measure` answers; targets are for whole data only."""
    script = figures["script"]
    firsts, seconds = (each(figures[group], "succeeded") for group in ("first", "second"))
    lines = [
        *cold_lines(figures["cold"]),
        *warm_lines("first job of a warm worker", figures["first"]),
        *warm_lines("the same job once more", figures["second"]),
        Line("cold script, whole process", script),
        script_line("script / first job", script, firsts),
        script_line("script / the same once more", script, seconds),
        *overhead_lines(figures["pairs"]),
    ]
    return lines if figures["amount"]["images"] is None else [replace(line, verdict="") for line in lines]


def cold_lines(jobs: list[dict[str, Any]]) -> list[Line]:
    """From the start of `trainyard up`."""
    parts = {"the job accepted": "accepted", "first batch": "first_batch", "first epoch told": "first_epoch"}
    return [Line(f"cold: `trainyard up` to {what}", each(jobs, name)) for what, name in parts.items()]


def warm_lines(whose: str, jobs: list[dict[str, Any]]) -> list[Line]:
    """From the POST."""
    parts = {"first batch": "first_batch", "first epoch told": "first_epoch", "success told": "succeeded"}
    return [Line(f"{whose}: POST to {what}", each(jobs, name)) for what, name in parts.items()]


def script_line(what: str, scripts: list[float], jobs: list[float]) -> Line:
    """How many times as long the script took, turn by turn."""
    ratios = [script / job for script, job in zip(scripts, jobs, strict=True)]
    return Line(what, ratios, "x", judged(f"at least {SCRIPT_RATIO:g} x", statistics.median(ratios) >= SCRIPT_RATIO))


def overhead_lines(pairs: list[dict[str, Any]]) -> list[Line]:
    """What jobs took beyond the bare loop of the same turn."""
    bare, jobs = each(pairs, "bare"), each(pairs, "job")
    over = [job - loop for job, loop in zip(jobs, bare, strict=True)]
    shares = [100 * more / loop for more, loop in zip(over, bare, strict=True)]
    allowed = OVERHEAD_SHARE * statistics.median(bare) + OVERHEAD_SECONDS
    verdict = judged(f"at most {allowed:.2f} s", statistics.median(over) <= allowed)
    return [
        Line("long job: claim to success", jobs),
        Line("long job: bare loop", bare),
        Line("long job: overhead", over, "s", verdict),
        Line("long job: overhead, of the bare loop", shares, "%"),
    ]


def each(rows: list[dict[str, Any]], name: str) -> list[float]:
    """One value of every row."""
    return [row[name] for row in rows]


def judged(target: str, met: bool) -> str:
    """The target, and whether it was met."""
    return f"{target}: {'met' if met else 'MISSED'}"


def rendered(lines: list[Line]) -> str:
    """The lines as text under a heading: median, and all values in their order."""
    width = max(len(line.what) for line in lines)
    text = [f"{'':{width}}  {'median':>9}    repeats in their order"]
    for line in lines:
        values = " ".join(f"{value:8.2f}" for value in line.values)
        shown = f"{line.what:{width}}  {statistics.median(line.values):9.2f} {line.unit} {values}  {line.verdict}"
        text.append(shown.rstrip())
    return "\n".join(text)


def accuracies_differ(pairs: list[dict[str, Any]]) -> bool:
    """Whether a job came to another accuracy than the bare loop: then the two did not do the same work."""
    return any(abs(bare - job) > 1e-6 for bare, job in (pair["val_accuracy"] for pair in pairs))

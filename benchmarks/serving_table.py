"""From the rounds of all contestants to tables and verdicts."""

import statistics
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import Load
from benchmarks.table import aligned, paired_ratio

OURS, ALIVE = "trainyard", "livez"
# Times as many requests a second as each of these should be answered.
WANTED = {
    "bentoml": 3.0,
    "mlflow": 2.5,
    "mlflow onnx": 2.5,
    "litserve": 1.5,
    "litserve, batches": 1.5,
    "model.predict": 50.0,
}
MOST_MILLISECONDS, LEAST_RATE, SHARE_OF_ALIVE = 1.0, 2500.0, 1 / 3


@dataclass
class Figures:
    """What one contestant did at one concurrency, an entry a round.

    Rates are answers a second, `processor` is microseconds of processor time an answer, all else is milliseconds.
    """

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    stalls: int = 0

    def add(self, load: Load, processor_seconds: float) -> None:
        """A further round."""
        self.rates.append(load.rate)
        self.p50.append(load.percentile(0.5) * 1e3)
        self.p99.append(load.percentile(0.99) * 1e3)
        self.longest.append(load.percentile(1) * 1e3)
        self.processor.append(processor_seconds / len(load.latencies) * 1e6)
        self.stalls += load.stalls


@dataclass
class Row:
    """A contestant: its figures by concurrency, and of its server the memory in MB and the seconds of a cold start."""

    contestant: str
    memory: float
    cold_seconds: float
    by_concurrency: dict[int, Figures]


def as_json(row: Row) -> dict[str, Any]:
    """The row for the JSON file."""
    return vars(row) | {"by_concurrency": {at: vars(figures) for at, figures in row.by_concurrency.items()}}


def rendered(rows: list[Row]) -> str:
    """A table for each concurrency; medians of the rounds, the longest time and the stalls of all of them."""
    return "\n\n".join(_of_concurrency(rows, at) for at in rows[0].by_concurrency)


def _of_concurrency(rows: list[Row], at: int) -> str:
    heading = (
        f"concurrency {at}",
        "req/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "stalls",
        "cpu us",
        "ours/it",
        "MB",
        "cold s",
    )
    return aligned([heading, *(_cells(row, at, _ratio(rows, row.contestant, at)) for row in rows)])


def _cells(row: Row, at: int, ratio: float | None) -> tuple[str, ...]:
    figures = row.by_concurrency[at]
    times = (statistics.median(figures.p50), statistics.median(figures.p99))
    return (
        row.contestant,
        f"{statistics.median(figures.rates):.0f}",
        *(f"{milliseconds:.3f}" for milliseconds in times),
        f"{max(figures.longest):.1f}",
        str(figures.stalls),
        f"{statistics.median(figures.processor):.0f}",
        "-" if ratio is None else f"{ratio:.2f}",
        f"{row.memory:.0f}",
        f"{row.cold_seconds:.1f}",
    )


def _ratio(rows: list[Row], contestant: str, at: int) -> float | None:
    """How many times as many requests we answer, the median over the rounds; None when either is not there."""
    rates = {row.contestant: row.by_concurrency[at].rates for row in rows}
    return paired_ratio(rates.get(OURS), rates[contestant]) if contestant in rates else None


def verdicts(rows: list[Row]) -> list[str]:
    """A sentence for each target that these contestants let one judge."""
    ours = next((row for row in rows if row.contestant == OURS), None)
    if ours is None:
        return []
    said = []
    if {1, 16} <= ours.by_concurrency.keys():
        said.append(_speed(rows, ours))
    for name, wanted in WANTED.items():
        ratios = [ratio for at in ours.by_concurrency if (ratio := _ratio(rows, name, at)) is not None]
        if ratios:
            shown = " and ".join(f"{ratio:.2f}" for ratio in ratios)
            said.append(f"{shown} times {name}, at least {wanted:g}: {_met(min(ratios) >= wanted)}")
    stalls = sum(figures.stalls for figures in ours.by_concurrency.values())
    return [*said, f"{stalls} stalls over 50 ms, none: {_met(stalls == 0)}"]


def _speed(rows: list[Row], ours: Row) -> str:
    p50 = statistics.median(ours.by_concurrency[1].p50)
    rate = statistics.median(ours.by_concurrency[16].rates)
    said = f"p50 {p50:.3f} ms at 1, {rate:.0f} requests/s at 16"
    met = p50 <= MOST_MILLISECONDS and rate >= LEAST_RATE
    target = f"at most {MOST_MILLISECONDS} and at least {LEAST_RATE:.0f}"
    shares = [ratio for at in (1, 16) if (ratio := _ratio(rows, ALIVE, at)) is not None]
    if shares:
        said += f" ({shares[0]:.2f} and {shares[1]:.2f} of /livez)"
        target += ", or a third of /livez"
        met = met or min(shares) >= SHARE_OF_ALIVE
    return f"{said}, {target}: {_met(met)}"


def _met(met: bool) -> str:
    return "met" if met else "MISSED"

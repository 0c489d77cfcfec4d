"""From the epochs of all contestants to a table."""

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.rounds import Run

STOCK, JAX = "keras fit", "jax"


@dataclass(frozen=True)
class Row:
    """A contestant's figures; a ratio says how many times as fast it is as another, None where the other is absent."""

    contestant: str
    median: float
    quickest: float
    slowest: float
    to_stock: float | None
    to_jax: float | None
    to_floor: float
    accuracies: tuple[float, ...]
    peak_rss_mb: int


def summarize(runs: dict[str, list[Run]], drop: int, floor: float) -> list[Row]:
    """A row a contestant, from its runs, one a seed; the first `drop` epochs of each run warm up and do not count."""
    seconds = {name: timed(of_seeds, drop) for name, of_seeds in runs.items()}
    return [
        Row(
            name,
            statistics.median(seconds[name]),
            min(seconds[name]),
            max(seconds[name]),
            paired_ratio(seconds.get(STOCK), seconds[name]),
            paired_ratio(seconds.get(JAX), seconds[name]),
            statistics.median(seconds[name]) / floor,
            tuple(run.epochs[-1]["val_accuracy"] for run in of_seeds),
            max(run.facts["peak_rss_mb"] for run in of_seeds),
        )
        for name, of_seeds in runs.items()
    ]


def timed(of_seeds: list[Run], drop: int) -> list[float]:
    """The seconds of every epoch that counts, seed after seed."""
    return [epoch["seconds"] for run in of_seeds for epoch in run.epochs[drop:]]


def paired_ratio(others: list[float] | None, own: list[float]) -> float | None:
    """The median over rounds of other / own: rounds are compared, so what slows both for a while falls out."""
    if others is None:
        return None
    return statistics.median(other / mine for other, mine in zip(others, own, strict=True))


def rendered(rows: list[Row]) -> str:
    """The rows as text, under a heading."""
    heading = ("contestant", "s/epoch", "min", "max", "x stock", "x jax", "x floor", "val_accuracy", "peak MB")
    return aligned([heading, *(_cells(row) for row in rows)])


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as text: the first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def as_json(row: Row) -> dict[str, Any]:
    """The row for the JSON file."""
    return vars(row)


def _cells(row: Row) -> tuple[str, ...]:
    ratios = ("-" if ratio is None else f"{ratio:.2f}" for ratio in (row.to_stock, row.to_jax))
    seconds = (f"{value:.3f}" for value in (row.median, row.quickest, row.slowest))
    return row.contestant, *seconds, *ratios, f"{row.to_floor:.1f}", _accuracy(row.accuracies), str(row.peak_rss_mb)


def _accuracy(accuracies: tuple[float, ...]) -> str:
    """The accuracy, or with several seeds their mean and range."""
    mean = f"{statistics.fmean(accuracies):.4f}"
    return mean if len(accuracies) == 1 else f"{mean} ({min(accuracies):.4f}-{max(accuracies):.4f})"

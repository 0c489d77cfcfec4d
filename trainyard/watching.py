"""Shows a job's epochs as they come: a line for each, and on a terminal a progress bar below them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from trainyard.client import Client
from trainyard.findings import change_line, diagnosis_line

BAR_WIDTH = 20


@dataclass(frozen=True)
class Display:
    """Where lines go while a job runs; `advance(epoch)` moves the bar, which is else drawn into the lines."""

    line: Callable[[str], None]
    advance: Callable[[int], None]
    has_bar: bool


@contextmanager
def display(total: int, stream: TextIO) -> Iterator[Display]:
    """A display for `total` epochs: Rich's bar on a terminal, plain lines and no control characters elsewhere."""
    # Imported here: Rich takes longer to load than most commands take to run.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream, highlight=False, markup=False, soft_wrap=True)
    if not stream.isatty() or console.is_dumb_terminal:
        yield Display(lambda text: print(text, file=stream, flush=True), lambda _: None, has_bar=False)
        return
    columns = (
        TextColumn("   training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total)
        yield Display(console.print, lambda epoch: progress.update(bar, completed=epoch), has_bar=True)


def follow(service: Client, job_id: str, stream: TextIO, indent: str = "", patience: float = 60.0) -> dict[str, Any]:
    """Show a job from first event to last, and answer its final state; `patience` is that of `Client.events`."""
    total = int(service.job(job_id)["progress"]["epochs"])
    with display(total, stream) as screen:
        for event in service.events(job_id, patience=patience):
            data = event["data"]
            if event["event"] == "epoch":
                screen.line(indent + epoch_line(data, total, bar=not screen.has_bar))
                screen.advance(int(data["epoch"]))
            elif event["event"] in LINES:
                screen.line(indent + LINES[event["event"]](data))
    return service.job(job_id)


def watch_job(service: Client, job_id: str) -> int:
    """Follow a job in the terminal; answers the exit code, 0 when it succeeded."""
    job = follow(service, job_id, sys.stdout)
    print(ending(job))  # noqa: T201 - the terminal
    return 0 if job["status"] == "succeeded" else 1


def epoch_line(row: dict[str, Any], total: int, bar: bool = True) -> str:
    """One metrics row as text: `epoch  3/10 [######--------------] loss 0.3100  accuracy 0.8900  0.31 s`."""
    epoch, width = int(row["epoch"]), len(str(total))
    done = BAR_WIDTH * epoch // max(total, 1)
    drawn = f" [{'#' * done}{'-' * (BAR_WIDTH - done)}]" if bar else ""
    nonfinite = row.get("nonfinite") or {}
    metrics = "  ".join(f"{name} {number(value, nonfinite.get(name))}" for name, value in row["metrics"].items())
    seconds = row.get("seconds")
    return f"epoch {epoch:>{width}}/{total}{drawn} {metrics}" + ("" if seconds is None else f"  {seconds:.2f} s")


def number(value: float | None, nonfinite: str | None = None) -> str:
    """A metric with four decimals, or in exponents when that would show nothing of it."""
    if value is None:
        return nonfinite or "-"
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 100_000 else f"{value:.3e}"


def state_line(data: dict[str, Any]) -> str:
    """A state event as text."""
    reason = f": {data['reason']}" if data.get("reason") else ""
    if data.get("requested"):
        return f"{data['requested']} requested{reason}"
    return f"{data.get('status')}{reason}"


LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "state": state_line,
    "diagnosis": diagnosis_line,
    "change": change_line,
}


def ending(job: dict[str, Any]) -> str:
    """How a job ended, in a sentence."""
    if job["status"] == "succeeded":
        scores = ", ".join(f"{name} {number(value)}" for name, value in (job.get("evaluation") or {}).items())
        model = job.get("model")
        return (
            "succeeded"
            + (f"; test {scores}" if scores else "")
            + (f"; model {model['name']}:{model['version']}" if model else "")
        )
    failure = job.get("failure") or {}
    return f"{job['status']}" + (f" ({failure.get('kind')}): {failure.get('message')}" if failure else "")

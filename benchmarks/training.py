"""Training side by side: this engine, stock Keras, PyTorch and JAX on the same data, network, batches and epochs.

`python -m benchmarks.training` trains each case with all contestants that are installed, prints a table a case and
writes every figure as JSON. Contestants that need benchmarks/.venv are skipped by name without it. A second part
measures the service around the engine (benchmarks/service.py).
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.floor import Floor, measure_floor
from benchmarks.machine import machine_facts
from benchmarks.protocol import Data, Task
from benchmarks.rounds import ROOT, ContestantFailed, Run, take_turns
from benchmarks.service import Amount, measure
from benchmarks.service_table import accuracies_differ, lines_of
from benchmarks.service_table import rendered as service_rendered
from benchmarks.table import as_json, rendered, summarize
from models.settings import Settings
from worker.data import DatasetUnavailable, load

RIVALS_PYTHON = ROOT / "benchmarks" / ".venv" / "bin" / "python"
QUICK_IMAGES = 2000
QUICK_AMOUNT = Amount(epochs=2, long_seconds=0.5, repeats=1, images=QUICK_IMAGES)


@dataclass(frozen=True)
class Entry:
    """A contestant: its module, how it trains, and whether it lives in benchmarks/.venv."""

    module: str
    precision: str = "float32"
    steps_per_execution: int = 1
    is_rival: bool = False


ENTRIES = {
    "trainyard": Entry("engine"),
    "trainyard bf16": Entry("engine", precision="mixed_bfloat16"),
    "keras fit": Entry("keras_fit"),
    "keras fit, steps_per_execution=32": Entry("keras_fit", steps_per_execution=32),
    "pytorch": Entry("torch_loop", is_rival=True),
    "pytorch bf16": Entry("torch_loop", precision="mixed_bfloat16", is_rival=True),
    "jax": Entry("jax_scan", is_rival=True),
}


def main() -> None:
    """Measure what the options ask for."""
    options = parse(sys.argv[1:])
    facts = machine_facts()
    print(f"{facts['cpu']}, {facts['cores']} cores, bfloat16: {', '.join(facts['bfloat16']) or 'none'}", flush=True)
    report: dict[str, Any] = {"machine": facts, "options": {**vars(options), "json": str(options.json)}}
    data = mnist(QUICK_IMAGES if options.quick else None)
    if options.part != "service":
        compare_all(report, data, options)
    if options.part != "training":
        report["service"] = measure(QUICK_AMOUNT if options.quick else Amount(repeats=options.repeats), data)
        show_service(report["service"])
        write(report, options.json)
    print(f"\nEvery figure is in {options.json}.")


def compare_all(report: dict[str, Any], data: Data, options: argparse.Namespace) -> None:
    """Let the contestants train each case; the report is written after each."""
    entries = {}
    for name in options.contestant or ENTRIES:
        reason = why_skipped(ENTRIES[name], report["machine"]["bfloat16"], RIVALS_PYTHON.exists())
        if reason:
            print(f"{name}: skipped: {reason}", flush=True)
        else:
            entries[name] = ENTRIES[name]
    report["cases"] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "mnist.npz")
        data.write(path)
        for name in options.case or CASES:
            report["cases"][name] = compare(CASES[name], entries, data, path, options)
            write(report, options.json)


def show_service(figures: dict[str, Any]) -> None:
    """Print the table of the service."""
    amount = figures["amount"]
    print(f"\nservice: {figures['case']}, {amount['epochs']} epochs; the long job has {figures['long_epochs']}")
    print(service_rendered(lines_of(figures)), flush=True)
    if accuracies_differ(figures["pairs"]):
        print("The long job and the bare loop came to different accuracies: they did not do the same work.")


def write(report: dict[str, Any], path: Path) -> None:
    """Keep every figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; `--quick` lowers what was not given."""
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("training", "service"), help="only this one (both)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement of the service (3)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be repeated")
    parser.add_argument("--contestant", action="append", choices=list(ENTRIES), help="only this one; may be repeated")
    parser.add_argument("--epochs", type=int, help="epochs of each contestant (15)")
    parser.add_argument("--drop", type=int, help="first epochs that do not count (2)")
    parser.add_argument("--seeds", type=int, default=1, help="repeat with so many seeds (1)")
    parser.add_argument("--quick", action="store_true", help=f"2 epochs of {QUICK_IMAGES} images, to see that it works")
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench" / "training.json", help="where figures go")
    options = parser.parse_args(arguments)
    options.epochs = options.epochs or (2 if options.quick else 15)
    if options.drop is None:
        options.drop = 1 if options.quick else 2
    if options.repeats < 1:
        parser.error(f"Something must be measured. Received: --repeats {options.repeats}")
    if options.seeds < 1 or not 0 <= options.drop < options.epochs:
        given = f"--epochs {options.epochs} --drop {options.drop} --seeds {options.seeds}"
        parser.error(f"At least one epoch must count, and one seed be used. Received: {given}")
    return options


def why_skipped(entry: Entry, bfloat16: list[str], rivals_installed: bool) -> str | None:
    """Why a contestant cannot take part here; None when it can."""
    if entry.is_rival and not rivals_installed:
        return "not installed (make bench-setup)"
    if entry.precision != "float32" and not bfloat16:
        return "the processor has no bfloat16"
    return None


def mnist(trained: int | None) -> Data:
    """MNIST as everybody gets it, or its first images only."""
    settings = Settings()
    whole = load("mnist", settings.datasets, settings.offline)
    images = (whole.x_train[:trained, ..., 0], whole.x_test[:trained, ..., 0])
    labels = (whole.y_train[:trained].astype("uint8"), whole.y_test[:trained].astype("uint8"))
    return Data(images[0], labels[0], images[1], labels[1])


def compare(
    case: Case, entries: dict[str, Entry], data: Data, path: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Let the contestants train `case`, print the table, and return every figure."""
    runs: dict[str, list[Run]] = {name: [] for name in entries}
    for seed in range(options.seeds):
        starters = {}
        for name, entry in entries.items():
            task = Task(case.name, path, options.epochs, seed, entry.precision, entry.steps_per_execution)
            starters[name] = (RIVALS_PYTHON if entry.is_rival else Path(sys.executable), entry.module, task)
        for name, run in take_turns(starters, options.epochs).items():
            runs[name].append(run)
    floor = measure_floor(case, len(data.x_train), len(data.x_val))
    rows = summarize(runs, options.drop, floor.seconds)
    print(f"\n{title(case, floor, options)}\n{rendered(rows)}", flush=True)
    return {
        "floor": {"seconds": floor.seconds, **vars(floor)},
        "table": [as_json(row) for row in rows],
        "runs": {name: [vars(run) for run in of_seeds] for name, of_seeds in runs.items()},
    }


def title(case: Case, floor: Floor, options: argparse.Namespace) -> str:
    """What was trained, and what the arithmetic alone would take."""
    gigaflops = max(floor.rates.values()) / 1e9
    return (
        f"{case.name}: batch {case.batch_size}, {options.epochs} epochs, the first {options.drop} dropped; "
        f"floor {floor.seconds:.3f} s ({floor.operations / 1e9:.1f} GFLOP at {gigaflops:.0f} GFLOP/s)"
    )


if __name__ == "__main__":
    try:
        main()
    except (ContestantFailed, DatasetUnavailable) as error:
        sys.exit(str(error))

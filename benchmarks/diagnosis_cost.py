"""What the diagnosis costs: each network of the training benchmark, an epoch with it and an epoch without in turns.

`python -m benchmarks.diagnosis_cost` prints the share of time and writes every figure as JSON. The diagnosis counts
every second epoch only, as if the others were not there, so both kinds meet the same machine.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from benchmarks.cases import CASES
from benchmarks.machine import machine_facts
from models.settings import Settings
from models.spec import parse_spec
from worker import training
from worker.data import DatasetUnavailable, scaling_of, split_for
from worker.diagnosis.doctor import Doctor, wake
from worker.plan import plan_for
from worker.rehearsal import chunks_of, rehearse

JSON = Path(__file__).parent.parent / "var" / "bench" / "diagnosis_cost.json"


@dataclass
class Figures:
    """Of one network: seconds of each epoch with and without, those in the diagnosis alone, and epochs looked into."""

    case: str
    with_it: list[float] = field(default_factory=list)
    without: list[float] = field(default_factory=list)
    in_it: list[float] = field(default_factory=list)
    looks: int = 0

    def row(self) -> str:
        """A line of the table."""
        epochs = sum(self.with_it) - sum(self.in_it)
        looked = [seconds for seconds in self.in_it if seconds > 0.001]
        return (
            f"{self.case:<12}{median(self.without):>12.3f}{median(self.with_it):>12.3f}"
            f"{self.looks:>4} of {len(self.with_it):<4}{1000 * median(looked or [0]):>9.1f}"
            f"{100 * sum(self.in_it) / epochs:>9.2f} %"
        )


HEAD = f"{'network':<12}{'s without':>12}{'s with':>12}{'looks':>11}{'ms a look':>10}{'share':>11}"


class EverySecond(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Has a doctor see every second epoch, beginning with the first, and takes the time."""

    def __init__(self, doctor: Doctor, figures: Figures) -> None:
        super().__init__()
        self._doctor, self._figures, self._began = doctor, figures, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = perf_counter()
        if epoch % 2 == 0:
            self._doctor.on_epoch_begin(epoch // 2, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        ended = perf_counter()
        if epoch % 2:
            self._figures.without.append(ended - self._began)
            return
        self._doctor.on_epoch_end(epoch // 2, logs)
        self._figures.in_it.append(perf_counter() - ended)
        self._figures.with_it.append(perf_counter() - self._began)
        self._figures.looks += len(self._doctor.pending().signs)


def main() -> None:
    """Measure what the options ask for."""
    options = parse(sys.argv[1:])
    wake()  # as a worker does when it starts
    print(HEAD, flush=True)
    measured = []
    for name in options.case or CASES:
        figures = measure(name, options.epochs)
        print(figures.row(), flush=True)
        measured.append(asdict(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine_facts(), "cases": measured}, indent=2) + "\n")
    print(f"Every figure is in {options.json}.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="benchmarks.diagnosis_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be repeated")
    parser.add_argument("--epochs", type=int, default=15, help="epochs with it, and as many without (15)")
    parser.add_argument("--json", type=Path, default=JSON, help="where figures go")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"At least one epoch must be trained. Received: --epochs {options.epochs}")
    return options


def measure(name: str, epochs: int) -> Figures:
    """Train one network for twice so many epochs."""
    case, settings = CASES[name], Settings()
    spec = parse_spec(
        {
            "dataset": {"name": "mnist", "validation": {"test": True}},
            "network": {"layers": list(case.layers)},
            "batch_size": case.batch_size,
            "epochs": 2 * epochs,
        }
    )
    split = split_for(spec, settings.datasets, settings.offline)
    model = training.build_model(spec, split, scaling_of(spec.dataset, split.x_train), plan_for(spec))
    chunks = rehearse(model, chunks_of(spec, len(split.x_train)))
    figures = Figures(name)
    seeing = EverySecond(Doctor(model, spec, epochs=lambda: epochs), figures)
    validated = None if split.x_val is None else len(split.x_val)
    training.fit(model, chunks, seed=spec.seed, epochs=spec.epochs, validated=validated, callbacks=[seeing])
    return figures


if __name__ == "__main__":
    try:
        main()
    except DatasetUnavailable as error:
        sys.exit(str(error))

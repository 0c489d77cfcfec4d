"""Run the experiments and write the gallery: `python -m examples.gallery [--only 03,07] [--quick] [--url URL]`.

Without --quick the page is docs/experiments.md, with its pictures in docs/experiments/. With --quick everything is
small and goes to var/examples-quick: it shows that all of it works, not that the claims hold.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from examples.gallery.claims import ticks
from examples.gallery.experiment import Experiment, read_all
from examples.gallery.machine import machine
from examples.gallery.page import write_page
from examples.gallery.runner import Runner
from examples.gallery.service import Service, with_service
from trainyard.errors import Unreachable

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Answers 0 when every experiment ran and, without --quick, every claim held."""
    parser = argparse.ArgumentParser(prog="examples.gallery", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="numbers of experiments, as in 03,07; the others keep their results")
    parser.add_argument("--quick", action="store_true", help="small, into var/examples-quick")
    parser.add_argument("--url", help="use the service that runs there")
    parser.add_argument("--page", action="store_true", help="run nothing: judge the kept figures, write the page")
    options = parser.parse_args(arguments)

    everything = read_all()
    wanted = {number.strip().zfill(2) for number in options.only.split(",") if number.strip()}
    unknown = wanted - {experiment.number for experiment in everything}
    if unknown:
        parser.error(f"There are experiments 01 to {everything[-1].number}. Received: {', '.join(sorted(unknown))}")
    chosen = [experiment for experiment in everything if not wanted or experiment.number in wanted]
    page = ROOT / "var" / "examples-quick" / "experiments.md" if options.quick else ROOT / "docs" / "experiments.md"
    folder = page.parent if options.quick else page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    if options.page:
        figures = load(folder)
        for experiment in everything:
            if "ticks" in (entry := figures.get(experiment.number, {})):
                entry["ticks"] = ticks(experiment.body.get("expect", ()), entry["runs"])
        save(folder, figures)
        write_page(page, folder, everything, figures)
        return 0

    def work(service: Service) -> int:
        return run_all(Runner(service, folder, options.quick, say), chosen, everything, page)

    code = with_service(options.url, os.environ.get("TRAINYARD_API_KEY"), say, work)
    say(f"The page: {page}")
    return code


def run_all(runner: Runner, chosen: list[Experiment], everything: list[Experiment], page: Path) -> int:
    """Run the chosen ones, writing the page after each, so that an interrupted run loses little."""
    bad = []
    for experiment in chosen:
        missing = [name for name in sorted(experiment.datasets(runner.quick)) if not runner.service.has(name)]
        if missing:
            say(f"{experiment.number} {experiment.title}: skipped, {' and '.join(missing)} is not here.")
            continue
        say(f"{experiment.number} {experiment.title}")
        try:
            entry = runner.run(experiment)
        except Unreachable as error:
            say(f"   Stopped: {error}")
            return 1
        figures = load(runner.folder)
        figures["machine"] = machine()
        figures[experiment.number] = entry
        save(runner.folder, dict(sorted(figures.items())))
        write_page(page, runner.folder, everything, figures)
        missed = [tick for tick in entry.get("ticks", ()) if not tick["holds"]]
        if entry["failed"]:
            say(f"   FAILED. {entry['failed']}")
        for tick in missed:
            say(f"   MISSED. {tick['claim']}: {tick['measured']}")
        say(f"   {entry['seconds']:.0f} s in all")
        if entry["failed"] or missed:
            bad.append(experiment.number)
    say(f"Not as claimed: {', '.join(bad)}." if bad else "Every experiment ran as its file says.")
    return 1 if bad else 0


def load(folder: Path) -> Json:
    """The figures of earlier runs."""
    path = folder / "figures.json"
    figures: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return figures


def save(folder: Path, figures: Json) -> None:
    """Keep the figures, so that the page can be written again."""
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """One line on the terminal."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

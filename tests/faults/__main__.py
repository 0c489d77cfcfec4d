"""`python -m tests.faults`: faults under running jobs, and the exit code 1 when anything came to harm."""

import argparse
import secrets
import signal
import sys
import time
import traceback
from pathlib import Path

from tests.faults.deployment import ROOT
from tests.faults.journal import Journal
from tests.faults.run import Run

DEPLOYMENTS = ("sqlite", "postgres")


def main() -> int:
    """Run what the arguments say; 1 when there was a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=60, help="how many (default: 60)")
    parser.add_argument("--jobs", type=int, default=0, help="under how many jobs (default: two for five faults)")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule (default: a new one, which is told)")
    parser.add_argument("--deployment", choices=[*DEPLOYMENTS, "both"], default="both")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "faults", help="for logs and files")
    chosen = parser.parse_args()
    if sys.platform != "linux":
        parser.error("processes are found by /proc: this needs Linux")
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    jobs = chosen.jobs or max(4, round(chosen.faults / 2.5))
    # What a `finally` ends is ended on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    violations = 0
    for name in DEPLOYMENTS if chosen.deployment == "both" else (chosen.deployment,):
        folder: Path = (chosen.folder / f"{name}-{seed}").absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder.with_suffix(".log"))
        began = time.monotonic()
        try:
            Run(name, seed, chosen.faults, jobs, folder, journal).go()
        except Exception as error:
            journal.write(traceback.format_exc())
            journal.violation(f"the run could not go on: {error!r}")
        journal.say(
            f"{name}, seed {seed}: {len(journal.violations)} violations in {time.monotonic() - began:.0f} s"
            f"; log {journal.path}, the services' own in {folder}"
        )
        for what in journal.violations:
            journal.write(f"  {what}")
        violations += len(journal.violations)
        journal.close()
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure the diagnosis on planted jobs: `python -m examples.illnesses [--url URL] [--half tuned]`.

By default on a service: one that runs at --url, or a private one that lives as long as the work. With --in-process the
jobs are trained in this process and what was seen of them is kept in var/illnesses, so that the rules can be tuned
without training again; each is then judged with a look after every epoch, and with looks after the first and last one
only. Ends with 1 when fewer than 21 of the 24 ill ones got the right verdict first, or more than 2 of the 24 healthy
ones got any; of a part of them, when the same shares are missed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.gallery.service import with_service
from examples.illnesses.histories import first_finding, history_of, sparse
from examples.illnesses.later import all_later
from examples.illnesses.on_service import Judged, judge
from examples.illnesses.specs import Planted, all_planted
from models.diagnoses import VERDICTS
from models.spec import parse_spec

KEPT = Path(__file__).parents[2] / "var" / "illnesses"
HALVES = ("tuned", "measured", "later")
RIGHT, ALARMS = 21 / 24, 2 / 24


def main(arguments: list[str]) -> int:
    """Answers 0 when enough are right."""
    parser = argparse.ArgumentParser(prog="examples.illnesses", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="use the service that runs there")
    parser.add_argument("--half", choices=HALVES, help="only what rules were tuned on, or not; or those written later")
    parser.add_argument("--only", choices=[*VERDICTS, "healthy"], help="only these")
    parser.add_argument("--in-process", action="store_true", help="train here, and keep what was seen")
    options = parser.parse_args(arguments)
    chosen = [
        planted
        for planted in (all_later() if options.half == "later" else all_planted())
        if options.half in (None, planted.half) and options.only in (None, planted.expected or "healthy")
    ]
    if options.in_process:
        return total([row for planted in chosen for row in judge_here(planted)])

    key = os.environ.get("TRAINYARD_API_KEY")
    return with_service(options.url, key, print, lambda service: total(judge(service, chosen, show)))


def judge_here(planted: Planted) -> list[Judged]:
    """The verdict with looks after every epoch, and the one with few looks where that is another."""
    # Here, since it loads TensorFlow.
    from examples.illnesses.in_process import train

    history, spec = history_of(planted, KEPT, train), parse_spec(planted.spec)
    rows = []
    for seen in (history, sparse(history)):
        found = first_finding(spec, seen)
        row = Judged(planted, found.verdict, found.epoch, found.sentence) if found else Judged(planted, None)
        rows.append(row)
    often, seldom = rows
    kept = often if often.verdict == seldom.verdict or not often.right else seldom
    show(kept)
    return [kept]


def show(row: Judged) -> None:
    """One line."""
    planted = row.planted
    verdict = f"{row.verdict} after epoch {row.epoch}" if row.verdict else "none"
    mark = "right" if row.right else "WRONG"
    name = f"{planted.expected or 'healthy'} {planted.number}: {planted.name}"
    print(f"{mark}  {planted.half:<8}  {name:<60}  {verdict}", flush=True)


def total(judged: Sequence[Judged]) -> int:
    """Print the totals by half and group; answers 0 when enough are right."""
    enough = True
    print()
    for half in (*HALVES, "all"):
        rows = [row for row in judged if half in ("all", row.planted.half)]
        if not rows:
            continue
        ill = [row for row in rows if row.planted.group == "ill"]
        healthy = [row for row in rows if row.planted.group == "healthy"]
        right, alarms = sum(row.right for row in ill), sum(not row.right for row in healthy)
        print(f"{half:<8}  right verdict first: {right} of {len(ill)}; false alarms: {alarms} of {len(healthy)}")
        if half == "all":
            enough = right >= RIGHT * len(ill) and alarms <= ALARMS * len(healthy)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

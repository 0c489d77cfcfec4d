"""The figures of the load benchmark as tables, each with what was wanted of it."""

from collections.abc import Sequence

from benchmarks.load_paced import Answers
from benchmarks.load_queue import LONG, MOST_RATIO, SHORT, Compared
from benchmarks.load_streams import MOST_P99, Streamed
from benchmarks.load_submits import JOBS_EACH, Served, Submitted


def verdict(met: bool) -> str:
    """How a target is told of that was reached, or not."""
    return "met" if met else "MISSED"


def times(answers: Answers) -> str:
    """Answers, and their p50, p99 and longest time."""
    p50, p99, longest = (answers.percentile(share) * 1e3 for share in (0.5, 0.99, 1.0))
    failed = f", {len(answers.errors)} failed: {answers.errors[0][:200]}" if answers.errors else ""
    return f"{len(answers.latencies):,} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.0f} ms{failed}"


def queue_table(rows: Sequence[Compared], long: int = LONG) -> str:
    """Both queues side by side."""
    lines = [f"{'':<26}{f'{SHORT:,} queued':>19}{f'{long:,} queued':>19}{'ratio':>8}"]
    for row in rows:
        sides = "".join(f"{f'{p50:.2f} / {p99:.1f} ms':>19}" for p50, p99 in (row.short, row.long))
        lines.append(f"{row.name:<26}{sides}{row.ratio:>8.2f}  at most {MOST_RATIO:g}: {verdict(row.met)}")
    return "\n".join(["Time of an answer (p50 / p99) beside a short and a long queue", *lines])


def streams_text(done: Streamed) -> str:
    """What became of the streams, and of the predictions meanwhile."""
    followed, crowd = done.followed, done.crowd
    delays = [followed[name] * 1e3 for name in ("delay_p50", "delay_p99")]
    before, after = done.memory
    each = (after - before) * 1e3 / crowd.streams
    lines = [
        f"{crowd.name}, {followed['events']:,} events; a stand-in wrote {done.written['rows_a_second']:.0f} epochs a "
        "second through models.jobs and trained nothing",
        f"  streams that saw each row once, in order, and ended: {followed['complete']:,} of {crowd.streams:,}: "
        + verdict(done.complete),
        *(f"    {why}" for why in followed["broken"]),
        f"  from the row to the client: p50 {delays[0]:.0f} ms, p99 {delays[1]:.0f} ms",
        f"  memory of the API: {before:.0f} MB, {after:.0f} MB with the streams, {each:.0f} kB each",
        f"  /predict before:              {times(done.alone)}",
        f"  /predict while they connect:  {times(done.connecting)} (it took {followed['ready_seconds']:.1f} s)",
        f"  /predict while they are told: {times(done.beside)}",
        f"  p99 at most {MOST_P99 * 1e3:g} ms: {verdict(done.quick)}",
    ]
    return "\n".join(lines)


def submits_text(done: Submitted) -> str:
    """What became of jobs at a steady rate."""
    return (
        f"{done.rate:g} submits a second for {done.seconds:g} s: {times(done.answers)}, "
        f"in {done.answers.seconds:.1f} s; {done.lost} lost, {done.doubled} on record that nobody asked for: "
        + verdict(done.kept_up)
    )


def users_text(done: Served) -> str:
    """What became of many users at once."""
    return (
        f"{done.users} users with keys of their own, {JOBS_EACH} jobs each, at once: {times(done.answers)}; "
        f"{done.on_record} on record; two stand-ins for workers then took {len(done.order)}, everybody's first before "
        f"anybody's second, and so on: {verdict(done.fair)}"
    )

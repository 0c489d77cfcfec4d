"""Writes the gallery as Markdown: for each experiment the claim, the spec, the figures, the plots, what holds."""

import json
from pathlib import Path
from typing import Any

from examples.gallery.claims import look_up, shown
from examples.gallery.experiment import Experiment, Step
from examples.gallery.mending import HEAD, rows_of, sentences
from examples.gallery.studies import covers

Json = dict[str, Any]
WIDTH = 100
HEADER = """# Experiments

Every experiment here is one file in `examples/experiments/`, and all that is shown came out of running it with
`make examples`. What a file claims about its figures is checked when it runs: a tick means that it held in that run, an
empty box that it did not. The specs below can be POSTed as they are; `URL` is where the service answers, for instance
`http://127.0.0.1:8000` after `make up`. Where a spec has a name in braces, such as `{pretrained.model}`, put in the
model that the earlier job of that name became, as `name:version`. [The HTTP contract](api.md) explains the answers, and
[a page of its own](mindspore.md) translates the names of MindSpore. Some experiments did not show what was expected of
them; there the claim was made to say what they do show, and the text tells what had been expected.

Figures are named as the service names them: `test.accuracy` is measured on the test images when training has ended,
`last.val_loss` is the loss on the validation images in the last epoch, `min` and `max` are the least and the greatest
over the epochs, and `seconds` runs from the start of a job to its end, on a machine that did other things besides.
"""
QUICK_HEADER = """# Experiments, the quick run

Everything is cut short here: it shows that it works, not what it claims.
"""


def write_page(page: Path, folder: Path, experiments: list[Experiment], figures: Json) -> None:
    """Write the page from the figures of the last run of each experiment; pictures are in `folder`."""
    quick = folder == page.parent
    lines = [QUICK_HEADER if quick else HEADER]
    if "machine" in figures:
        lines.append(f"Last run: {figures['machine']}.\n")
    lines += [_contents(experiment, figures.get(experiment.number)) for experiment in experiments]
    lines.append("")
    prefix = "" if quick else f"{folder.name}/"
    lines += [section(experiment, figures.get(experiment.number), prefix, quick) for experiment in experiments]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def section(experiment: Experiment, entry: Json | None, prefix: str, quick: bool = False) -> str:
    """One experiment; `entry` is None when it has not run."""
    body = experiment.body
    parts = [f"## {int(experiment.number)}. {experiment.title}", body["claim"], f"*What to see:* {body['what_to_see']}"]
    parts.append(_specs(experiment, experiment.steps(quick)))
    if entry is None:
        parts.append("It has not run here yet.")
    else:
        if entry["failed"]:
            parts.append(f"**This run failed.** {entry['failed']}")
        parts += tables(body.get("figures", []), entry["runs"])
        parts += [f"![{experiment.title}]({prefix}{name})" for name in entry["plots"]]
        parts += [_verdict(label, run) for label, run in entry["runs"].items() if _sentences(run)]
        parts.append("\n".join(tick(verdict) for verdict in entry.get("ticks", ())))
        parts.append(f"Ran on {entry['date']} in {entry['seconds']:.0f} s.")
    return "\n\n".join(part for part in parts if part) + "\n"


def tables(names: list[str], runs: Json) -> list[str]:
    """The figures `names` of every run, and a table of its own for each study that compares settings.

    A search has many settings of one run each; it is a row among the runs.
    """
    compared = {label: run for label, run in runs.items() if "settings" in run and not run.get("searched")}
    mended = {label: run for label, run in runs.items() if "before" in run}
    plain = {label: run for label, run in runs.items() if label not in compared | mended}
    found = []
    rows = [[label, *(_cell(name, look_up(f"{label}.{name}", runs)) for name in names)] for label in plain]
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    if names and rows:
        found.append(table(["run", *names], rows))
    for label, run in runs.items():
        if label in compared:
            found.append(_study_table(label, run))
        if "by" in run:
            found.append(_spread_table(label, run))
    if mended:
        found += [table(HEAD, rows_of(mended), words=5), sentences(mended)]
    return found


def table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A Markdown table; all but the first column, or so many of `words`, are figures."""
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def tick(verdict: Json) -> str:
    """A claim with the figures that it was judged by."""
    return f"- [{'x' if verdict['holds'] else ' '}] `{verdict['claim']}`: {verdict['measured']}"


def compact(value: Any, room: int = WIDTH, indent: int = 0) -> str:
    """JSON on as few lines as fit into `room` characters: a key a line, items of a list side by side."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= room or not isinstance(value, dict | list) or not value:
        return flat
    inner, edge = " " * (indent + 2), " " * indent
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {compact(item, room, indent + 2)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{edge}}}"
    lines: list[str] = []
    for part in (compact(item, room, indent + 2) for item in value):
        if lines and "\n" not in lines[-1] + part and len(inner) + len(lines[-1]) + len(part) + 3 <= room:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return "[\n" + ",\n".join(inner + line for line in lines) + f"\n{edge}]"


def _contents(experiment: Experiment, entry: Json | None) -> str:
    title = f"{int(experiment.number)}. {experiment.title}"
    anchor = "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")
    if entry is None:
        state = "not run here"
    elif entry["failed"]:
        state = "failed"
    else:
        ticks = entry.get("ticks", [])
        state = f"{sum(verdict['holds'] for verdict in ticks)} of {len(ticks)} claims held" if ticks else "ran"
    return f"- [{title}](#{anchor}): {state}"


def _cell(name: str, value: Any) -> str:
    return f"{value:.2f}" if name.endswith("seconds") and value is not None else shown(value)


def _study_table(label: str, run: Json) -> str:
    if run.get("show"):
        return _ranges_table(label, run)
    head = [label, run["objective"], "half of the 95 % interval", "runs"]
    rows = [
        [setting["label"], shown(setting["mean"]), shown(setting["interval"]), str(setting["runs"])]
        for setting in run["settings"].values()
    ]
    return table(head, rows)


def _ranges_table(label: str, run: Json) -> str:
    """Each metric of `show` by setting: mean, least and greatest of its runs, and what is published beside it."""
    settings = list(run["settings"].values())
    known = any("published" in setting for setting in settings)
    head = [label, "runs"]
    for name in run["show"]:
        head += [f"{name}, mean", "min to max", *(["published", "within ours"] if known else [])]
    return table(head, [_ranges_row(setting, run["show"], known) for setting in settings])


def _ranges_row(setting: Json, names: list[str], known: bool) -> list[str]:
    row = [setting["label"], str(setting["runs"])]
    for name in names:
        found, published = setting["last"].get(name), setting.get("published", {}).get(name)
        row += [shown(found["mean"]), f"{found['min']:.3f} to {found['max']:.3f}"] if found else ["-", "-"]
        if known:
            row += [" to ".join(f"{value:.2f}" for value in published or ()) or "-"]
            row += [covers(found, published) if found and published else "-"]
    return row


def _spread_table(label: str, run: Json) -> str:
    names = list(next(iter(run["by"].values())))
    head = [label, *(name.replace("_", " hidden layer's ") + " spread" for name in names)]
    return table(head, [[name, *(shown(one[key]) for key in names)] for name, one in run["by"].items()])


def _sentences(run: Json) -> list[str]:
    return [] if run.get("searched") or "before" in run else list(run.get("verdict") or run.get("told") or ())


def _verdict(label: str, run: Json) -> str:
    return f"What the service says of `{label}`: {' '.join(_sentences(run))}"


def _specs(experiment: Experiment, steps: list[Step]) -> str:
    """What to POST, each step of the file once."""
    shown_steps: list[Step] = []
    for step in steps:
        if not any(step.source is other.source for other in shown_steps):
            shown_steps.append(step)
    blocks = [_request(step, sum(step.source is other.source for other in steps)) for step in shown_steps]
    file = f"examples/experiments/{experiment.number}-{experiment.name}.json"
    summary = f"<details><summary>How to run it yourself ({file})</summary>"
    return "\n\n".join([summary, *blocks, "</details>"])


def _request(step: Step, count: int) -> str:
    if step.kind == "script":
        return f"```sh\n.venv/bin/python {step.body}\n```"
    if step.kind == "predict":
        return f"`{step.label}` asks the model `{step.model}` about the pixels of `{step.body}`."
    path = "/v1/studies" if step.kind == "study" else "/v1/jobs"
    said = f"`{step.label}`"
    if step.kind == "mend":
        said += "; the specs of the others are in `examples/illnesses/specs.py`"
    elif count > 1:
        ((variable, values),) = step.source["each"].items()
        others = ", ".join(f"`{name}`" for name in [str(value) for value in values][1:count])
        said += f"; the same with another {variable.replace('_', ' ')} for {others}"
    command = f"curl -sS $URL{path} -H 'Content-Type: application/json' -d @- <<'JSON'"
    then = (
        "\ncurl -sS -X POST $URL/v1/jobs/$JOB/diagnosis/1/apply  # while it runs, or later"
        if step.kind == "mend"
        else ""
    )
    return f"{said}:\n\n```sh\n{command}\n{compact(step.body)}\nJSON{then}\n```"

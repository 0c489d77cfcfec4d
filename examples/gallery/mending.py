"""Jobs that fail to learn, mended: each trained as it is, then with what its first diagnosis advises, by one call."""

import json
import time
from collections import Counter
from typing import Any

from examples.gallery.claims import shown
from examples.gallery.service import Service
from examples.illnesses.specs import all_planted

Json = dict[str, Any]
LONGEST = 3600.0
PAUSE = 0.1
# What is kept of the figures of a job: all of them, of both jobs of 24 specs, would be 4,000 lines.
KEPT = ("status", "failure", "epochs", "seconds", "test", "last")
HEAD = ["run", "spec", "verdict", "after epoch", "applied as", "test.accuracy", "mended", "test.loss", "mended"]


def planted(name: str) -> Json:
    """The spec of examples/illnesses that is called so. Raises KeyError."""
    found = {each.name: each.spec for each in all_planted()}
    return {"name": name} | found[name]


def mend(service: Service, spec: Json, while_running: bool = False) -> tuple[Json, Json, Json]:
    """Train `spec`, then apply its first diagnosis; answers the job before, the job after, and what was done.

    The job has ended by then, so the job after is a new one. With `while_running` the same spec is trained once more,
    and its first diagnosis applied as soon as it is there: where it can be a change, that job is the one after. Without
    a diagnosis the job after is the one before, and nothing was done.
    """
    before = service.wait(service.submit(spec)["id"], timeout=LONGEST, check=False)
    treated = before["id"]
    if while_running:
        treated = service.submit(spec)["id"]
        _wait_for_diagnosis(service, treated)
    found = service.diagnosis(treated)["data"]
    if not found:
        return before, before, {"verdict": None}
    applied = service.apply(treated)
    job_id = treated if applied["change"] else applied["job"]["id"]
    after = service.wait(job_id, timeout=LONGEST, check=False)
    done = {name: found[0][name] for name in ("verdict", "epoch", "sentence", "advice")}
    done["applied"] = "change" if applied["change"] else "job"
    done["patch"] = patch_words(before["spec"], found[0]["patch"])
    if applied["change"]:
        done["change"] = next(each for each in service.changes(job_id) if each["number"] == applied["change"]["number"])
    return before, after, done


def patch_words(spec: Json, patch: Json) -> str:
    """A patch of `spec` in short: `/optimizer/learning_rate 0.01`; of layers what is different in how many."""
    return "; ".join(f"{pointer} {_value(spec, pointer, value)}" for pointer, value in patch.items())


def rows_of(runs: Json) -> list[list[str]]:
    """The table of runs that were mended, under `HEAD`."""
    found = []
    for label, run in runs.items():
        before, after = run["before"], run["after"]
        verdict = "none" if run["verdict"] is None else run["verdict"].replace("_", " ")
        row = [label, run["spec"], verdict, shown(run.get("epoch")), _applied(run)]
        for name in ("accuracy", "loss"):
            row += [_figure(before, name), _figure(after, name) if "applied" in run else "-"]
        found.append(row)
    return found


def sentences(runs: Json) -> str:
    """What the service says of each run and advises, and the patch, as a list to open."""
    lines = [
        f"- `{label}`: {run['sentence']} *{run['advice']}* Patch: `{run['patch']}`."
        for label, run in runs.items()
        if "applied" in run
    ]
    summary = "<details><summary>What the service said of each, and the patch</summary>"
    return f"{summary}\n\n" + "\n".join(lines) + "\n\n</details>"


def _value(spec: Json, pointer: str, value: Any) -> str:
    if pointer != "/network/layers":
        return _short(value)
    layers = spec["network"]["layers"]
    if [layer["type"] for layer in layers] != [layer["type"] for layer in value]:
        return ", ".join(layer["type"] for layer in value)
    different = [_different(old, new) for old, new in zip(layers, value, strict=True)]
    counts = Counter(words for words in different if words)
    return ", ".join(f"({words}) in {count} of {len(layers)}" for words, count in counts.items())


def _different(old: Json, new: Json) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in new.items() if old.get(name) != value)


def _short(value: Any) -> str:
    return str(value["type"]) if isinstance(value, dict) and list(value) == ["type"] else json.dumps(value)


def _wait_for_diagnosis(service: Service, job_id: str) -> None:
    """Return as soon as a job has been diagnosed, or has ended."""
    while not service.job(job_id)["is_terminal"] and not service.diagnosis(job_id)["data"]:
        time.sleep(PAUSE)


def _applied(run: Json) -> str:
    if "applied" not in run:
        return "-"
    if run["applied"] == "job":
        return "a new job"
    step = run["change"]["applied_at_step"]
    return "a change, too late" if step is None else f"a change of the running job, at batch {step}"


def _figure(run: Json, name: str) -> str:
    value = run["test"].get(name)
    return shown(value) if value is not None else run["failure"] or run["status"]

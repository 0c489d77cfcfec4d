"""The engine without the service: a spec trained in a process of its own, with no database, checkpoints or export.

It prints one JSON line: the seconds from building to the last epoch, without importing and loading; the accuracy; the
plan.
"""

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from models.settings import Settings
from models.spec import JobSpec, parse_spec
from worker import training
from worker.data import Split, scaling_of, split_for
from worker.plan import plan_for
from worker.rehearsal import chunks_of, rehearse


def main() -> None:
    """Train the spec of the command line."""
    settings, spec = Settings(), parse_spec(json.loads(sys.argv[1]))
    split = split_for(spec, settings.datasets, settings.offline)
    began = time.perf_counter()
    val_accuracy, execution = train(spec, split)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "val_accuracy": val_accuracy, "execution": execution}))


def train(spec: JobSpec, split: Split) -> tuple[float, dict[str, Any]]:
    """Build, compile and fit as a worker does, with none of its callbacks; the last accuracy, and the plan."""
    assert split.x_val is not None
    plan = plan_for(spec)
    model = training.build_model(spec, split, scaling_of(spec.dataset, split.x_train), plan)
    chunks = rehearse(model, chunks_of(spec, len(split.x_train)))
    fitted = training.fit(model, chunks, seed=spec.seed, epochs=spec.epochs, validated=len(split.x_val))
    return fitted.history["val_accuracy"][-1], plan.facts(chunks.rows)


if __name__ == "__main__":
    main()

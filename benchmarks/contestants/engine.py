"""Trainyard's own engine, as a worker uses it, without the service around it."""

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.cases import CASES, IMAGE
from benchmarks.contestants.turn_callback import turn_callback
from benchmarks.protocol import Data, Task, Turns
from models.spec import JobSpec, parse_spec
from worker import training
from worker.data import Split
from worker.plan import plan_for
from worker.rehearsal import chunks_of, rehearse


def main() -> None:
    """Train as the task says, an epoch a turn."""
    turns, task = Turns(), Task.from_arguments()
    data = Data.read(task.data)
    spec = spec_of(task, len(data.x_train))
    split = split_of(data)
    plan = plan_for(spec)
    model = training.build_model(spec, split, (1 / 255, 0.0), plan)
    chunks = rehearse(model, chunks_of(spec, len(split.x_train)))
    turns.ready()
    training.fit(
        model, chunks, seed=spec.seed, epochs=spec.epochs, validated=len(data.x_val), callbacks=[turn_callback(turns)]
    )
    turns.finish(plan.threads, {"xla": plan.xla, "keras": keras.__version__, "tensorflow": tf.__version__})


def spec_of(task: Task, trained: int) -> JobSpec:
    """The task as a job."""
    case = CASES[task.case]
    body: dict[str, Any] = {
        "dataset": {"name": "mnist", "validation": {"test": True}, "train_size": trained},
        "network": {"layers": list(case.layers)},
        "optimizer": {"type": "adam", "learning_rate": 0.001},
        "batch_size": case.batch_size,
        "epochs": task.epochs,
        "precision": task.precision,
        "seed": task.seed,
    }
    return parse_spec(body)


def split_of(data: Data) -> Split:
    """The same images as everybody's; those of validation are the test set, as with `{"test": true}`."""
    measured = data.x_val.reshape(-1, *IMAGE), data.y_val.astype(np.int64)
    return Split(data.x_train.reshape(-1, *IMAGE), data.y_train.astype(np.int64), *measured, *measured)


if __name__ == "__main__":
    main()

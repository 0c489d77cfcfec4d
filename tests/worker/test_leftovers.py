"""One job after another leaves nothing in the process: no model, no traced step, no function of TensorFlow's."""

import gc
from collections import Counter
from typing import Any

import keras
import pytest
from tensorflow.python.eager import context
from tensorflow.python.framework.func_graph import FuncGraph

from models import jobs
from models.jobs import Job, Status
from models.spec import parse_spec
from worker.attempt import try_job
from worker.slot import Slot

# swish, like the summing of gradients in every optimizer, has a custom gradient.
LAYERS = [
    "flatten",
    {"type": "dense", "units": 8, "activation": "swish"},
    "batch_normalization",
    {"type": "dropout", "rate": 0.3},
    {"type": "dense", "units": 10},
]
DECAY = {"type": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 9}
SPEC: dict[str, Any] = {
    "dataset": {"name": "digits", "train_size": 50},
    "network": {"layers": LAYERS},
    "optimizer": {"type": "sgd", "learning_rate": DECAY},
    "epochs": 1,
}


def run(slot: Slot, spec: dict[str, Any]) -> str:
    """Try a job of `spec`; its status then."""
    with slot.database.write() as session:
        job_id = jobs.create(session, parse_spec(spec)).id
    try_job(slot, job_id)
    with slot.database.read() as session:
        return session.get_one(Job, job_id).status


def held() -> Counter[str]:
    """How many there are of what holds a job's memory."""
    kinds = (keras.Model, keras.Layer, FuncGraph)
    counts = Counter(kind.__name__ for one in gc.get_objects() for kind in kinds if isinstance(one, kind))
    # Those of single operations are kept once for each operation, however many jobs use it.
    functions = [name for name in context.context().list_function_names() if not name.startswith("__wrapped__")]
    return counts + Counter({"functions": len(functions)})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({}, Status.SUCCEEDED, id="succeeded"),
        pytest.param({"max_seconds": 1e-6}, Status.FAILED, id="failed"),
    ],
)
def test_a_job_leaves_nothing_in_the_process(slot: Slot, changes: dict[str, Any], status: Status) -> None:
    assert run(slot, SPEC | changes) == status
    before = held()
    run(slot, SPEC | changes)
    assert held() == before

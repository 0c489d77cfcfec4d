"""Before training: have programs compiled, and find out how many batches fit between two looks at the job's row."""

import time
from collections.abc import Callable
from typing import Any

from models.spec import JobSpec
from models.spec.summary import batch_size_of
from worker.checkpoints import Checkpoint, restore, values_of, variables_of
from worker.chunks import Chunks, rehearsal_chunks
from worker.data import Split
from worker.plan import Plan, device_of, plan_for
from worker.training import ResidentModel, build_model, fit

# A look comes after each chunk, and what the user wants must be noticed within half a second.
CHUNK_SECONDS = 0.2
SURE_SECONDS = 0.02
SLOW_SECONDS = 5.0
# What `auto` tries bfloat16 with, and how far the loss may then be from that of float32.
TRIED_EXAMPLES = 1000
SOUND = 0.05


def chunks_of(spec: JobSpec, examples: int) -> Chunks:
    """An epoch of `spec` in chunks as long as possible."""
    return Chunks(examples, min(batch_size_of(spec), examples), rows=1).of_rows(examples)


def rehearse(model: ResidentModel, chunks: Chunks, look: Callable[[], None] = lambda: None) -> Chunks:
    """The chunks that `model` can be trained in: short enough by the clock, on this machine as it is now.

    The model is afterwards as it was before; how long chunks are changes no number that comes out. `look` is called
    between the parts, which can take seconds each, and may raise.
    """
    look()
    model.make_train_function()
    _seconds(model, chunks, 0)
    look()
    if chunks.capacity == 1:
        return chunks
    before = Checkpoint(values_of(variables_of(model)), {}, {})
    try:
        return chunks.of_rows(int(CHUNK_SECONDS / _seconds_a_batch(model, chunks, look)))
    finally:
        restore(model, before)
        model.reset_metrics()


def _seconds_a_batch(model: ResidentModel, chunks: Chunks, look: Callable[[], None]) -> float:
    batches, seconds = 1, _seconds(model, chunks, 1)
    if seconds < SLOW_SECONDS:
        # The first batch also makes what the others find; one that took so long was slow besides.
        seconds = _seconds(model, chunks, 1)
    while seconds < SURE_SECONDS and batches < chunks.capacity:
        look()
        batches = min(batches * 8, chunks.capacity)
        seconds = _seconds(model, chunks, batches)
    return seconds / batches


def _seconds(model: ResidentModel, chunks: Chunks, batches: int) -> float:
    data = iter(rehearsal_chunks(chunks, batches))
    began = time.perf_counter()
    model.train_function(data)
    return time.perf_counter() - began


def plan_after(earlier: dict[str, Any] | None, spec: JobSpec, split: Split, scaling: tuple[float, float]) -> Plan:
    """The plan on record of an earlier training of `spec`, since another one gives other numbers.

    A new one where there is none, or where that was for another device.
    """
    if earlier is not None and earlier["device"] == device_of(spec):
        return Plan.from_facts(earlier)
    return check_precision(plan_for(spec), spec, split, scaling)


def check_precision(plan: Plan, spec: JobSpec, split: Split, scaling: tuple[float, float]) -> Plan:
    """The plan, or one in float32 where `auto` chose bfloat16 and the loss does not stay sound in it.

    Both are tried for an epoch of a thousand examples, from the same initial weights; the losses of that epoch may
    differ by 5 %.
    """
    if spec.precision != "auto" or plan.precision == "float32":
        return plan
    examples = split.x_train[:TRIED_EXAMPLES], split.y_train[:TRIED_EXAMPLES]
    few = Split(*examples, None, None, *examples)
    exact, short = (_tried_loss(spec, few, scaling, Plan(precision=kind)) for kind in ("float32", plan.precision))
    if abs(short - exact) <= SOUND * abs(exact):
        return plan
    told = f"a first try gave a loss of {short:.4g} instead of {exact:.4g}"
    return plan.because(f"float32 after all: {told}", precision="float32")


def _tried_loss(spec: JobSpec, split: Split, scaling: tuple[float, float], plan: Plan) -> float:
    model = build_model(spec, split, scaling, plan)
    chunks = chunks_of(spec, len(split.x_train))
    loss: float = fit(model, chunks, seed=spec.seed, epochs=1).history["loss"][0]
    return loss

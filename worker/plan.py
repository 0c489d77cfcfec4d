"""How a job is trained on this machine: what XLA compiles, in which precision, on how many threads, and why."""

from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from models.spec import JobSpec, summarize
from models.spec.data import ImageDataset
from models.spec.layers import Add, Concatenate
from models.spec.layers.core import (
    ActivationLayer,
    BatchNormalization,
    Dense,
    Flatten,
    LayerNormalization,
    Reshape,
)
from models.spec.layers.recurrent import GRU, LSTM, SimpleRNN
from models.spec.summary import batch_size_of
from models.spec.training import metric_name
from worker.slot import processors

# What XLA makes good programs of on a CPU, which were measured (docs/decisions/0014-execution-plan.md).
COMPILED_LAYERS = (
    ActivationLayer,
    Add,
    BatchNormalization,
    Concatenate,
    Dense,
    Flatten,
    LayerNormalization,
    Reshape,
)
COMPILED_METRICS = ("accuracy", "precision", "recall", "f1", "mean_absolute_error", "mean_squared_error")
# Up to so many operations a batch, and from so many steps on, one program is the quickest.
CHUNK_OPERATIONS = 2e9
CHUNK_STEPS = 4_000
# From so many weights on, and from so many weights times steps on, a compiled update is.
UPDATE_PARAMETERS = 100_000
UPDATE_WORK = 400e6
# From so many operations a batch on, bfloat16 is.
BFLOAT16_OPERATIONS = 300e6
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Plan:
    """What an attempt decided.

    Attributes:
        xla: `chunk`: many batches are one program; `update`: the optimizer's update is one; `none`.
        precision: the dtype policy of the network.
        threads: those of TensorFlow's matrix products.
        device: cpu or gpu.
        reasons: sentences, one for each decision.
    """

    xla: Literal["chunk", "update", "none"] = "none"
    precision: str = "float32"
    threads: int = 1
    device: Literal["cpu", "gpu"] = "cpu"
    reasons: tuple[str, ...] = ()

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "Plan":
        """The plan that `facts` were made of."""
        known = {name: value for name, value in facts.items() if name != "batches_per_chunk"}
        return cls(**known | {"reasons": tuple(facts["reasons"])})

    def facts(self, batches_per_chunk: int) -> dict[str, Any]:
        """For the job's owner, and for the attempts that follow."""
        return {**asdict(self), "reasons": list(self.reasons), "batches_per_chunk": batches_per_chunk}

    def because(self, reason: str, **changes: Any) -> "Plan":
        """The plan after one more decision."""
        return replace(self, reasons=(*self.reasons, reason), **changes)


PLAIN = Plan()


def plan_for(spec: JobSpec) -> Plan:
    """The plan for a training of `spec` from its first epoch on.

    It follows from the spec and the machine alone and not from clocks, so that the same job gives the same weights.
    """
    summary = summarize(spec)
    steps = summary.steps_per_epoch * spec.epochs
    # Forward and backward pass, two operations a multiply-add.
    operations = 6 * summary.multiply_adds * batch_size_of(spec)
    plan = _with_precision(Plan(threads=_threads(), device=device_of(spec)), spec, operations)
    return _with_xla(plan, spec, summary.trainable_parameters, steps, operations)


def device_of(spec: JobSpec) -> Literal["cpu", "gpu"]:
    """Where a job of `spec` is trained on this machine."""
    return "gpu" if spec.device != "cpu" and tf.config.list_physical_devices("GPU") else "cpu"


def _with_precision(plan: Plan, spec: JobSpec, operations: int) -> Plan:
    if spec.precision != "auto":
        slow = plan.device == "cpu" and spec.precision.startswith("mixed") and _emulated(spec.precision)
        said = f"{spec.precision}, as the spec says" + (", which this processor computes slowly" if slow else "")
        return plan.because(said, precision=spec.precision)
    if any(isinstance(node.layer, SimpleRNN | LSTM | GRU) for node in spec.nodes):
        return plan.because("float32: what recurrent layers gain from bfloat16 was not measured")
    if plan.device == "gpu" and not _gpu_multiplies_bfloat16():
        return plan.because("float32: this GPU does not multiply bfloat16")
    if plan.device == "cpu" and operations < BFLOAT16_OPERATIONS:
        return plan.because("float32: the products of this network are too small to gain from bfloat16")
    if plan.device == "cpu" and not bfloat16_flags():
        return plan.because("float32: this processor does not multiply bfloat16")
    gains = f"this processor multiplies bfloat16 ({', '.join(bfloat16_flags())})"
    why = "the job trains on a GPU" if plan.device == "gpu" else gains
    return plan.because(f"mixed_bfloat16: {why}", precision="mixed_bfloat16")


def _with_xla(plan: Plan, spec: JobSpec, parameters: int, steps: int, operations: int) -> Plan:
    if plan.device == "gpu":
        return plan.because("no XLA: what it gains on a GPU was not measured")
    if plan.precision == "mixed_float16":
        return plan.because("no XLA: its update cannot skip a batch whose gradients are not finite")
    obstacle = _obstacle(spec) if plan.precision == "float32" else "it multiplies bfloat16 slowly"
    small = operations <= CHUNK_OPERATIONS
    if obstacle is None and small and steps >= CHUNK_STEPS:
        return plan.because(f"XLA: {steps} steps of a small network repay compiling", xla="chunk")
    if parameters >= UPDATE_PARAMETERS and parameters * steps >= UPDATE_WORK:
        return plan.because(f"XLA for the optimizer's update only: {parameters} weights are many", xla="update")
    if obstacle is None and small:
        return plan.because(f"no XLA: {steps} steps do not repay compiling, which takes {CHUNK_STEPS} or so")
    return plan.because(f"no XLA: {obstacle or 'the matrix products of a larger network are as quick without'}")


def _obstacle(spec: JobSpec) -> str | None:
    """What speaks against one XLA program for everything on a CPU; None when nothing does."""
    layers = [node.layer for node in spec.nodes]
    if slow := [layer for layer in layers if not isinstance(layer, COMPILED_LAYERS)]:
        return f"it makes slow programs of {slow[0].type} on a CPU"
    if isinstance(spec.dataset, ImageDataset) and spec.dataset.augmentation is not None:
        return "it has no form of the augmentation on a CPU"
    if dear := [metric for metric in spec.metrics if metric not in COMPILED_METRICS]:
        return f"it makes slow programs of the metric {metric_name(dear[0])}"
    return None


@cache
def bfloat16_flags() -> tuple[str, ...]:
    """Which instructions for products of bfloat16 the processor has, as Linux calls them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return tuple(flag for flag in BFLOAT16_FLAGS if flag in flags)


def _emulated(precision: str) -> bool:
    """Whether a processor has no products of its own for it: TensorFlow has none of float16 on any."""
    return precision == "mixed_float16" or not bfloat16_flags()


def _gpu_multiplies_bfloat16() -> bool:
    """NVIDIA's GPUs do from Ampere (8.0) on."""
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return details.get("compute_capability", (0, 0)) >= (8, 0)


def _threads() -> int:
    asked: int = tf.config.threading.get_intra_op_parallelism_threads()
    return asked or processors()

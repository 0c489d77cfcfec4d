"""Whether a network is of a size that can be trained here: its parameters, and the memory of the workers there are."""

from collections.abc import Iterable

from models.messages import QUEUES
from models.spec import JobSpec, SpecError
from models.spec.data import shape_of
from models.spec.kinds import KINDS_WITHOUT_NETWORK
from models.spec.problems import Path, problem_at
from models.spec.shapes import trace
from models.spec.summary import Memory, batch_size_of, memory_mb, memory_of, writing_bytes
from models.workers import Worker


def check_parameters(spec: JobSpec, most: int) -> None:
    """Raises SpecError when the network of `spec` has more than `most` parameters."""
    if spec.kind in KINDS_WITHOUT_NETWORK:
        return
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    count = sum(layer.parameters for layer in layers)
    if count > most:
        detail = f"the network must have at most {most:,} parameters (TRAINYARD_MAX_PARAMETERS)"
        raise SpecError([problem_at(("network",), "too_large", detail, count, "parameters")])


def check_memory(spec: JobSpec, online: Iterable[Worker]) -> None:
    """Raises SpecError when none of the workers online that could take `spec` has as much memory as it needs.

    Where there is no such worker, or one whose memory is not known, nothing can be said yet: the job may wait.
    """
    able = [worker.memory_mb for worker in online if QUEUES[spec.device] in worker.queues]
    known = [memory for memory in able if memory is not None]
    needed = memory_mb(spec)
    if needed is None or not known or len(known) < len(able) or needed <= max(known):
        return
    layers, _ = trace(spec.nodes, shape_of(spec.dataset))
    path, received = _largest_part(spec, memory_of(spec, layers), writing_bytes(spec, layers))
    detail = (
        f"training this needs about {needed:,} MB of memory, and of the workers that are online the largest has "
        f"{max(known):,} MB"
    )
    raise SpecError([problem_at(path, "too_large", detail, received)])


def _largest_part(spec: JobSpec, memory: Memory, writing: int) -> tuple[Path, object]:
    """Where in the spec that is said which takes the most memory, and what is said there."""
    model = memory.weights + writing
    if memory.activations >= max(model, memory.data):
        return ("batch_size",), batch_size_of(spec)
    if model >= memory.data:
        return ("network",), f"a model of which {model // 1_000_000:,} MB are held"
    return ("dataset",), spec.dataset.name

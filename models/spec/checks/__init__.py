"""What pydantic cannot see: whether the parts of a spec fit each other and the data set."""

from collections.abc import Iterator

from models.spec.checks.data import data_faults
from models.spec.checks.fault import Fault
from models.spec.checks.kind import kind_faults
from models.spec.checks.network import network_faults
from models.spec.checks.training import training_faults
from models.spec.job import JobSpec
from models.spec.kinds import KINDS_WITHOUT_NETWORK
from models.spec.problems import Path, Problem, problem_at

__all__ = ["problems_of"]


def problems_of(spec: JobSpec) -> list[tuple[Path, Problem]]:
    """Every mistake, each with its path in the normalised spec."""
    return [(fault.path, problem_at(*fault)) for fault in _faults(spec)]


def _faults(spec: JobSpec) -> Iterator[Fault]:
    yield from kind_faults(spec)
    yield from data_faults(spec)
    if spec.kind not in KINDS_WITHOUT_NETWORK:
        yield from network_faults(spec)
        yield from training_faults(spec)

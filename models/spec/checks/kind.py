"""Whether a spec says what its kind of job needs, and nothing that it has no use for."""

from collections.abc import Iterator

from models.spec.checks.fault import Fault
from models.spec.data import is_regression
from models.spec.job import JobSpec
from models.spec.kinds import unused_by


def kind_faults(spec: JobSpec) -> Iterator[Fault]:
    """Fields without a meaning for this kind, initializers named twice, and what is missing for this kind."""
    for name in sorted(spec.model_fields_set & unused_by(spec.kind)):
        value = spec.model_dump(mode="json", include={name}, context={"whole": True}).get(name)
        if value is not None:
            yield Fault((name,), "unknown_key", f"{name} has no meaning for a job of the kind {spec.kind}", value)
    if len(set(spec.initialization.kernel_initializers)) < len(spec.initialization.kernel_initializers):
        named = spec.initialization.model_dump(mode="json")["kernel_initializers"]
        detail = "kernel_initializers must name each initializer once"
        yield Fault(("initialization", "kernel_initializers"), "duplicate", detail, named)
    if spec.ensemble is not None and spec.ensemble.combine == "vote" and is_regression(spec.dataset):
        yield Fault(("ensemble", "combine"), "invalid", f"combine must be average for {spec.dataset.name}", "vote")
    if spec.kind == "ensemble" and spec.ensemble is None:
        yield Fault(("ensemble",), "missing", "ensemble must say which model versions are its members", None)
    if spec.kind == "export" and spec.export is None:
        yield Fault(("export",), "missing", "export must say which job's model to write, and in which format", None)
    if spec.kind == "verify" and spec.verify is None:
        yield Fault(("verify",), "missing", "verify must say which job's training to repeat", None)

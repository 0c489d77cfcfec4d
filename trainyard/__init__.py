"""Trainyard's client: `from trainyard import Client`. It speaks to the service over HTTP only."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.client import Client
    from trainyard.errors import ApiError, Damaged, JobFailed, StudyFailed, TrainyardError, Unreachable

__all__ = ["ApiError", "Client", "Damaged", "JobFailed", "StudyFailed", "TrainyardError", "Unreachable"]


def __getattr__(name: str) -> Any:
    # On first use: the command `trainyard` passes here too, and httpx2 would double the time of `trainyard --help`.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainyard import client, errors

    return getattr(client if name == "Client" else errors, name)

"""A mistake between the parts of a spec, before it has a sentence about what was received."""

from typing import NamedTuple

from models.spec.problems import Path


class Fault(NamedTuple):
    """A mistake: its path in the normalised spec, and what was received there, under another name where that helps."""

    path: Path
    code: str
    detail: str
    value: object
    name: str = ""

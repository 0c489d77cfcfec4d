"""Runs planted specs on a service, as a user would, and reads what it says of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from examples.gallery.service import Service
from examples.illnesses.specs import Planted

LONGEST = 1800.0


@dataclass(frozen=True)
class Judged:
    """A planted spec and the verdict that came first: None when there was none; `epoch` is that of the verdict."""

    planted: Planted
    verdict: str | None
    epoch: int | None = None
    sentence: str = ""
    job: str | None = None

    @property
    def right(self) -> bool:
        """Whether it is the planted one; of a healthy one, whether there is none."""
        return self.verdict == self.planted.expected


def judge(service: Service, chosen: Sequence[Planted], tell: Callable[[Judged], None]) -> list[Judged]:
    """Train each on `service` and take the first finding on record."""
    jobs = [service.submit({"name": planted.name, **planted.spec})["id"] for planted in chosen]
    judged = []
    for planted, job in zip(chosen, jobs, strict=True):
        service.wait(job, timeout=LONGEST, check=False)
        found = service.diagnosis(job)["data"]
        first = min(found, key=lambda each: each["number"], default=None)
        row = Judged(planted, None, job=job)
        if first is not None:
            row = Judged(planted, first["verdict"], first["epoch"], first["sentence"], job)
        tell(row)
        judged.append(row)
    return judged

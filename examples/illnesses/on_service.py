"""Runs planted specs on a service, as a user would, and reads what it says of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from examples.gallery.service import Service
from examples.illnesses.specs import Planted

Json = dict[str, Any]
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


@dataclass(frozen=True)
class Mended:
    """An ill job, and the job that its first finding's patch was applied as.

    Attributes:
        before: share of the test set that was right, 0 to 1; None for a job that failed, as one that diverged does.
        after: the same of the mended job.
        jobs: ids of both, so that their curves can be drawn.
    """

    planted: Planted
    verdict: str
    sentence: str
    patch: Json
    before: float | None
    after: float | None
    jobs: tuple[str, str]


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


def mend(service: Service, judged: Sequence[Judged], tell: Callable[[Mended], None]) -> list[Mended]:
    """Apply the first finding of every ill job that has one, each by one call, and train what comes of it."""
    ill = [row for row in judged if row.job is not None and row.verdict is not None and row.planted.group == "ill"]
    answers = [service.apply(row.job or "", 1, as_job=True) for row in ill]
    mended = []
    for row, answer in zip(ill, answers, strict=True):
        before, after = row.job or "", answer["job"]["id"]
        service.wait(after, timeout=LONGEST, check=False)
        patch = service.diagnosis(before)["data"][0]["patch"]
        shares = [_accuracy(service.job(job)) for job in (before, after)]
        found = Mended(row.planted, row.verdict or "", row.sentence, patch, shares[0], shares[1], (before, after))
        tell(found)
        mended.append(found)
    return mended


def _accuracy(job: Json) -> float | None:
    evaluation = job.get("evaluation") or {}
    accuracy: float | None = evaluation.get("accuracy")
    return accuracy

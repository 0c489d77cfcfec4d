"""What a model card tells of, and where its links lead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.datasets import DATASETS, SYNTHETIC, DatasetFacts, SyntheticFacts
from models.history import Change
from models.jobs import Job
from models.registry import Artifact, ModelVersion
from models.spec import JobSpec

PICTURES = {
    "curves.svg": "loss, metric and learning rate over the epochs",
    "evaluation.svg": "answers on the test set against the truth",
    "network.svg": "the network, layer by layer",
}


@dataclass(frozen=True)
class Subject:
    """What a card tells of.

    `called` are the aliases of the version, `champion` included; `evaluation` is empty where there is none; `ended`
    says why its training ended before the last epoch; `changes` are those that were made while it trained.
    """

    version: ModelVersion
    job: Job
    spec: JobSpec
    evaluation: dict[str, Any]
    files: Sequence[Artifact]
    called: Sequence[str]
    ended: str | None
    changes: Sequence[Change] = ()

    @property
    def ref(self) -> str:
        """How the version is asked for."""
        return f"{self.version.name}:{self.version.version}"

    @property
    def facts(self) -> DatasetFacts | SyntheticFacts:
        """What is known of the data set."""
        name = self.spec.dataset.name
        return DATASETS[name] if name in DATASETS else SYNTHETIC[name]

    @property
    def measured(self) -> dict[str, float]:
        """Loss and metrics on the test set, and the accuracy also where the spec does not measure it."""
        figures = {"accuracy": self.version.test_accuracy, **(self.job.evaluation or {})}
        return {name: value for name, value in figures.items() if value is not None}

    @property
    def pictures(self) -> list[str]:
        """The pictures there are, by file name."""
        drawn = {"curves.svg": self.job.kind == "train", "evaluation.svg": bool(self.evaluation)}
        stored = {file.name for file in self.files}
        return [name for name in PICTURES if drawn.get(name, name in stored)]


@dataclass(frozen=True)
class Links:
    """Where a card's links lead: to the service at an address without a slash at its end, or to files beside it."""

    service: str | None

    def page(self, text: str, path: str) -> str:
        """`text`, which is Markdown, as a link to a path of the service; without a service only the text."""
        return text if self.service is None else f"[{text}]({self.service}{path})"

    def picture(self, job_id: str, name: str) -> str:
        """The address of a picture of the job."""
        if self.service is None:
            return name
        return f"{self.service}/v1/jobs/{job_id}/{'artifacts/' if name == 'network.svg' else ''}{name}"

"""What may be changed about a training that is under way: a part of the job language of its own."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from models.spec.base import Part
from models.spec.job import MAX_EPOCHS, JobSpec
from models.spec.training.schedules import LearningRateField
from models.spec.training.stopping import Patience


class PatienceChange(Part):
    """What may be changed about early stopping."""

    patience: Patience
    """Epochs without an improvement that are borne from now on."""


class ChangeSpec(Part):
    """What should be different from here on; a field that is left out stays as it is."""

    model_config = ConfigDict(
        title="Change", json_schema_extra={"examples": [{"learning_rate": 0.0001}, {"epochs": 30}]}
    )

    learning_rate: LearningRateField | None = Field(None, examples=[0.0001])
    """The step size, or a schedule whose steps count from where it is taken up."""

    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] | None = None
    """How often to go through the training images in all, what was done before included."""

    early_stopping: PatienceChange | None = None
    """The patience of a job that has early stopping."""

    @model_validator(mode="after")
    def _of_something(self) -> "ChangeSpec":
        if self.learning_rate is None and self.epochs is None and self.early_stopping is None:
            raise PydanticCustomError("invalid", "must change learning_rate, epochs or early_stopping")
        return self

    def of(self, spec: JobSpec) -> JobSpec:
        """The spec that says what holds after this change of a job of `spec`."""
        different: dict[str, Any] = {}
        if self.learning_rate is not None:
            different["optimizer"] = spec.optimizer.model_copy(update={"learning_rate": self.learning_rate})
        if self.epochs is not None:
            different["epochs"] = self.epochs
        if self.early_stopping is not None and spec.early_stopping is not None:
            patience = self.early_stopping.patience
            different["early_stopping"] = spec.early_stopping.model_copy(update={"patience": patience})
        return spec.model_copy(update=different)

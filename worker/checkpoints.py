"""Checkpoints: every piece of state that training needs to go on, in one file without pickle."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile, ZipFile

import keras
import numpy as np

from models.artifacts import ArtifactStore


@dataclass(frozen=True)
class Checkpoint:
    """What is kept after an epoch: variables in the model's own order, callbacks' weights, and small facts."""

    variables: list[np.ndarray]
    weights: dict[str, list[np.ndarray]]
    facts: dict[str, Any]

    def to_bytes(self) -> bytes:
        """One npz file."""
        arrays = {f"variables/{n}": array for n, array in enumerate(self.variables)}
        for name, kept in self.weights.items():
            arrays |= {f"weights/{name}/{n}": array for n, array in enumerate(kept)}
        facts = self.facts | {"weights": {name: len(kept) for name, kept in self.weights.items()}}
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """What `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            count = sum(name.startswith("variables/") for name in arrays.files)
            weights = {
                name: [arrays[f"weights/{name}/{n}"] for n in range(length)]
                for name, length in facts.pop("weights").items()
            }
            return cls([arrays[f"variables/{n}"] for n in range(count)], weights, facts)


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """Weights, seed generators and the optimizer's state: all that a step of training reads and writes."""
    return [*model.variables, *model.optimizer.variables]


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Copies of the variables' values."""
    return [np.asarray(variable.value.numpy()) for variable in variables]


def restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Put the checkpoint's values into a built and compiled model.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    variables = variables_of(model)
    if len(variables) != len(checkpoint.variables):
        raise ValueError(f"The checkpoint has {len(checkpoint.variables)} variables, the model {len(variables)}.")
    for variable, value in zip(variables, checkpoint.variables, strict=True):
        variable.assign(value)


class CheckpointKeeper:
    """Writes an attempt's checkpoints and removes each when the next one is on record."""

    def __init__(self, store: ArtifactStore, job_id: str, attempt: int) -> None:
        self._store = store
        self._folder = f"jobs/{job_id}/{attempt}/checkpoints"

    def write(self, epoch: int, checkpoint: Checkpoint) -> str:
        """Store it durably and give its key."""
        return self._store.write(f"{self._folder}/{epoch}.npz", checkpoint.to_bytes()).key

    def read(self, key: str) -> Checkpoint:
        """The checkpoint under `key`, this attempt's or an earlier one's.

        Raises:
            FileNotFoundError: it is gone.
            BadZipFile: it is not as it was written.
        """
        data = self._store.read(key)
        with ZipFile(io.BytesIO(data)) as file:
            if (damaged := file.testzip()) is not None:
                raise BadZipFile(f"The checksum of {damaged} is wrong.")
        return Checkpoint.from_bytes(data)

    def remove(self, key: str) -> None:
        """Remove one that is not needed any more; should it stay now, it goes with the rest when the job ends."""
        self._store.discard(key)

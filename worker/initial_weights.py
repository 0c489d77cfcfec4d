"""Weights to start from: read from a model version or from an epoch of a job, and given to the layers that fit."""

import io
import tempfile
from pathlib import Path

import keras
import numpy as np
from sqlalchemy.orm import Session

from models import registry
from models.artifacts import ArtifactStore, Corrupted
from models.registry import Artifact
from models.spec.initial import FromJob, FromModel
from models.spec.kept_epochs import file_of
from worker.hold import Hold

Weights = dict[str, list[np.ndarray]]


class Unusable(Exception):
    """Something that the spec refers to is gone or not what it was; the message is for the user."""


def weights_of(network: keras.Model) -> Weights:
    """The weights of every layer that has any, by the layer's name."""
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def to_npz(weights: Weights) -> bytes:
    """One npz file without pickle; its arrays are called `layer/n`."""
    file = io.BytesIO()
    arrays = {f"{name}/{n}": array for name, arrays in weights.items() for n, array in enumerate(arrays)}
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def from_npz(data: bytes) -> Weights:
    """What `to_npz` wrote."""
    weights: Weights = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for key in sorted(arrays.files, key=lambda key: (key.rpartition("/")[0], int(key.rpartition("/")[2]))):
            weights.setdefault(key.rpartition("/")[0], []).append(arrays[key])
    return weights


def read_weights(hold: Hold, source: FromModel | FromJob) -> Weights:
    """The weights that `source` names, by layer. Raises Unusable when they are gone or damaged."""
    with hold.slot.database.read() as session:
        artifact = _artifact(session, source)
    data = read_verified(hold.slot.store, artifact)
    return from_npz(data) if isinstance(source, FromJob) else weights_of(load_keras(data))


def take_weights(network: keras.Model, weights: Weights) -> tuple[list[str], list[str]]:
    """Give each layer the weights of its name where the shapes are the same; names of those that took and did not."""
    taken, left = [], []
    for layer in network.layers:
        if not layer.weights:
            continue
        offered = weights.get(layer.name, [])
        if [array.shape for array in offered] == [tuple(weight.shape) for weight in layer.weights]:
            layer.set_weights(offered)
            taken.append(layer.name)
        else:
            left.append(layer.name)
    return taken, left


def read_verified(store: ArtifactStore, artifact: Artifact) -> bytes:
    """The bytes of an artifact, as they were stored. Raises Unusable."""
    what = f"The file {artifact.name} of {artifact.job_id}"
    try:
        return store.read_verified(artifact.key, artifact.sha256)
    except FileNotFoundError as error:
        raise Unusable(f"{what} is gone from the artifact store.") from error
    except Corrupted as error:
        raise Unusable(f"{what} is not what was stored: its checksum differs.") from error


def load_keras(data: bytes) -> keras.Model:
    """The model in a `.keras` file, without running code from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(data)
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def _artifact(session: Session, source: FromModel | FromJob) -> Artifact:
    match source:
        case FromModel(model=ref):
            version = registry.resolve(session, ref)
            if version is None:
                raise Unusable(f"The model {ref} is gone.")
            found, name = session.get(Artifact, (version.job_id, "model.keras")), f"model.keras of {ref}"
        case FromJob(job=job_id, epoch=epoch):
            found, name = session.get(Artifact, (job_id, file_of(epoch))), f"{file_of(epoch)} of {job_id}"
    if found is None:
        raise Unusable(f"The file {name} is gone.")
    return found

"""A model in another format: read from the job that made it, written, compared with Keras, and put beside its files."""

import keras
import numpy as np

from models import exports, registry
from models.artifacts import Stored
from models.jobs import Job, Status
from models.registry import Artifact
from models.spec import JobSpec
from models.spec.kinds import ExportFormat
from worker import saved_model
from worker.data import Split
from worker.export import compare
from worker.hold import Hold
from worker.initial_weights import Unusable, load_keras, read_verified
from worker.kinds.steps import Steps
from worker.results import VERIFIED_IMAGES


def export_model(hold: Hold, spec: JobSpec, split: Split) -> None:
    """Write the model that the export of `spec` names, and end the job. Raises Interrupted, Unusable, ExportError."""
    assert spec.export is not None
    source_id, wanted = spec.export.job, spec.export.format
    name = exports.file_of(wanted)
    steps = Steps(hold, spec, f"{name} of {source_id}", phase="exporting")
    twin = _model_of(hold, source_id)
    content = _written(twin, wanted)
    steps.reach(1, f"{name}: {len(content):,} bytes")
    told = _compared(content, wanted, twin, split)
    steps.reach(2, told)
    folder = f"jobs/{source_id}/exports/{hold.job.id}/{hold.job.attempt}"
    _end(hold, source_id, name, hold.slot.store.write(f"{folder}/{name}", content), told)


def _model_of(hold: Hold, source_id: str) -> keras.Model:
    with hold.slot.database.read() as session:
        artifact = session.get(Artifact, (source_id, exports.MODEL_FILE))
    if artifact is None:
        raise Unusable(f"The model of {source_id} is gone.")
    return load_keras(read_verified(hold.slot.store, artifact))


def _written(twin: keras.Model, wanted: ExportFormat) -> bytes:
    match wanted:
        case "tf_saved_model":
            return saved_model.export_saved_model(twin)
        case "litert":
            try:
                return saved_model.export_litert(twin)
            except saved_model.Inexpressible as error:
                raise Unusable(str(error)) from error


def _compared(content: bytes, wanted: ExportFormat, twin: keras.Model, split: Split) -> str:
    """Have the file answer to real examples, and say how far it was from Keras. Raises ExportError."""
    examples = split.x_test[:VERIFIED_IMAGES].astype(np.float32)
    match wanted:
        case "tf_saved_model":
            difference = compare("SavedModel", saved_model.ask_saved_model(content, examples), twin, examples)
        case "litert":
            difference = compare("LiteRT", saved_model.ask_litert(content, examples), twin, examples)
    return (
        f"loaded again, it answers {len(examples):,} test examples as Keras does: largest difference {difference:.2g}"
    )


def _end(hold: Hold, source_id: str, name: str, stored: Stored, told: str) -> None:
    """Record the file as the source's, as the job succeeds; or leave none behind."""
    with hold.slot.database.write() as session:
        cancelled = hold.control_in(session).requested == "cancel"
        # Locked, so that the source cannot be deleted before its file is on record.
        source = session.get(Job, source_id, with_for_update=True)
        if cancelled:
            hold.move_in(session, Status.CANCELLED)
        elif source is not None:
            registry.add_artifacts(session, source_id, {name: stored})
            hold.move_in(session, Status.SUCCEEDED, told)
    if cancelled or source is None:
        hold.slot.store.discard(stored.key)
    if not cancelled and source is None:
        raise Unusable(f"The job {source_id} was deleted while its model was exported.")

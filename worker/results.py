"""What becomes of a trained model: measured, exported, stored, and made a version as its job ends."""

import json
import logging
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from models import registry
from models.artifacts import Stored
from models.history import Evaluation, csv_lines, every_epoch
from models.jobs import Status
from models.spec import JobSpec, class_labels
from models.spec.data import class_names_of
from worker import export, training
from worker.callbacks import Progress, plain
from worker.data import Split
from worker.evaluation import evaluate_classes
from worker.hold import Hold
from worker.network import build_network, copy_weights

VERIFIED_IMAGES = 256
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learned:
    """A model that finished training; `interrupted` says why before its last epoch: cancel, timeout, or None."""

    model: training.ResidentModel
    split: Split
    scaling: tuple[float, float]
    progress: Progress
    interrupted: str | None


def finish(hold: Hold, spec: JobSpec, learned: Learned) -> None:
    """Evaluate, export, store, and end the job: version, artifacts and status in one transaction."""
    hold.enter("evaluating")
    split = learned.split
    start = 0 if split.x_val is None else len(split.x_val)
    result = learned.model.evaluate(training.measured_rows(start, len(split.x_test)), verbose=0, return_dict=True)
    evaluation = {name: plain(value) for name, value in result.items()}
    twin = build_network(spec, learned.scaling, serving=True)
    copy_weights(learned.model.network, twin)
    details = evaluation | _measure(spec, twin, split)
    hold.enter("exporting")
    files = _export(hold, spec, twin, split)
    with hold.slot.database.write() as session:
        wanted = hold.control_in(session)
        cancelled = wanted.requested == "cancel"
        if cancelled and not wanted.keep_model:
            # It came while the model was measured or exported: a cancel that was answered is obeyed.
            hold.move_in(session, Status.CANCELLED)
            version = None
        else:
            registry.add_artifacts(session, hold.job.id, files)
            session.merge(Evaluation(job_id=hold.job.id, data=details))
            version = registry.add_version(session, _version(hold, spec, evaluation, twin))
            hold.move_in(
                session,
                Status.CANCELLED if cancelled else Status.SUCCEEDED,
                _reason(learned, cancelled),
                evaluation=evaluation,
                model_name=version.name,
                model_version=version.version,
            )
    if version is None:
        # Only now: had the transaction failed, the next attempt would need what lies there.
        hold.slot.store.delete(hold.folder)
    else:
        log.info("%s: %s:%d, %s", hold.job.id, version.name, version.version, evaluation)


def _measure(spec: JobSpec, twin: keras.Model, split: Split) -> dict[str, Any]:
    outputs = twin.predict(split.x_test.astype(np.float32), batch_size=training.EVALUATION_BATCH, verbose=0)
    return evaluate_classes(outputs, split.y_test, class_labels(spec), class_names_of(spec.dataset))


def _export(hold: Hold, spec: JobSpec, twin: keras.Model, split: Split) -> dict[str, Stored]:
    """Write the artifacts where this attempt's belong; the ONNX file has proved to answer as Keras does."""
    onnx = export.export_onnx(spec, twin)
    export.verify_onnx(onnx, twin, split.x_test[:VERIFIED_IMAGES].astype(np.float32))
    history = "".join(csv_lines(every_epoch(hold.slot.database, hold.job.id)))
    files = {
        "model.keras": export.export_keras(twin),
        "model.onnx": onnx,
        "history.csv": history.encode(),
        "spec.json": json.dumps(hold.job.spec, indent=2).encode(),
    }
    return {name: hold.slot.store.write(f"{hold.folder}/{name}", content) for name, content in files.items()}


def _version(hold: Hold, spec: JobSpec, evaluation: dict[str, float], twin: keras.Model) -> registry.ModelVersion:
    return registry.ModelVersion(
        name=spec.model,
        job_id=hold.job.id,
        dataset=spec.dataset.name,
        test_accuracy=evaluation.get("accuracy"),
        test_loss=evaluation["loss"] if np.isfinite(evaluation["loss"]) else None,
        parameters=twin.count_params(),
        class_count=len(class_labels(spec)),
        serving=registry.serving_of(spec),
    )


def _reason(learned: Learned, cancelled: bool) -> str | None:
    epoch = learned.progress.epoch
    if cancelled:
        return f"cancelled after epoch {epoch}, the model was kept"
    if learned.interrupted == "timeout":
        return f"max_seconds was reached after epoch {epoch}"
    return f"early stopping after epoch {epoch}" if learned.progress.stopped_early else None

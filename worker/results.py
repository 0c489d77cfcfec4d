"""What becomes of a trained model: measured, exported, stored, and made a version as its job ends."""

import json
import logging
from dataclasses import dataclass
from math import isfinite
from typing import Any

import keras
import numpy as np

from models import registry
from models.artifacts import Stored
from models.history import Evaluation, csv_lines, every_epoch
from models.jobs import Status
from models.spec import JobSpec, class_labels, summarize
from models.spec.data import class_names_of, is_regression, shape_of
from worker import export, training
from worker.callbacks import Diverged, Progress
from worker.chunks import EVALUATION_BATCH, Measured
from worker.data import Split
from worker.diagram import draw_network
from worker.evaluation import evaluate_classes, evaluate_values
from worker.hold import Hold, TimeLimit
from worker.network import build_network, copy_weights
from worker.slot import library_versions
from worker.steering import plain

VERIFIED_IMAGES = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learned:
    """A model that finished training; `interrupted` says why before its last epoch: cancel, timeout, or None."""

    model: training.ResidentModel
    split: Split
    scaling: tuple[float, float]
    progress: Progress
    interrupted: str | None


@dataclass(frozen=True)
class Reasons:
    """What is said with the last status, if the job succeeds and if it was cancelled meanwhile."""

    succeeded: str | None
    cancelled: str


def finish(hold: Hold, spec: JobSpec, learned: Learned) -> None:
    """Evaluate, export, store, and end the job: version, artifacts and status in one transaction."""
    hold.enter("evaluating")
    split = learned.split
    start = 0 if split.x_val is None else len(split.x_val)
    test = Measured(start, len(split.x_test), batch_size=learned.model.measured_batch)
    result = learned.model.evaluate(test.data(), steps=test.steps, verbose=0, return_dict=True)
    evaluation = {name: plain(value) for name, value in result.items()}
    if not all(map(isfinite, evaluation.values())):
        raise Diverged("On the test set the loss or a metric is not finite.")
    twin = build_network(spec, learned.scaling, serving=True)
    copy_weights(learned.model.network, twin)
    kept = f"cancelled after epoch {learned.progress.epoch}, the model was kept"
    reasons = Reasons(_reason(learned, hold.limit_of(spec)), kept)
    keep(hold, spec, twin, split, evaluation, evaluation | measure_in_detail(spec, twin, split), reasons)


def keep(
    hold: Hold,
    spec: JobSpec,
    twin: keras.Model,
    split: Split,
    evaluation: dict[str, float],
    details: dict[str, Any],
    reasons: Reasons,
) -> None:
    """Export, store, and end the job with a model version, its evaluation in short and in detail; or obey a cancel."""
    hold.enter("exporting")
    files = _export(hold, spec, twin, split)
    made = _version(hold, spec, details, twin, split)
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
            version = registry.add_version(session, made)
            hold.move_in(
                session,
                Status.CANCELLED if cancelled else Status.SUCCEEDED,
                reasons.cancelled if cancelled else reasons.succeeded,
                evaluation=evaluation,
                model_name=version.name,
                model_version=version.version,
            )
    if version is None:
        # Only now: had the transaction failed, the next attempt would need what lies there.
        hold.slot.store.discard(hold.folder)
    else:
        log.info("%s: %s:%d, %s", hold.job.id, version.name, version.version, evaluation)


def measure_in_detail(spec: JobSpec, twin: keras.Model, split: Split) -> dict[str, Any]:
    """What `twin` does on the test set, in detail. Raises Diverged when an answer is not finite."""
    outputs = twin.predict(split.x_test.astype(np.float32), batch_size=EVALUATION_BATCH, verbose=0)
    if not np.isfinite(outputs).all():
        raise Diverged("What the network answers on the test set is not finite.")
    if is_regression(spec.dataset):
        return evaluate_values(outputs, split.y_test, split.x_test)
    return evaluate_classes(outputs, split.y_test, class_labels(spec), class_names_of(spec.dataset))


def _export(hold: Hold, spec: JobSpec, twin: keras.Model, split: Split) -> dict[str, Stored]:
    """Write the artifacts where this attempt's belong; the ONNX file has proved to answer as Keras does."""
    onnx = export.export_onnx(twin)
    export.verify_onnx(onnx, twin, split.x_test[:VERIFIED_IMAGES].astype(np.float32))
    files = {
        "model.keras": export.export_keras(twin),
        "model.onnx": onnx,
        "spec.json": json.dumps(hold.job.spec, indent=2).encode(),
    }
    if spec.kind == "train":
        files["history.csv"] = "".join(csv_lines(every_epoch(hold.slot.database, hold.job.id))).encode()
        title = spec.name or f"{spec.model}, {spec.dataset.name}"
        files["network.svg"] = draw_network(summarize(spec).layers, shape_of(spec.dataset), title)
    return {name: hold.slot.store.write(f"{hold.folder}/{name}", content) for name, content in files.items()}


def _version(
    hold: Hold, spec: JobSpec, details: dict[str, Any], twin: keras.Model, split: Split
) -> registry.ModelVersion:
    return registry.ModelVersion(
        name=spec.model,
        job_id=hold.job.id,
        dataset=spec.dataset.name,
        test_accuracy=details.get("accuracy", _share_of_hits(details)),
        test_loss=details["loss"],
        parameters=twin.count_params(),
        class_count=len(class_labels(spec)),
        serving=registry.serving_of(spec),
        data_sha256=split.sha256(),
        libraries=library_versions(),
    )


def _share_of_hits(details: dict[str, Any]) -> float | None:
    """The accuracy of a classifier whose spec does not measure it; versions compete by it all the same."""
    if details["kind"] != "classification":
        return None
    matrix = np.array(details["confusion_matrix"])
    return float(matrix.trace() / matrix.sum())


def _reason(learned: Learned, limit: TimeLimit | None) -> str | None:
    epoch = learned.progress.epoch
    if learned.interrupted == "timeout" and limit is not None:
        return f"{limit.name} was reached after epoch {epoch}"
    return f"early stopping after epoch {epoch}" if learned.progress.stopped_early else None

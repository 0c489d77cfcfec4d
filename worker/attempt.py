"""One attempt at a job: claim it, train, keep what was learned, and end it in one transaction."""

import gc
import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import jobs, registry
from models.artifacts import Stored
from models.datasets import DATASETS
from models.history import Evaluation, epochs_after, history_csv
from models.jobs import FailureKind, Job, Status
from models.spec import JobSpec, class_labels
from worker import data, export, training
from worker.callbacks import (
    Diverged,
    EarlyStopping,
    Fenced,
    Interrupted,
    Progress,
    Publisher,
    ReduceLROnPlateau,
    plain,
    resume,
)
from worker.checkpoints import CheckpointKeeper, restore
from worker.evaluation import evaluate_classes
from worker.network import build_network, copy_weights
from worker.slot import Slot

log = logging.getLogger(__name__)
VERIFIED_IMAGES = 256


def try_job(slot: Slot, job_id: str) -> None:
    """Claim `job_id` and see it to its end; nothing happens when somebody else has it."""
    with slot.database.write() as session:
        job = jobs.claim(session, job_id, slot.name)
    if job is None:
        log.info("%s: not to be had, another worker has it or it ended", job_id)
        return
    with slot.running(job.id, job.attempt):
        _see_through(slot, job)
    # A next job's layers must not meet this one's names, nor its memory.
    keras.utils.clear_session(free_memory=True)
    gc.collect()


def _see_through(slot: Slot, job: Job) -> None:
    """Train, and turn every way it can end into the job's status."""
    log.info("%s: attempt %d begins", job.id, job.attempt)
    try:
        Attempt(slot, job).run()
    except Fenced:
        log.warning("%s: attempt %d lost the job to a later one and wrote nothing more", job.id, job.attempt)
    except data.DatasetUnavailable as error:
        _fail(slot, job, "dataset_unavailable", str(error))
    except Diverged as error:
        _fail(slot, job, "diverged", f"{error} A smaller learning rate, or clipnorm, usually helps.")
    except (MemoryError, tf.errors.ResourceExhaustedError):
        log.exception("%s: out of memory", job.id)
        _fail(slot, job, "out_of_memory", "The worker ran out of memory; a smaller network or batch_size needs less.")
    except Exception:
        log.exception("%s: attempt %d broke", job.id, job.attempt)
        _fail(slot, job, "internal", "The worker met an error of its own; its log has the details.")


def _fail(slot: Slot, job: Job, kind: FailureKind, message: str) -> None:
    log.warning("%s: failed (%s): %s", job.id, kind, message)
    with slot.database.write() as session:
        jobs.move(
            session,
            job.id,
            Status.FAILED,
            by_attempt=job.attempt,
            reason=message,
            failure_kind=kind,
            failure_message=message,
        )


@dataclass(frozen=True)
class Learned:
    """A model that finished training, and why it finished: None after its last epoch, else what interrupted it."""

    model: training.ResidentModel
    split: data.Split
    scaling: tuple[float, float]
    progress: Progress
    interrupted: str | None


class Attempt:
    """The steps of one attempt; each raises what `_see_through` knows how to record."""

    def __init__(self, slot: Slot, job: Job) -> None:
        self.slot, self.job = slot, job
        self.spec = JobSpec.model_validate(job.spec)
        self.keeper = CheckpointKeeper(slot.store, job.id, job.attempt)

    def run(self) -> None:
        """Load, train, and end the job."""
        with tf.device("/CPU:0") if self.spec.device == "cpu" else nullcontext():
            learned = self._learn()
            if learned is None:
                return
            self._finish(learned)
        self._drop_checkpoints()

    def _learn(self) -> Learned | None:
        """Train to the end, or to what the user or the machine asks for; None when the job is dealt with already."""
        dataset = data.load(self.spec.dataset.name, self.slot.settings.datasets, self.slot.settings.offline)
        split = data.select(
            dataset,
            train_size=self.spec.dataset.train_size,
            classes=self.spec.dataset.classes,
            validation=self.spec.dataset.held_back,
            seed=self.spec.seed,
        )
        scaling = data.scaling_of(self.spec.dataset.scaling, split.x_train)
        self._say("compiling", f"{len(split.x_train)} images to train on, {len(split.x_test)} to test")
        model = training.build_model(self.spec, split, scaling)
        early_stopping, plateau = self._stoppers()
        progress = self._resume(model, early_stopping, plateau)
        interrupted = None
        if progress.epoch < self.spec.epochs and not progress.stopped_early:
            try:
                self._fit(model, split, progress, early_stopping, plateau)
            except Interrupted as interruption:
                interrupted = interruption.why
        if interrupted is not None:
            if not self._goes_on_after(interrupted, progress):
                return None
            assert progress.checkpoint is not None
            restore(model, self.keeper.read(progress.checkpoint))
        if early_stopping is not None and early_stopping.best_weights and self.spec.early_stopping is not None:
            # Keras does it when fit ends by itself; after an interruption, or when nothing was left to fit, we do.
            model.set_weights(early_stopping.best_weights)
        return Learned(model, split, scaling, progress, interrupted)

    def _stoppers(self) -> tuple[EarlyStopping | None, ReduceLROnPlateau | None]:
        early_stopping, plateau = self.spec.early_stopping, self.spec.reduce_on_plateau
        return (
            EarlyStopping(**early_stopping.model_dump()) if early_stopping else None,
            ReduceLROnPlateau(**plateau.model_dump()) if plateau else None,
        )

    def _resume(
        self, model: training.ResidentModel, early_stopping: EarlyStopping | None, plateau: ReduceLROnPlateau | None
    ) -> Progress:
        if self.job.checkpoint is None:
            return Progress()
        checkpoint = self.keeper.read(self.job.checkpoint)
        restore(model, checkpoint)
        progress = resume(checkpoint, early_stopping, plateau)
        progress.checkpoint = self.job.checkpoint
        self._say("compiling", f"goes on after epoch {progress.epoch}")
        return progress

    def _fit(
        self,
        model: training.ResidentModel,
        split: data.Split,
        progress: Progress,
        early_stopping: EarlyStopping | None,
        plateau: ReduceLROnPlateau | None,
    ) -> None:
        chunks = training.chunks_for(self.spec, len(split.x_train))
        validation = None if split.x_val is None else training.measured_rows(0, len(split.x_val))
        publisher = Publisher(
            self.slot, self.job.id, self.job.attempt, self.spec, self.keeper, progress, early_stopping, plateau
        )
        model.fit(
            training.training_rows(chunks, self.spec.seed, progress.epoch),
            epochs=self.spec.epochs,
            initial_epoch=progress.epoch,
            steps_per_epoch=chunks.count,
            validation_data=validation,
            shuffle=False,
            callbacks=[callback for callback in (early_stopping, plateau, publisher) if callback is not None],
            verbose=0,
        )

    def _goes_on_after(self, why: str, progress: Progress) -> bool:
        """Deal with an interruption; True when the model of the last published epoch is to be kept."""
        learned = progress.checkpoint is not None
        if why == "stopping":
            self._move(Status.QUEUED, "the worker stops and hands the job back")
            return False
        if why == "timeout":
            if not learned:
                message = f"No epoch was finished within max_seconds. Received: max_seconds={self.spec.max_seconds}"
                _fail(self.slot, self.job, "timeout", message)
            return learned
        with self.slot.database.read() as session:
            control = jobs.control(session, self.job.id, self.job.attempt)
        if learned and control is not None and control.keep_model:
            return True
        self._move(Status.CANCELLED)
        self._drop_checkpoints()
        return False

    def _finish(self, learned: Learned) -> None:
        """Evaluate, export, store, and end the job: version, artifacts and status in one transaction."""
        self._phase("evaluating")
        model, split = learned.model, learned.split
        start = 0 if split.x_val is None else len(split.x_val)
        result = model.evaluate(training.measured_rows(start, len(split.x_test)), verbose=0, return_dict=True)
        evaluation = {name: plain(value) for name, value in result.items()}
        twin = build_network(self.spec, learned.scaling, serving=True)
        copy_weights(model.network, twin)
        details = evaluation | self._measure(twin, split)
        self._phase("exporting")
        files = self._export(twin, split.x_test[:VERIFIED_IMAGES].astype(np.float32))
        cancelled = learned.interrupted == "cancel"
        with self.slot.database.write() as session:
            registry.add_artifacts(session, self.job.id, files)
            session.merge(Evaluation(job_id=self.job.id, data=details))
            version = registry.add_version(session, self._version(evaluation, twin))
            moved = jobs.move(
                session,
                self.job.id,
                Status.CANCELLED if cancelled else Status.SUCCEEDED,
                by_attempt=self.job.attempt,
                reason=_reason(learned),
                evaluation=evaluation,
                model_name=version.name,
                model_version=version.version,
            )
            if not moved:
                raise Fenced
        log.info("%s: %s:%d, %s", self.job.id, version.name, version.version, evaluation)

    def _measure(self, twin: keras.Model, split: data.Split) -> dict[str, Any]:
        outputs = twin.predict(split.x_test.astype(np.float32), batch_size=training.EVALUATION_BATCH, verbose=0)
        names = DATASETS[self.spec.dataset.name].classes
        labels = class_labels(self.spec)
        return evaluate_classes(outputs, split.y_test, labels, [names[label] for label in labels])

    def _export(self, twin: keras.Model, images: np.ndarray) -> dict[str, Stored]:
        onnx = export.export_onnx(self.spec, twin)
        export.verify_onnx(onnx, twin, images)
        with self.slot.database.read() as session:
            history = history_csv(epochs_after(session, self.job.id, 0, limit=self.spec.epochs))
        files: dict[str, Callable[[], bytes]] = {
            "model.keras": lambda: export.export_keras(twin),
            "model.onnx": lambda: onnx,
            "history.csv": history.encode,
            "spec.json": lambda: json.dumps(self.job.spec, indent=2).encode(),
        }
        folder = f"jobs/{self.job.id}/{self.job.attempt}"
        return {name: self.slot.store.write(f"{folder}/{name}", make()) for name, make in files.items()}

    def _version(self, evaluation: dict[str, float], twin: keras.Model) -> registry.ModelVersion:
        return registry.ModelVersion(
            name=self.spec.model,
            job_id=self.job.id,
            dataset=self.spec.dataset.name,
            test_accuracy=evaluation.get("accuracy"),
            test_loss=evaluation["loss"] if np.isfinite(evaluation["loss"]) else None,
            parameters=twin.count_params(),
            serving=registry.serving_of(self.spec),
        )

    def _phase(self, phase: jobs.Phase) -> None:
        with self.slot.database.write() as session:
            if not jobs.set_phase(session, self.job.id, self.job.attempt, phase):
                raise Fenced

    def _say(self, phase: jobs.Phase, message: str) -> None:
        with self.slot.database.write() as session:
            said = {"message": message}
            if not jobs.record_event(session, self.job.id, self.job.attempt, "log", said, phase=phase):
                raise Fenced

    def _move(self, to: Status, reason: str | None = None) -> None:
        with self.slot.database.write() as session:
            if not jobs.move(session, self.job.id, to, by_attempt=self.job.attempt, reason=reason):
                raise Fenced

    def _drop_checkpoints(self) -> None:
        for attempt in range(1, self.job.attempt + 1):
            self.slot.store.delete(f"jobs/{self.job.id}/{attempt}/checkpoints")


def _reason(learned: Learned) -> str | None:
    if learned.interrupted == "timeout":
        return f"max_seconds was reached after epoch {learned.progress.epoch}"
    if learned.interrupted == "cancel":
        return f"cancelled after epoch {learned.progress.epoch}, the model was kept"
    if learned.progress.stopped_early:
        return f"early stopping after epoch {learned.progress.epoch}"
    return None

"""A training once more, with its recorded changes at their steps: are the weights the same, bit for bit?"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from models.changes import changes_of
from models.exports import MODEL_FILE
from models.jobs import Job
from models.registry import Artifact
from models.spec import JobSpec
from models.spec.kinds import Verify
from worker import data
from worker.callbacks import stoppers
from worker.data import Split
from worker.hold import Hold
from worker.initial_weights import Unusable, load_keras, read_verified, read_weights, take_weights, weights_of
from worker.kinds.steps import Steps
from worker.network import build_network, copy_weights
from worker.rehearsal import chunks_of, plan_after, rehearse
from worker.steering import ChangeAt, Course, Steering, chunks_through
from worker.training import build_model, fit


@dataclass(frozen=True)
class Original:
    """The training that is repeated."""

    spec: JobSpec
    execution: dict[str, Any] | None
    changes: list[ChangeAt]
    model: Artifact


class EndAfter(keras.callbacks.Callback):
    """Ends the training where the original did, tells how far it is, and obeys."""

    def __init__(self, steps: Steps, steering: Steering, epochs: int) -> None:
        super().__init__()
        self._steps, self._steering, self._epochs = steps, steering, epochs

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._steps.look()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._steps.look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._steps.reach(epoch + 1, f"epoch {epoch + 1} once more", brief=True)
        if epoch + 1 >= min(self._epochs, self._steering.course.epochs):
            self.model.stop_training = True


def verify_training(hold: Hold, spec: JobSpec, split: Split) -> dict[str, Any]:
    """Train what the verification of `spec` names again and compare. Raises Interrupted, Unusable."""
    wanted = spec.verify
    assert wanted is not None
    assert wanted.epochs is not None
    original = _original(hold, wanted)
    if original.spec.dataset != spec.dataset:
        split = data.split_for(original.spec, hold.slot.settings.datasets, hold.slot.settings.offline)
    steps = Steps(hold, spec, f"{wanted.epochs} epochs of {wanted.job} once more", phase="training")
    network = _trained_again(hold, original, split, wanted.epochs, steps)
    first = weights_of(load_keras(read_verified(hold.slot.store, original.model)))
    layers = _compared(first, weights_of(network))
    return _told(wanted, original, layers)


def _original(hold: Hold, wanted: Verify) -> Original:
    with hold.slot.database.read() as session:
        job, model = session.get(Job, wanted.job), session.get(Artifact, (wanted.job, MODEL_FILE))
        if job is None or model is None:
            raise Unusable(f"The model of {wanted.job} is gone.")
        changes = [ChangeAt.of(row) for row in changes_of(session, job.id)]
        return Original(JobSpec.model_validate(job.spec), job.execution, changes, model)


def _trained_again(hold: Hold, original: Original, split: Split, epochs: int, steps: Steps) -> keras.Model:
    """The network as it serves, after so many epochs."""
    spec = original.spec
    scaling = data.scaling_of(spec.dataset, split.x_train)
    model = build_model(spec, split, scaling, plan_after(original.execution, spec, split, scaling))
    if spec.initial_weights is not None:
        take_weights(model.network, read_weights(hold, spec.initial_weights))
    early_stopping, plateau = stoppers(spec)
    longest = chunks_of(spec, len(split.x_train))
    chunks = rehearse(model, chunks_through(longest, original.changes, 0), steps.look)
    steering = Steering(chunks, Course.of(spec), original.changes, early_stopping=early_stopping)
    callbacks = (early_stopping, plateau, steering, EndAfter(steps, steering, epochs))
    fit(
        model,
        chunks,
        seed=spec.seed,
        epochs=epochs,
        validated=None if split.x_val is None else len(split.x_val),
        callbacks=[callback for callback in callbacks if callback is not None],
    )
    twin = build_network(spec, scaling, serving=True)
    copy_weights(model.network, twin)
    return twin


def _compared(first: dict[str, list[np.ndarray]], second: dict[str, list[np.ndarray]]) -> list[dict[str, Any]]:
    """Layer by layer, whether all weights have the same bits, and the largest absolute difference."""
    layers = []
    for name, weights in first.items():
        pairs = list(zip(weights, second[name], strict=True))
        same = all(mine.tobytes() == theirs.tobytes() for mine, theirs in pairs)
        distances = [np.abs(mine.astype(np.float64) - theirs).max() for mine, theirs in pairs]
        count = sum(array.size for array in weights)
        layers.append({"layer": name, "weights": count, "same": same, "largest_difference": float(max(distances))})
    return layers


def _told(wanted: Verify, original: Original, layers: list[dict[str, Any]]) -> dict[str, Any]:
    made = sum(each.step is not None for each in original.changes)
    same = all(layer["same"] for layer in layers)
    count = sum(layer["weights"] for layer in layers)
    furthest = max((layer["largest_difference"] for layer in layers), default=0.0)
    changes = f" with its {made} change{'s' if made > 1 else ''} at the recorded steps" if made else ""
    again = f"{wanted.epochs} epoch{'s' if wanted.epochs != 1 else ''} of {wanted.job}, trained again{changes}"
    if same:
        sentence = f"{again}, gave the same model: all {count:,} weights are the same, bit for bit."
    else:
        odd = ", ".join(layer["layer"] for layer in layers if not layer["same"])
        sentence = f"{again}, gave another model: {odd} differ, by {furthest:.3g} at most."
    return {
        "kind": "verify",
        "job": wanted.job,
        "epochs": wanted.epochs,
        "changes": made,
        "same": same,
        "weights": count,
        "largest_difference": furthest,
        "layers": layers,
        "summary": [sentence],
    }

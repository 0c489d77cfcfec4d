"""A model made of versions, which answer together: the average of their outputs, or the share of their votes."""

from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from models import registry
from models.registry import Artifact
from models.spec import JobSpec
from models.spec.data import is_regression
from worker.chunks import EVALUATION_BATCH
from worker.data import Split
from worker.evaluation import classes_of
from worker.hold import Hold
from worker.initial_weights import Unusable, load_keras, read_verified
from worker.kinds.steps import Steps
from worker.steering import plain

Outputs = npt.NDArray[np.float32]


def read_member(hold: Hold, ref: str) -> keras.Model:
    """The trained model of the version `ref`, `name:3`. Raises Unusable when its file is gone or damaged."""
    with hold.slot.database.read() as session:
        version = registry.resolve(session, ref)
        artifact = None if version is None else session.get(Artifact, (version.job_id, "model.keras"))
    if artifact is None:
        raise Unusable(f"The member {ref} is gone.")
    try:
        data = read_verified(hold.slot.store, artifact)
    except Unusable as error:
        raise Unusable(f"The member {ref} cannot be used. {error}") from error
    return load_keras(data)


def combine(members: list[keras.Model], how: Literal["average", "vote"]) -> keras.Model:
    """One model of Keras's own layers alone: the members side by side over the same raw input, then one answer.

    `average` is the mean of the members' outputs. `vote` is the share of members for each class, where a member votes
    for its largest output, of equals the first; a single sigmoid unit votes for the second class from a half on. The
    layers of member 2 are called `member_2_...`; nothing in it is trainable.
    """
    raw = keras.Input(members[0].input_shape[1:], dtype="float32", name="image")
    answers = []
    for number, member in enumerate(members, start=1):
        copy = keras.models.clone_model(member, raw, clone_function=_renamed(f"member_{number}"))
        copy.set_weights(member.get_weights())
        answers.append(copy.output)
    if how == "vote":
        answers = [_vote(answer) for answer in answers]
    together = keras.layers.Average(dtype="float32", name="together")(answers)
    model = keras.Model(raw, together, name="ensemble")
    model.trainable = False
    return model


def measure(spec: JobSpec, model: keras.Model, split: Split) -> dict[str, float]:
    """Loss and, of classes, accuracy on the test set; the loss is the cross-entropy, or the mean squared error."""
    outputs = outputs_of(model, split)
    if is_regression(spec.dataset):
        return {"loss": plain(np.mean((outputs - split.y_test.reshape(outputs.shape)) ** 2))}
    chosen = np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs
    likely = np.clip(chosen[np.arange(len(chosen)), split.y_test], keras.config.epsilon(), 1.0)
    accuracy = np.mean(classes_of(outputs) == split.y_test)
    return {"loss": plain(-np.mean(np.log(likely))), "accuracy": plain(accuracy)}


def outputs_of(model: keras.Model, split: Split) -> Outputs:
    """What `model` answers to the test set."""
    outputs: Outputs = model.predict(split.x_test.astype(np.float32), batch_size=EVALUATION_BATCH, verbose=0)
    return outputs


def gather(hold: Hold, spec: JobSpec, split: Split, steps: Steps) -> tuple[list[keras.Model], list[dict[str, Any]]]:
    """The members of `spec` and, of each, its name, version and figures on the test set."""
    assert spec.ensemble is not None
    members, told = [], []
    for done, ref in enumerate(spec.ensemble.members, start=1):
        members.append(read_member(hold, ref))
        figures = measure(spec, members[-1], split)
        name, _, version = ref.partition(":")
        told.append({"model": name, "version": int(version), **figures})
        steps.reach(done, f"{ref}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return members, told


def _renamed(prefix: str) -> Any:
    def copied(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer
        return type(layer).from_config({**layer.get_config(), "name": f"{prefix}_{layer.name}"})

    return copied


def _vote(answer: Any) -> Any:
    if answer.shape[-1] == 1:
        return keras.ops.cast(keras.ops.greater_equal(answer, 0.5), "float32")
    # TensorFlow's argmax, as Keras calls it, has no ONNX form.
    _, first = keras.ops.top_k(answer, 1)
    return keras.ops.one_hot(keras.ops.squeeze(first, axis=-1), answer.shape[-1], dtype="float32")

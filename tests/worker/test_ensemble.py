"""Ensembles: members of every form answer together, and what comes out is a model like any other."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest

from models import jobs, registry, requests
from models.history import Evaluation, Event, whole_history
from models.jobs import Job, Status
from models.references import with_references
from models.registry import Artifact, ModelVersion
from models.spec import SpecError, parse_spec
from worker import data, export
from worker.attempt import try_job
from worker.kinds import steps
from worker.kinds.ensemble import combine
from worker.network import build_network
from worker.slot import Slot

TABLE = [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.1, 0.7, 0.2]]
LAYERS: list[Any] = [
    "flatten",
    {"type": "dense", "units": 12, "activation": "gelu"},
    "batch_normalization",
    {"type": "dense", "units": 10},
]
CONVOLUTIONS: list[Any] = [{"type": "conv2d", "filters": 4, "kernel_size": 5}, "max_pooling2d", "flatten", LAYERS[-1]]


def submit(slot: Slot, **spec: Any) -> str:
    with slot.database.write() as session:
        made = with_references(session, parse_spec({"dataset": "digits"} | spec))
        return jobs.create(session, made).id


def read(slot: Slot, job_id: str) -> Job:
    with slot.database.read() as session:
        return session.get_one(Job, job_id)


def add_version(slot: Slot, name: str, **changes: Any) -> str:
    """A version on record, and the id of its job, which was never run."""
    spec = parse_spec({"dataset": "digits", "model": name})
    serving = changes.pop("serving", None) or registry.serving_of(spec)
    with slot.database.write() as session:
        job = jobs.create(session, spec)
        fields: dict[str, Any] = {"dataset": "digits", "parameters": 100, "class_count": 10} | changes
        registry.add_version(session, ModelVersion(name=name, job_id=job.id, serving=serving, **fields))
        return job.id


def make(slot: Slot, *networks: list[Any], dataset: str = "digits") -> list[keras.Model]:
    """A version `m:1`, `m:2` ... for each network, with a file, as if it had been trained; answers the models."""
    made = []
    for seed, layers in enumerate(networks):
        spec = parse_spec({"dataset": dataset, "network": {"layers": layers}, "seed": seed})
        made.append(build_network(spec, (1 / 255, 0.0), serving=True))
        job_id = add_version(slot, "m", dataset=dataset, serving=registry.serving_of(spec), test_accuracy=0.1 * seed)
        file = slot.store.write(f"jobs/{job_id}/1/model.keras", export.export_keras(made[-1]))
        with slot.database.write() as session:
            registry.add_artifacts(session, job_id, {"model.keras": file})
    return made


def ensemble(slot: Slot, *members: str, combine: str = "average", **spec: Any) -> Job:
    job_id = submit(slot, kind="ensemble", ensemble={"members": list(members), "combine": combine}, **spec)
    try_job(slot, job_id)
    return read(slot, job_id)


def evaluation(slot: Slot, job: Job) -> dict[str, Any]:
    with slot.database.read() as session:
        return session.get_one(Evaluation, job.id).data


def stored(slot: Slot, job_id: str, name: str) -> bytes:
    with slot.database.read() as session:
        return slot.store.read(session.get_one(Artifact, (job_id, name)).key)


def loaded(data: bytes, folder: Path) -> keras.Model:
    path = folder / "model.keras"
    path.write_bytes(data)
    return keras.saving.load_model(path)


def table(row: list[float]) -> keras.Model:
    """A model that answers `row` to whatever it is asked."""
    inputs = keras.Input((2,))
    bias = keras.initializers.Constant(0.0)
    layer = keras.layers.Dense(len(row), kernel_initializer="zeros", bias_initializer=bias)
    model = keras.Model(inputs, layer(inputs))
    layer.bias.assign(row)
    return model


@pytest.mark.parametrize(
    ("how", "expected"),
    [("average", [0.8 / 3, 1.2 / 3, 1.0 / 3]), ("vote", [1 / 3, 1 / 3, 1 / 3])],
)
def test_members_average_or_vote(how: Any, expected: list[float]) -> None:
    model = combine([table(row) for row in TABLE], how)
    np.testing.assert_allclose(model(np.zeros((2, 2), np.float32)), [expected, expected], rtol=1e-6)


def test_of_equal_outputs_the_first_has_the_vote() -> None:
    model = combine([table([0.4, 0.4, 0.2]), table([0.2, 0.4, 0.4])], "vote")
    np.testing.assert_allclose(model(np.zeros((1, 2), np.float32)), [[0.5, 0.5, 0.0]])


def test_single_sigmoid_units_vote_from_a_half_on() -> None:
    model = combine([table([0.5]), table([0.49]), table([0.9])], "vote")
    np.testing.assert_allclose(model(np.zeros((1, 2), np.float32)), [[2 / 3]], rtol=1e-6)


@pytest.mark.parametrize("how", ["average", "vote"])
def test_an_ensemble_becomes_a_model_that_predicts_like_any_other(slot: Slot, tmp_path: Path, how: str) -> None:
    made = make(slot, LAYERS, LAYERS, CONVOLUTIONS)
    job = ensemble(slot, "m:1", "m:2", "m:3", combine=how)
    assert (job.status, job.failure_message) == (Status.SUCCEEDED, None)
    assert (job.model_name, job.model_version, job.epoch, job.epochs) == ("digits-ensemble", 1, 3, 3)
    x = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1)).astype(np.float32)
    expected = [np.asarray(member(x)) for member in made]
    if how == "vote":
        expected = [np.eye(10)[outputs.argmax(axis=1)] for outputs in expected]
    session = onnxruntime.InferenceSession(stored(slot, job.id, "model.onnx"))
    (answers,) = session.run(["output"], {"image": x})
    np.testing.assert_allclose(answers, np.mean(expected, axis=0), atol=1e-5)
    model = loaded(stored(slot, job.id, "model.keras"), tmp_path)
    np.testing.assert_allclose(model(x), answers, atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert {"member_1_dense_1", "member_2_dense_1", "together"} <= {layer.name for layer in model.layers}
    assert model.trainable_variables == []


@pytest.mark.usefixtures("no_onnx")
def test_the_evaluation_has_the_members_figures_beside_the_ensembles(slot: Slot) -> None:
    made = make(slot, LAYERS, LAYERS)
    job = ensemble(slot, "m:1", "m:2")
    test = data.load("digits", slot.settings.datasets, True)
    accuracies = [np.mean(np.asarray(member(test.x_test)).argmax(axis=1) == test.y_test) for member in made]
    details = evaluation(slot, job)
    assert [(member["model"], member["version"]) for member in details["members"]] == [("m", 1), ("m", 2)]
    assert [member["accuracy"] for member in details["members"]] == pytest.approx(accuracies, abs=1e-6)
    together = np.mean([np.asarray(member(test.x_test)) for member in made], axis=0)
    likely = together[np.arange(len(together)), test.y_test]
    assert job.evaluation == {"loss": details["loss"], "accuracy": details["accuracy"]}
    assert details["loss"] == pytest.approx(-np.log(likely).mean(), rel=1e-4)
    assert details["accuracy"] == pytest.approx(np.mean(together.argmax(axis=1) == test.y_test), abs=1e-6)
    assert sum(map(sum, details["confusion_matrix"])) == len(test.y_test)
    history = [row for row in whole_history(slot.database, job.id) if isinstance(row, Event)]
    assert [row.data["message"][:9] for row in history if row.type == "log"] == ["members: ", "m:1: loss", "m:2: loss"]


def test_a_name_is_fixed_to_a_version_and_an_ensemble_can_be_a_member(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(slot, LAYERS, LAYERS)
    with monkeypatch.context() as patched:
        patched.setattr(export, "export_onnx", lambda *_: b"")
        patched.setattr(export, "verify_onnx", lambda *_: 0.0)
        job = ensemble(slot, "m", "m:1")
    assert job.spec["ensemble"]["members"] == ["m:2", "m:1"]
    again = ensemble(slot, "digits-ensemble@champion", "m:1", combine="vote")
    assert again.spec["ensemble"]["members"] == ["digits-ensemble:1", "m:1"]
    assert (again.status, again.model_version) == (Status.SUCCEEDED, 2)


@pytest.mark.usefixtures("no_onnx")
def test_an_ensemble_of_a_regression_averages(slot: Slot) -> None:
    layers = [{"type": "dense", "units": 4, "activation": "tanh"}, {"type": "dense", "units": 1}]
    make(slot, layers, layers, dataset="polynomial")
    job = ensemble(slot, "m:1", "m:2", dataset="polynomial")
    assert (job.status, job.model_name) == (Status.SUCCEEDED, "polynomial-ensemble")
    details = evaluation(slot, job)
    assert details["loss"] <= max(member["loss"] for member in details["members"])
    assert "accuracy" not in details


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_member_that_cannot_be_read_fails_the_job_with_its_name(slot: Slot, damage: str) -> None:
    make(slot, LAYERS, LAYERS)
    job_id = submit(slot, kind="ensemble", ensemble={"members": ["m:1", "m:2"]})
    with slot.database.read() as session:
        version = registry.resolve(session, "m:2")
        assert version is not None
        key = session.get_one(Artifact, (version.job_id, "model.keras")).key
    if damage == "gone":
        slot.store.delete(key)
    else:
        slot.store.write(key, b"other bytes")
    try_job(slot, job_id)
    job = read(slot, job_id)
    assert (job.status, job.failure_kind) == (Status.FAILED, "user")
    assert "The member m:2 cannot be used" in (job.failure_message or "")
    assert str(slot.settings.home) not in (job.failure_message or "")


def test_a_cancel_between_the_members_leaves_no_model(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    make(slot, LAYERS, LAYERS)
    reach = steps.Steps.reach

    def cancelled_meanwhile(self: steps.Steps, done: int, message: str, **how: Any) -> None:
        with slot.database.write() as session:
            requests.request_cancel(session, self._hold.job.id, keep_model=True)
        reach(self, done, message, **how)

    monkeypatch.setattr(steps.Steps, "reach", cancelled_meanwhile)
    job = ensemble(slot, "m:1", "m:2")
    assert (job.status, job.model_version) == (Status.CANCELLED, None)
    assert slot.store.keys(f"jobs/{job.id}") == []


@pytest.mark.usefixtures("no_onnx")
@pytest.mark.parametrize(("keep_model", "version"), [(False, None), (True, 1)])
def test_a_cancel_during_the_export_is_obeyed(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, keep_model: bool, version: int | None
) -> None:
    make(slot, LAYERS, LAYERS)
    job_id = submit(slot, kind="ensemble", ensemble={"members": ["m:1", "m:2"]})

    def cancelled_meanwhile(*_: Any) -> bytes:
        with slot.database.write() as session:
            assert requests.request_cancel(session, job_id, keep_model=keep_model) == "requested"
        return b""

    monkeypatch.setattr(export, "export_keras", cancelled_meanwhile)
    try_job(slot, job_id)
    job = read(slot, job_id)
    assert (job.status, job.model_version) == (Status.CANCELLED, version)
    assert bool(slot.store.keys(f"jobs/{job_id}")) == keep_model


@pytest.mark.parametrize(
    ("members", "pointer", "words"),
    [
        (["good", "nobody"], "/ensemble/members/1", "no such model"),
        (["good:7", "good"], "/ensemble/members/0", "no such model"),
        (["good", "fashion"], "/ensemble/members/1", "one of fashion_mnist"),
        (["good", "few"], "/ensemble/members/1", "those of few:1 are 3, 8"),
        (["good", "good:1"], "/ensemble/members/1", "good:1 is member 0 already"),
        (["good", "large"], "/ensemble/members", "50,000,001 parameters"),
    ],
)
def test_members_that_do_not_fit_are_refused(slot: Slot, members: list[str], pointer: str, words: str) -> None:
    add_version(slot, "good")
    add_version(slot, "fashion", dataset="fashion_mnist")
    add_version(slot, "few", serving={"labels": [3, 8], "shape": [28, 28, 1]}, class_count=2)
    add_version(slot, "large", parameters=49_999_901)
    spec = parse_spec({"kind": "ensemble", "dataset": "digits", "ensemble": {"members": members}})
    with slot.database.read() as session, pytest.raises(SpecError) as raised:
        with_references(session, spec)
    (problem,) = raised.value.problems
    assert problem.pointer == pointer
    assert words in problem.detail

"""Models of features, from the spec to the answer: trained in this process, served as ONNX, asked over HTTP."""

import json
import multiprocessing
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.deps import Room
from models.artifacts import ArtifactStore
from models.datasets import DATASETS
from models.settings import Settings
from models.synthetic import polynomial_test, spiral
from tests.api.conftest import submit
from tests.factories.files import encoded
from worker.attempt import try_job
from worker.slot import Slot

HIDDEN = {"type": "dense", "units": 16, "activation": "relu"}
SPIRAL = {
    "dataset": {"name": "spiral", "validation": {"test": True}, "samples": 40},
    "network": {"layers": [HIDDEN, {"type": "dense", "units": 3}]},
    "optimizer": {"type": "adam", "learning_rate": 0.05},
    "batch_size": "full",
    "epochs": 40,
    "log_every": 20,
}
CURVE = {
    "dataset": {"name": "polynomial", "degree": 2, "samples": 40, "noise": 0.05},
    "network": {"layers": [HIDDEN, {"type": "dense", "units": 1}]},
    "optimizer": {"type": "adam", "learning_rate": 0.05},
    "batch_size": 10,
    "epochs": 20,
    "log_every": 20,
}
BINARY = {
    "dataset": {"name": "digits", "classes": [3, 8], "train_size": 200},
    "network": {"layers": ["flatten", {"type": "dense", "units": 1, "activation": "sigmoid"}]},
    "epochs": 3,
}
REFUSED: list[tuple[Any, str]] = [
    ({"instances": []}, "/instances"),
    ({"instances": [[1, 2], [1]]}, "/instances/1"),
    ({"instances": [[1, 2], [1, 2, 3]]}, "/instances/1"),
    ({"instances": [[1, "2"]]}, "/instances/0/1"),
    ({"instances": [[1, None]]}, "/instances/0/1"),
    ({"instances": [[1, 1e300]]}, "/instances/0/1"),
    ({"instances": [1, 2]}, "/instances/0"),
    ({"instances": [[0, 0], [3e38, 3e38]]}, "/instances/1"),
    ({"pixels": [1, 2]}, "/pixels"),
    ({"pixels": [[0] * 28] * 28}, "/pixels"),
    ({"image": "aGVsbG8="}, "/image"),
    ({"instances": [[1, 2]], "pixels": []}, "/instances"),
    ({}, "/instances"),
]


@pytest.fixture
def slot(settings: Settings) -> Iterator[Slot]:
    made = Slot(settings, ["train"], multiprocessing.get_context("spawn").Event())
    yield made
    made.close()


def trained(client: TestClient, slot: Slot, spec: dict[str, Any]) -> dict[str, Any]:
    job_id = submit(client, **spec)["id"]
    try_job(slot, job_id)
    job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "succeeded", job["failure"]
    return job


def keras_answers(settings: Settings, store: ArtifactStore, job: dict[str, Any], x: np.ndarray) -> np.ndarray:
    path = settings.home / "model.keras"
    path.write_bytes(store.read(f"jobs/{job['id']}/{job['attempt']}/model.keras"))
    return keras.saving.load_model(path).predict(x, verbose=0)


def test_a_spiral_from_spec_to_answer(client: TestClient, room: Room, slot: Slot, settings: Settings) -> None:
    job = trained(client, slot, SPIRAL)
    points, _ = spiral(40, 3, 1)
    expected = keras_answers(settings, room.store, job, points)
    for url in ("/v1/models/spiral/predict", f"/v1/jobs/{job['id']}/predict?seen=true"):
        answer = client.post(url, json={"instances": points.tolist()})
        assert answer.status_code == 200, answer.text
        predictions = answer.json()["predictions"]
        np.testing.assert_allclose([one["probabilities"] for one in predictions], expected, atol=1e-5)
        assert [one["label"] for one in predictions] == expected.argmax(axis=1).tolist()
        assert {one["class_name"] for one in predictions} <= {"0", "1", "2"}
        assert all("seen" not in one for one in predictions)
    told = client.get(f"/v1/jobs/{job['id']}/evaluation").json()
    assert told["kind"] == "classification"
    assert np.sum(told["confusion_matrix"], axis=1).tolist() == [40, 40, 40]
    rows = client.get(f"/v1/jobs/{job['id']}/metrics").json()["data"]
    assert rows[-1]["metrics"]["val_accuracy"] == pytest.approx(job["evaluation"]["accuracy"])
    for body, pointer in REFUSED:
        refused = client.post("/v1/models/spiral/predict", json=body)
        assert refused.status_code == 422, body
        assert [problem["pointer"] for problem in refused.json()["errors"]] == [pointer], body
        json.loads(refused.text, parse_constant=pytest.fail)
    picture = client.post(
        "/v1/models/spiral/predict", content=encoded(Image.new("L", (9, 9))), headers={"content-type": "image/png"}
    )
    assert (picture.status_code, picture.json()["errors"][0]["code"]) == (422, "picture_unexpected")
    assert '{"instances": [[x1, x2], ...]}' in picture.json()["detail"]


def test_a_regression_from_spec_to_answer(client: TestClient, room: Room, slot: Slot, settings: Settings) -> None:
    job = trained(client, slot, CURVE)
    x, truth = polynomial_test(2)
    expected = keras_answers(settings, room.store, job, x)[:, 0]
    answer = client.post("/v1/models/polynomial/predict", json={"instances": x.tolist()}).json()
    assert all(set(one) == {"value"} for one in answer["predictions"])
    np.testing.assert_allclose([one["value"] for one in answer["predictions"]], expected, atol=1e-5)
    assert answer["model"] == {"name": "polynomial", "version": 1, "job_id": job["id"]}
    told = client.get(f"/v1/jobs/{job['id']}/evaluation").json()
    assert (told["kind"], len(told["examples"])) == ("regression", 200)
    assert told["loss"] == pytest.approx(np.mean((expected - truth[:, 0]) ** 2), rel=1e-3)
    assert told["r2"] > 0.5
    assert told["examples"][0]["predicted"] == pytest.approx(expected[0], abs=1e-5)
    (version,) = client.get("/v1/models/polynomial/versions").json()["data"]
    assert version["test_accuracy"] is None
    assert version["test_loss"] == pytest.approx(told["loss"])


def test_two_classes_and_one_unit_answer_with_the_class_names(client: TestClient, slot: Slot) -> None:
    trained(client, slot, BINARY)
    blank = [[0] * 28] * 28
    (answer,) = client.post("/v1/models/digits-3-8/predict", json={"pixels": blank}).json()["predictions"]
    assert answer["class_name"] in ("3", "8")
    assert answer["label"] == int(answer["class_name"])
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-6)


def test_every_data_set_is_listed_with_what_a_name_alone_means(client: TestClient) -> None:
    listed = {entry["name"]: entry for entry in client.get("/v1/datasets").json()["data"]}
    assert list(listed) == [*DATASETS, "spiral", "polynomial"]
    assert [entry["kind"] for entry in listed.values()] == ["classification"] * 4 + ["regression"]
    assert {name: entry["shape"] for name, entry in listed.items()} == {
        **{name: [28, 28, 1] for name in DATASETS},
        "spiral": [2],
        "polynomial": [1],
    }
    assert [listed[name]["status"] for name in ("mnist", "spiral", "polynomial")] == ["unknown", "here", "here"]
    assert (listed["spiral"]["train_size"], listed["spiral"]["test_size"]) == (300, 300)
    assert (listed["polynomial"]["classes"], listed["polynomial"]["test_size"]) == ([], 200)
    for name, entry in listed.items():
        assert submit(client, dataset=name)["spec"]["dataset"] == entry["defaults"]

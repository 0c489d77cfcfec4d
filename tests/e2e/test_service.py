"""One running service, used as people use it."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from models.spec import parse_spec
from tests.e2e.yard import Yard, yard
from tests.factories.datasets import needs_real_datasets, real_datasets_dir
from tests.factories.photos import Pixels, blow_up, mnist_test_images, photograph
from trainyard.errors import ApiError

MLP = {"layers": ["flatten", {"type": "dense", "units": 64, "activation": "relu"}, {"type": "dense", "units": 10}]}
ENDLESS = {"dataset": "digits", "network": MLP, "epochs": 100_000}
API_MEMORY_MB = 260


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A service for the whole module."""
    with yard(tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture(scope="module")
def digits(service: Yard) -> dict[str, Any]:
    """A job that learned the digits."""
    job = service.run(dataset="digits", network=MLP, epochs=30, batch_size=32, name="digits", tags=["test"])
    assert job["status"] == "succeeded", job["failure"]
    return job


def get(service: Yard, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(service.url + path, headers=headers, timeout=30)


def test_a_job_learns_and_tells_everything(service: Yard, digits: dict[str, Any]) -> None:
    assert digits["evaluation"]["accuracy"] >= 0.95
    assert digits["model"] == {"name": "digits", "version": digits["model"]["version"]}
    rows = service.client.metrics(digits["id"])
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["metrics"]["loss"] < rows[0]["metrics"]["loss"]
    assert set(rows[0]["metrics"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert rows[0]["learning_rate"] == 0.001
    events = list(service.client.events(digits["id"]))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["data"]["status"] for event in events if event["event"] == "state"] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert [event["data"]["epoch"] for event in events if event["event"] == "epoch"] == list(range(1, 31))
    assert get(service, f"/v1/jobs/{digits['id']}/events", **{"Last-Event-ID": str(len(events))}).status_code == 204
    as_json = get(service, f"/v1/jobs/{digits['id']}/events?after=3", Accept="application/json").json()
    assert [row["seq"] for row in as_json["data"]] == list(range(4, len(events) + 1))


def test_results_have_every_form(service: Yard, digits: dict[str, Any]) -> None:
    own = f"/v1/jobs/{digits['id']}"
    evaluation = get(service, f"{own}/evaluation").json()
    matrix = np.array(evaluation["confusion_matrix"])
    assert matrix.sum() == 355
    assert matrix.trace() / matrix.sum() == pytest.approx(digits["evaluation"]["accuracy"])
    csv = get(service, f"{own}/metrics", Accept="text/csv").text.splitlines()
    assert csv[0] == "epoch,seconds,learning_rate,loss,accuracy,val_loss,val_accuracy"
    assert len(csv) == 31
    assert "epoch 30: loss" in get(service, f"{own}/log").text
    assert Image.open(io.BytesIO(get(service, f"{own}/curves.png").content)).size[0] > 800
    assert get(service, f"{own}/curves.svg").text.lstrip().startswith("<?xml")
    files = {entry["name"]: entry for entry in get(service, f"{own}/artifacts").json()["data"]}
    kept = {name for name in files if name.startswith("epoch-")}
    assert set(files) - kept == {"model.keras", "model.onnx", "history.csv", "spec.json", "network.svg"}
    assert len(kept) == 15
    assert b"dense_1" in get(service, files["network.svg"]["url"]).content
    assert parse_spec(get(service, files["spec.json"]["url"]).json()) == parse_spec(digits["spec"])
    onnx = get(service, files["model.onnx"]["url"])
    assert len(onnx.content) == files["model.onnx"]["size"]
    session = onnxruntime.InferenceSession(onnx.content)
    assert session.get_inputs()[0].shape[1:] == [28, 28, 1]


def test_names_lead_to_versions(service: Yard, digits: dict[str, Any]) -> None:
    reference = f"digits:{digits['model']['version']}"
    pixels = np.zeros((28, 28)).tolist()
    for ref in ("digits", "digits@champion", reference):
        answer = service.client.predict(np.array(pixels), model=ref)
        assert answer["model"]["name"] == "digits"
        assert len(answer["predictions"][0]["probabilities"]) == 10
        assert sum(answer["predictions"][0]["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert service.client.predict(np.array(pixels), job=digits["id"])["model"]["job_id"] == digits["id"]
    assert get(service, "/v1/models/digits/versions").json()["data"][-1]["version"] == 1
    for ref in ("digits:99", "nobody", "digits@nobody"):
        refused = httpx2.post(f"{service.url}/v1/models/{ref}/predict", json={"pixels": pixels})
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")


def test_versions_are_told_called_and_deleted(service: Yard) -> None:
    for batch_size in (32, 512):
        service.run(dataset="digits", network=MLP, epochs=1, batch_size=batch_size, model="called")
    first, second = (service.client.version("called", number) for number in (1, 2))
    assert first["data_sha256"] == second["data_sha256"] != ""
    assert {"tensorflow", "keras", "python", "trainyard"} <= set(first["libraries"])
    assert {"model.keras", "model.onnx", "spec.json"} <= {file["name"] for file in first["artifacts"]}
    worse, better = sorted((first, second), key=lambda version: version["test_accuracy"])
    assert "champion" in better["aliases"]
    assert service.client.set_alias("called", "champion", worse["version"])["version"] == worse["version"]
    assert "champion" in service.client.version("called", worse["version"])["aliases"]
    with pytest.raises(ApiError, match="called champion"):
        service.client.delete_version("called", worse["version"])
    service.client.remove_alias("called", "champion")
    service.client.delete_version("called", worse["version"])
    assert [move["version"] for move in service.client.alias("called", "champion")["history"]] == [
        worse["version"],
        None,
    ]
    (left,) = get(service, "/v1/models/called/versions").json()["data"]
    assert left["version"] == better["version"]


def test_the_sample_pictures_are_read(service: Yard, digits: dict[str, Any]) -> None:
    pictures = sorted(Path("examples/digits").glob("*.png"))
    assert len(pictures) == 10
    read = {path.stem: service.client.predict(path, job=digits["id"])["predictions"][0]["label"] for path in pictures}
    wrong = {name: label for name, label in read.items() if int(name[0]) != label}
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset": {"name": "digits", "classes": [3, 8]}, "network": "binary"}, {3, 8}),
        ({"dataset": {"name": "digits", "classes": [7, 1]}, "network": "softmax"}, {7, 1}),
    ],
)
def test_two_classes_keep_their_labels(service: Yard, changes: dict[str, Any], expected: set[int]) -> None:
    last = {"binary": {"units": 1, "activation": "sigmoid"}, "softmax": {"units": 2, "activation": "softmax"}}
    layers = ["flatten", {"type": "dense", **last[changes["network"]]}]
    job = service.run(**(changes | {"network": {"layers": layers}, "epochs": 10, "model": "two", "batch_size": 16}))
    assert job["status"] == "succeeded", job["failure"]
    assert job["evaluation"]["accuracy"] > 0.95
    answer = service.client.predict(Path("examples/digits/3.png"), job=job["id"])["predictions"][0]
    assert answer["label"] in expected
    assert len(answer["probabilities"]) == 2
    classes = get(service, f"/v1/jobs/{job['id']}/evaluation").json()["classes"]
    assert {entry["label"] for entry in classes} == expected


def test_a_running_job_is_cancelled_soon_and_leaves_no_model(service: Yard) -> None:
    job = service.client.submit(ENDLESS)
    first = next(event for event in service.client.events(job["id"]) if event["event"] == "epoch")
    assert first["data"]["epoch"] == 1
    assert service.client.cancel(job["id"])["requested"] == "cancel"
    ended = service.client.wait(job["id"], timeout=20, check=False)
    assert (ended["status"], ended["model"], ended["requested"]) == ("cancelled", None, None)
    answer = httpx2.post(f"{service.url}/v1/jobs/{job['id']}/predict", json={"pixels": [[0] * 28] * 28})
    assert answer.status_code == 409
    assert httpx2.delete(f"{service.url}/v1/jobs/{job['id']}").status_code == 204
    assert not list((service.home / "artifacts" / "jobs").glob(f"{job['id']}/**/*.*"))


def test_cancel_can_keep_what_was_learned(service: Yard) -> None:
    job = service.client.submit(ENDLESS | {"model": "kept"})
    next(event for event in service.client.events(job["id"]) if event["event"] == "epoch")
    service.client.cancel(job["id"], keep_model=True)
    ended = service.client.wait(job["id"], timeout=30, check=False)
    assert (ended["status"], ended["model"]) == ("cancelled", {"name": "kept", "version": 1})
    assert service.client.predict(Path("examples/digits/1.png"), model="kept")["predictions"][0]["label"] in range(10)


def test_a_loss_that_is_not_finite_ends_the_job(service: Yard) -> None:
    linear = {"layers": ["flatten", {"type": "dense", "units": 50}, {"type": "dense", "units": 10}]}
    wild = {"type": "sgd", "learning_rate": 10_000.0}
    job = service.run(dataset="digits", network=linear, loss="mse", optimizer=wild, epochs=50)
    assert (job["status"], job["failure"]["kind"]) == ("failed", "diverged")
    last = service.client.metrics(job["id"])[-1]
    assert last["metrics"]["loss"] is None
    assert last["nonfinite"]["loss"] in ("nan", "inf")
    assert get(service, f"/v1/jobs/{job['id']}/curves.png").status_code == 200


def test_early_stopping_keeps_the_best_weights(service: Yard) -> None:
    stop = {"monitor": "val_loss", "patience": 2, "restore_best_weights": True}
    wild = {"type": "adam", "learning_rate": 0.02}
    job = service.run(dataset="digits", network=MLP, optimizer=wild, early_stopping=stop, epochs=200, model="early")
    assert job["status"] == "succeeded", job["failure"]
    rows = service.client.metrics(job["id"])
    assert len(rows) < 200
    best = min(rows, key=lambda row: row["metrics"]["val_loss"])
    assert len(rows) == best["epoch"] + 2
    assert job["metrics"]["best"]["epoch"] == best["epoch"]
    assert "early stopping" in get(service, f"/v1/jobs/{job['id']}/log").text


def test_time_can_be_limited(service: Yard) -> None:
    job = service.run(**(ENDLESS | {"max_seconds": 1.5, "log_every": 5, "model": "quick"}))
    assert job["status"] == "succeeded", job["failure"]
    assert "max_seconds" in get(service, f"/v1/jobs/{job['id']}/log").text
    kept = [row["epoch"] for row in service.client.metrics(job["id"])]
    assert kept[:-1] == list(range(5, kept[-1], 5)), "every fifth epoch, and the one that is kept"
    late = service.run(**(ENDLESS | {"max_seconds": 0.000001}))
    assert (late["status"], late["failure"]["kind"]) == ("failed", "timeout")


def test_workers_and_data_sets_are_shown(service: Yard) -> None:
    (worker,) = service.client.workers()
    assert worker["devices"][0] == "cpu"
    assert set(worker["libraries"]) == {"tensorflow", "keras", "numpy", "onnx", "python", "trainyard"}
    digits = next(entry for entry in service.client.datasets() if entry["name"] == "digits")
    assert (digits["status"], digits["workers"][0]["worker"]) == ("here", worker["name"])


def test_a_job_for_a_gpu_waits_and_says_for_what(service: Yard) -> None:
    job = service.client.submit({"dataset": "digits", "device": "gpu"})
    assert service.client.job(job["id"])["queue"] == {"position": 1, "waiting_for": "no GPU worker is online"}
    assert service.client.cancel(job["id"])["status"] == "cancelled"


@pytest.fixture(scope="module")
def mnist(service: Yard) -> Pixels:
    """MNIST's test images, and the model of them in the service."""
    folder = real_datasets_dir()
    assert folder is not None
    job = service.run(dataset="mnist", epochs=3, batch_size=128)
    assert job["status"] == "succeeded", job["failure"]
    assert job["evaluation"]["accuracy"] >= 0.96
    return mnist_test_images(folder)


def same_answers(service: Yard, images: Pixels, picture_of: Callable[[Pixels, np.random.Generator], bytes]) -> int:
    """How many pictures of `images` get the answer of the pixels themselves."""
    rng = np.random.default_rng(2026)
    expected = [one["label"] for one in service.client.predict(images)["predictions"]]
    labels = [service.client.predict(picture_of(image, rng))["predictions"][0]["label"] for image in images]
    same = int(np.equal(labels, expected).sum())
    print(f"{picture_of.__name__}: {same} of {len(images)}")  # noqa: T201 - a figure for the reader of the log
    return same


@needs_real_datasets()
def test_a_thousand_pictures_get_the_answer_of_their_pixels(service: Yard, mnist: Pixels) -> None:
    assert same_answers(service, mnist[:1000], blow_up) >= 970


@needs_real_datasets()
def test_photographs_get_the_answer_of_their_pixels_nearly_as_often(service: Yard, mnist: Pixels) -> None:
    assert same_answers(service, mnist[-100:], photograph) >= 90


def test_the_api_stays_small_and_without_tensorflow(service: Yard, digits: dict[str, Any]) -> None:
    for _ in range(3):
        service.client.predict(Path("examples/digits/5.png"), model="digits", seen=True)
        assert get(service, f"/v1/jobs/{digits['id']}/curves.png").status_code == 200
    process = Path(f"/proc/{service.api_process()}")
    status = (process / "status").read_text()
    used, peak = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    print(f"the API's memory: {used:.0f} MB, at most {peak:.0f} MB")  # noqa: T201 - a figure for the reader of the log
    assert used < API_MEMORY_MB
    assert "tensorflow" not in (process / "maps").read_text()


def test_the_log_has_no_traceback(service: Yard, digits: dict[str, Any]) -> None:
    assert "Traceback" not in service.log.read_text()

"""The Open Inference Protocol, asked by Triton's own client, and by hand where that client makes no mistakes."""

import gzip
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]  # it ships no type information
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from api.open_inference import VERSION
from models import jobs, registry
from models.artifacts import ArtifactStore
from models.database import Database
from models.jobs import Status
from models.settings import Settings
from models.spec import parse_spec
from tests.factories.networks import linear_onnx
from tests.servers import free_port, running, wait_until

Array = npt.NDArray[Any]
MODEL = "digits"
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype(np.uint8)
FIRST, SECOND = (np.random.default_rng(seed).normal(size=(784, 10)).astype(np.float32) for seed in (1, 2))
MOST_MB = 4


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, broker_url: str) -> Iterator[str]:
    """An API with two versions of `digits`, with `spiral`, `polynomial`, and `lost`, whose file is gone."""
    home = tmp_path_factory.mktemp("home")
    (home / "trainyard.db").write_bytes(sqlite_template.read_bytes())
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'trainyard.db'}", broker_url=broker_url)
    with closing(Database(settings.database)) as database:
        store = ArtifactStore(settings.artifacts)
        add_model(database, store, MODEL, FIRST, (28, 28, 1), accuracy=0.5)
        add_model(database, store, MODEL, SECOND, (28, 28, 1), accuracy=0.9)
        add_model(database, store, "spiral", np.array([[1, 2, 3], [4, 5, 6]], np.float32), (2,))
        add_model(database, store, "polynomial", np.array([[2]], np.float32), (1,))
        store.delete(f"jobs/{add_model(database, store, 'lost', FIRST, (28, 28, 1))}")
    port = free_port()
    environment = {
        "TRAINYARD_HOME": str(home),
        "TRAINYARD_DATABASE_URL": settings.database,
        "TRAINYARD_BROKER_URL": broker_url,
        "TRAINYARD_MAX_BODY_MB": str(MOST_MB),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
    log = home / "api.log"
    with log.open("wb") as file, running(command, env=environment, stdout=file, stderr=subprocess.STDOUT):
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(address), "the API")
        yield address
    assert "Traceback" not in log.read_text()


def answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/livez").status_code == 200
    except httpx2.TransportError:
        return False


def add_model(
    database: Database, store: ArtifactStore, name: str, weights: Array, shape: tuple[int, ...], accuracy: float = 0.5
) -> str:
    """A version of `name` that multiplies its input by `weights`; the id of its job."""
    classes = [] if weights.shape[1] == 1 else [str(n) for n in range(weights.shape[1])]
    serving = {
        "recipe": "digit" if len(shape) == 3 else None,
        "shape": list(shape),
        "labels": list(range(len(classes))),
        "class_names": classes,
    }
    with database.write() as session:
        job = jobs.create(session, parse_spec({"dataset": "digits"}))
        assert jobs.claim(session, job.id, "w1")
        stored = store.write(f"jobs/{job.id}/1/model.onnx", linear_onnx(weights, shape))
        registry.add_artifacts(session, job.id, {"model.onnx": stored})
        facts: dict[str, Any] = {"name": name, "dataset": "digits", "parameters": 1, "class_count": len(classes)}
        version = registry.ModelVersion(job_id=job.id, serving=serving, test_accuracy=accuracy, **facts)
        registry.add_version(session, version)
        assert jobs.move(session, job.id, Status.SUCCEEDED)
    return job.id


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """Triton's client."""
    with triton.InferenceServerClient(url.removeprefix("http://")) as made:
        yield made


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx2.Client]:
    """A client that can also make mistakes."""
    with httpx2.Client(base_url=url) as made:
        yield made


def tensor(values: Array, datatype: str = "UINT8", *, binary: bool = True) -> Any:
    made = triton.InferInput("image", list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def predicted(http: httpx2.Client, ref: str, values: Array) -> Array:
    """The answer of our own endpoint to the same numbers."""
    answer = http.post(f"/v1/models/{ref}/predict", json={"instances": values.tolist()})
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    return np.array([one.get("probabilities", [one.get("value")]) for one in found])


def infer(http: httpx2.Client, sent: dict[str, Any] | bytes, model: str = MODEL, **headers: str) -> httpx2.Response:
    path = f"/v2/models/{model}/infer"
    if isinstance(sent, dict):
        return http.post(path, json=sent, headers=headers)
    return http.post(path, content=sent, headers=headers)


def body(**changes: Any) -> dict[str, Any]:
    """A request in JSON with its one input changed."""
    pixels = [0] * 784
    return {"inputs": [{"name": "image", "shape": [1, 784], "datatype": "UINT8", "data": pixels} | changes]}


def test_the_server_is_live_ready_and_says_what_it_is(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata() == {
        "name": "trainyard",
        "version": VERSION,
        "extensions": ["binary_tensor_data"],
    }


@pytest.mark.parametrize(("name", "version"), [(MODEL, ""), (MODEL, "1"), ("digits@champion", ""), ("digits:2", "")])
def test_what_a_model_takes_and_gives(client: Any, name: str, version: str) -> None:
    assert client.is_model_ready(name, version)
    assert client.get_model_metadata(name, version) == {
        "name": MODEL,
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 28, 28, 1]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 10]}],
    }


@pytest.mark.parametrize("name", ["nothing", "digits@nothing", "digits:3", "digits:x", "../digits", "a" * 300])
def test_an_unknown_model_is_404(client: Any, name: str) -> None:
    assert not client.is_model_ready(name)
    with pytest.raises(InferenceServerException) as refused:
        client.get_model_metadata(name)
    assert refused.value.status() == "404"
    with pytest.raises(InferenceServerException) as refused:
        client.infer(name, [tensor(PIXELS)])
    assert refused.value.status() == "404"


@pytest.mark.parametrize("version", ["3", "0", "one", "-1"])
def test_an_unknown_version_is_404(client: Any, version: str) -> None:
    assert not client.is_model_ready(MODEL, version)
    with pytest.raises(InferenceServerException, match=f"There is no model digits:{version}") as refused:
        client.infer(MODEL, [tensor(PIXELS)], version)
    assert refused.value.status() == "404"


def test_a_model_whose_file_is_gone_is_not_ready(client: Any) -> None:
    assert not client.is_model_ready("lost")
    with pytest.raises(InferenceServerException, match="gone from the artifact store") as refused:
        client.infer("lost", [tensor(PIXELS)])
    assert refused.value.status() == "502"


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize(
    ("datatype", "kind", "shape", "binary_in"),
    [
        ("UINT8", "u1", (3, 28, 28, 1), True),
        ("UINT8", "u1", (3, 28, 28), False),
        ("FP32", "f4", (3, 28, 28, 1), True),
        ("FP32", "f4", (3, 784), False),
        ("FP64", "f8", (3, 28, 28), True),
        ("INT64", "i8", (3, 28, 28), False),
        ("FP16", "f2", (3, 784), True),
    ],
)
def test_the_answer_is_that_of_predict(
    client: Any,
    http: httpx2.Client,
    datatype: str,
    kind: str,
    shape: tuple[int, ...],
    binary_in: bool,
    binary_out: bool,
) -> None:
    sent = tensor(PIXELS.astype(kind).reshape(shape), datatype, binary=binary_in)
    wanted = triton.InferRequestedOutput("output", binary_data=binary_out)
    result = client.infer(MODEL, [sent], outputs=[wanted], request_id="a-7")
    response, output = result.get_response(), result.as_numpy("output")
    assert (response["model_name"], response["model_version"], response["id"]) == (MODEL, "2", "a-7")
    assert ("data" in result.get_output("output")) is not binary_out
    assert (output.shape, output.dtype) == ((3, 10), np.float32)
    np.testing.assert_allclose(output, predicted(http, MODEL, PIXELS), rtol=0, atol=1e-6)
    np.testing.assert_allclose(output, PIXELS.reshape(3, 784) @ SECOND, rtol=1e-4, atol=1e-2)


def test_bytes_and_json_are_the_same_numbers(client: Any) -> None:
    asked = [triton.InferRequestedOutput("output", binary_data=binary) for binary in (True, False)]
    first, second = (client.infer(MODEL, [tensor(PIXELS)], outputs=[one]).as_numpy("output") for one in asked)
    np.testing.assert_array_equal(first, second)


def test_each_version_answers_for_itself(client: Any, http: httpx2.Client) -> None:
    for number in ("1", "2"):
        result = client.infer(MODEL, [tensor(PIXELS)], number)
        assert result.get_response()["model_version"] == number
        np.testing.assert_allclose(
            result.as_numpy("output"), predicted(http, f"digits:{number}", PIXELS), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("model", ["spiral", "polynomial"])
def test_features_go_in_and_values_come_out(client: Any, http: httpx2.Client, model: str) -> None:
    (side,) = client.get_model_metadata(model)["inputs"][0]["shape"][1:]
    values = np.random.default_rng(3).normal(0, 300, (5, side)).astype(np.float32)
    output = client.infer(model, [tensor(values, "FP32")]).as_numpy("output")
    np.testing.assert_allclose(output, predicted(http, model, values), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_a_packed_request(client: Any, compression: str) -> None:
    plain = client.infer(MODEL, [tensor(PIXELS)]).as_numpy("output")
    packed = client.infer(
        MODEL,
        [tensor(PIXELS)],
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    np.testing.assert_array_equal(packed.as_numpy("output"), plain)


def test_a_thousand_examples_and_no_more(client: Any) -> None:
    many = np.zeros((1_000, 784), np.float32)
    assert client.infer(MODEL, [tensor(many, "FP32")]).as_numpy("output").shape == (1_000, 10)
    with pytest.raises(InferenceServerException, match="At most 1,000 examples") as refused:
        client.infer(MODEL, [tensor(np.zeros((1_001, 784), np.uint8))])
    assert refused.value.status() == "413"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"{", "The body is not valid JSON"),
        (b"", "The body is not valid JSON"),
        (b"[]", "Received: []"),
        ({}, "/inputs: inputs is missing"),
        ({"inputs": []}, "/inputs: "),
        ({"inputs": [{"name": "image"}]}, "/inputs/0/shape: "),
        (body() | {"id": 7}, "/id: "),
        (body(name="pixels"), "This model has one input, 'image'. Received: pixels"),
        ({"inputs": body()["inputs"] * 2}, "This model has one input, 'image'. Received: image, image"),
        (body(shape=[1, 783]), "/inputs/0/shape: shape should be [-1, 28, 28, 1] or [-1, 28, 28] or [-1, 784]"),
        (body(shape=["1", 784]), "/inputs/0/shape/0: "),
        (body(shape=[0, 784], data=[]), "At least one example"),
        (body(datatype="BYTES"), "/inputs/0/datatype: datatype should be one of"),
        (body(data=[0] * 783), "Received: a list of 783 where a list of 784 should be"),
        (body(data=[0.5] * 784), "UINT8 should be an integer from 0 to 255. Received: 0.5"),
        (body(data=[256] * 784, datatype="INT16"), "Pixels should be between 0 and 255. Received: 256"),
        (body(data=None), "either data or a binary_data_size. Received: neither"),
        (body(parameters={"binary_data_size": 784}), "either data or a binary_data_size. Received: both"),
        (body(data=None, parameters={"binary_data_size": 784}), "Received: 784 and 0 bytes"),
        (body(data=None, parameters={"binary_data_size": "784"}), "Received: '784' and 0 bytes"),
        (body(parameters={"shared_memory_region": "a"}), "no such extension. Received: the parameter shared_memory"),
        (body() | {"outputs": [{"name": "label"}]}, "This model has one output, 'output'. Received: label"),
        (body() | {"outputs": [{"name": "output"}] * 2}, "Received: output, output"),
        (body() | {"outputs": [{"name": "output", "parameters": {"binary_data": 1}}]}, "binary_data should be true or"),
        (body() | {"outputs": [{"name": "output", "parameters": {"classification": 3}}]}, "no such extension"),
        (body() | {"parameters": {"binary_data_output": "yes"}}, "/parameters/binary_data_output: "),
    ],
)
def test_a_mistake_is_400_and_a_sentence(http: httpx2.Client, sent: dict[str, Any] | bytes, sentence: str) -> None:
    answer = infer(http, sent, **{"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1000", "²", "9" * 5000])
def test_a_wrong_length_of_the_json(http: httpx2.Client, length: str) -> None:
    headers = {b"Inference-Header-Content-Length": length.encode("latin-1")}
    answer = http.post("/v2/models/digits/infer", content=b"{}", headers=headers)
    assert answer.status_code == 400
    assert "should be the length of the JSON at the start of the body" in answer.json()["error"]


def test_bytes_that_belong_to_nothing(http: httpx2.Client) -> None:
    text = http.build_request("POST", "/", json=body()).content
    answer = infer(http, text + bytes(7), **{"Inference-Header-Content-Length": str(len(text))})
    assert answer.status_code == 400
    assert "no input has a binary_data_size. Received: 7 bytes" in answer.json()["error"]


def test_keys_that_are_not_known_are_passed_over_and_the_id_is_optional(http: httpx2.Client) -> None:
    sent = body() | {"model_name": "digits", "parameters": {"priority": 1, "binary_data_output": True}}
    sent["outputs"] = [{"name": "output", "parameters": {"binary_data": False}}]
    answer = infer(http, sent)
    assert answer.json() == {
        "model_name": "digits",
        "model_version": "2",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [1, 10], "data": [0.0] * 10}],
    }


def test_answers_that_are_no_numbers_are_not_given(http: httpx2.Client) -> None:
    sent = {"inputs": [{"name": "image", "shape": [1, 2], "datatype": "FP32", "data": [3e38, 3e38]}]}
    answer = infer(http, sent, "spiral")
    assert (answer.status_code, "no finite answer" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("encoding", "content", "status", "sentence"),
    [
        ("br", b"abc", 415, "Content-Encoding should be gzip, deflate or none. Received: br."),
        ("gzip, gzip", b"abc", 415, "Received: gzip, gzip."),
        ("gzip", b"abc", 400, "The body is not gzip"),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-1], 400, "no end of it"),
        ("deflate", zlib.compress(b"{}") + b"{}", 400, "bytes after the end of it"),
        ("gzip", gzip.compress(bytes(MOST_MB * 1_000_000 + 1)), 413, "at most 4,000,000 bytes when expanded"),
    ],
)
def test_a_badly_packed_request(http: httpx2.Client, encoding: str, content: bytes, status: int, sentence: str) -> None:
    answer = infer(http, content, **{"Content-Encoding": encoding})
    assert answer.status_code == status
    assert sentence in answer.json()["error"]

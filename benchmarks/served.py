"""What is served and who serves it: two trained networks, a picture, and for each contestant a command and a form."""

import base64
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.inference.recipe import see_digit
from benchmarks.rivals.reader import MODEL
from benchmarks.rounds import ROOT
from benchmarks.service import starting, submit
from examples.draw_digits import DRAWINGS, draw
from models.messages import filesystem_broker
from trainyard.launcher import FRUGAL

RIVALS = ROOT / "benchmarks" / ".venv-serving"
DIGIT = 2
MLFLOW_MODELS, LITSERVE = "benchmarks.rivals.mlflow_model", "benchmarks.rivals.litserve_server"
MLP = [{"type": "flatten"}, {"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10}]
NETWORKS: dict[str, Any] = {"mlp": {"layers": MLP}, "cnn": {"preset": "cnn"}}


@dataclass(frozen=True)
class Deployment:
    """A trained network: the HOME of the service that trained it, the job, and the folder with its files."""

    network: str
    home: Path
    job_id: str

    @property
    def files(self) -> Path:
        """Where model.onnx and model.keras are."""
        return self.home / "artifacts" / "jobs" / self.job_id / "1"

    @property
    def prepared(self) -> Path:
        """Where a rival may keep its own form of the model."""
        return self.home / "rivals" / self.network


@dataclass(frozen=True)
class Program:
    """How a server is started.

    Attributes:
        command: for a deployment and a port.
        environment: for the same.
        package: the one of the rivals' environment that it needs; empty for none.
        prepared_by: a module of that environment which is run before, with a folder.
    """

    command: Callable[[Deployment, int], list[str]]
    environment: Callable[[Deployment, int], dict[str, str]]
    package: str = ""
    prepared_by: str = ""


@dataclass(frozen=True)
class Endpoint:
    """What is asked of a server: the path, the body made of a picture file, and how to read label and probability."""

    program: str
    path: str
    form: Callable[[bytes], tuple[bytes, str]]
    read: Callable[[Any], tuple[int, float]] | None


def train(home: Path, networks: list[str]) -> dict[str, Deployment]:
    """Let a service with this HOME train the networks on the small digits, each a model of its own name."""
    with starting(home) as (client, _):
        jobs = {}
        for network in networks:
            spec = {"dataset": "digits", "network": NETWORKS[network], "model": network, "epochs": 5}
            jobs[network] = submit(client, spec)["id"]
        for job in jobs.values():
            client.wait(job)
    return {network: Deployment(network, home, job) for network, job in jobs.items()}


def picture_of(size: int) -> bytes:
    """A PNG file, grey, of a drawn digit: as MNIST stores it when `size` is 28, else on light paper of that size."""
    drawn = draw(DRAWINGS[DIGIT], seed=DIGIT).convert("L")
    if size == 28:
        return png(Image.fromarray(np.rint(see_digit(png(drawn)).pixels).astype(np.uint8)))
    return png(drawn.resize((size, size), Image.Resampling.LANCZOS))


def png(image: Image.Image) -> bytes:
    """`image` as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def uvicorn(app: str, port: int, *more: str) -> list[str]:
    """A server of one process that writes no line a request."""
    quiet = ("--no-access-log", "--log-level", "warning")
    return [sys.executable, "-m", "uvicorn", app, "--port", str(port), *quiet, *more]


def rival(*command: str) -> list[str]:
    """A command of the rivals' environment."""
    return [str(RIVALS / "bin" / command[0]), *command[1:]]


def mlflow(deployment: Deployment, flavour: str, port: int) -> list[str]:
    """MLflow's server of one process, on the packages that are there."""
    options = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--env-manager", "local")
    return rival("mlflow", "models", "serve", "--model-uri", str(deployment.prepared / flavour), *options)


def of_trainyard(deployment: Deployment, port: int) -> dict[str, str]:
    """The API as `trainyard up` starts it, on a HOME whose models are there."""
    return FRUGAL | {
        "TRAINYARD_HOME": str(deployment.home),
        "TRAINYARD_PORT": str(port),
        "TRAINYARD_BROKER_URL": filesystem_broker(deployment.home / "broker"),
        "TRAINYARD_DEFAULT_MODEL": deployment.network,
    }


def of_rivals(deployment: Deployment, port: int) -> dict[str, str]:
    """What rivals are told: where the files are, and to write no line a request, nor to anybody else."""
    return {
        MODEL: str(deployment.files),
        "BENCH_PORT": str(port),
        "PATH": f"{RIVALS / 'bin'}:{os.environ['PATH']}",
        "UVICORN_ACCESS_LOG": "false",
        "BENTOML_HOME": str(deployment.home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def raw(picture: bytes) -> tuple[bytes, str]:
    """The file itself."""
    return picture, "image/png"


def nothing(picture: bytes) -> tuple[bytes, str]:
    """A GET."""
    return b"", ""


def in_json(key: str) -> Callable[[bytes], tuple[bytes, str]]:
    """The file in base64, in a JSON object under `key`."""

    def form(picture: bytes) -> tuple[bytes, str]:
        return json.dumps({key: base64.b64encode(picture).decode()}).encode(), "application/json"

    return form


def in_list(picture: bytes) -> tuple[bytes, str]:
    """As MLflow takes a list of strings."""
    return json.dumps({"inputs": [base64.b64encode(picture).decode()]}).encode(), "application/json"


def pixels(picture: bytes) -> tuple[bytes, str]:
    """What the recipe makes of the file, as MLflow takes an array: nothing is left of the recipe for the server."""
    seen = see_digit(picture).pixels[None, ..., None]
    return json.dumps({"inputs": seen.round(2).tolist()}).encode(), "application/json"


def best_of_mlflow(answer: Any) -> tuple[int, float]:
    """The answer of the ONNX flavour: outputs by name."""
    (outputs,) = answer["predictions"].values()
    label = int(np.argmax(outputs[0]))
    return label, outputs[0][label]


def plainly(answer: Any) -> tuple[int, float]:
    """An answer that has label and probability at its top."""
    return answer["label"], answer["probability"]


PROGRAMS = {
    "ceiling": Program(lambda _, port: [sys.executable, "benchmarks/rivals/ceiling.py", str(port)], of_rivals),
    "trainyard": Program(lambda _, port: uvicorn("api.main:create_app", port, "--factory"), of_trainyard),
    "empty": Program(lambda _, port: uvicorn("benchmarks.rivals.empty_app:app", port), of_rivals),
    "plain": Program(lambda _, port: uvicorn("benchmarks.rivals.plain_app:app", port), of_rivals),
    "keras": Program(lambda _, port: uvicorn("benchmarks.rivals.keras_app:app", port), of_rivals),
    "litserve": Program(lambda _, port: rival("python", "-m", LITSERVE, "1"), of_rivals, "litserve"),
    "litserve, batches": Program(lambda _, port: rival("python", "-m", LITSERVE, "16"), of_rivals, "litserve"),
    "bentoml": Program(
        lambda _, port: rival(
            "bentoml", "serve", "benchmarks.rivals.bento_service:Digits", "--host", "127.0.0.1", "--port", str(port)
        ),
        of_rivals,
        "bentoml",
    ),
    "mlflow": Program(lambda deployment, port: mlflow(deployment, "recipe", port), of_rivals, "mlflow", MLFLOW_MODELS),
    "mlflow onnx": Program(
        lambda deployment, port: mlflow(deployment, "onnx", port), of_rivals, "mlflow", MLFLOW_MODELS
    ),
}
# Of those who share a server the first one tells how long a cold start takes.
ENDPOINTS = {
    "ceiling": Endpoint("ceiling", "/", raw, None),
    "empty": Endpoint("empty", "/empty", raw, None),
    "trainyard": Endpoint("trainyard", "/predict", raw, lambda answer: plainly(answer["predictions"][0])),
    "livez": Endpoint("trainyard", "/livez", nothing, None),
    "plain": Endpoint("plain", "/predict", raw, plainly),
    "litserve": Endpoint("litserve", "/predict", in_json("picture"), plainly),
    "litserve, batches": Endpoint("litserve, batches", "/predict", in_json("picture"), plainly),
    "bentoml": Endpoint("bentoml", "/predict", in_json("picture"), plainly),
    "mlflow": Endpoint("mlflow", "/invocations", in_list, lambda answer: plainly(answer["predictions"][0])),
    "mlflow onnx": Endpoint("mlflow onnx", "/invocations", pixels, best_of_mlflow),
    "model.predict": Endpoint("keras", "/predict", raw, plainly),
}

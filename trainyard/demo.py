"""`trainyard demo`: the whole service started, one real job, ten pictures read, everything stopped again."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.client import Client
from trainyard.errors import TrainyardError
from trainyard.launcher import launch, settings_with
from trainyard.watching import ending, follow

PICTURES = Path(__file__).parent.parent / "examples" / "digits"
LAST_LINES = 40
READY_SECONDS = 300.0
# The supervisor holds the listening socket while an API restarts; one that refuses for so long was stopped.
AWAY_SECONDS = 1.0


def network(units: int) -> dict[str, Any]:
    """A network of one hidden layer, which trains in a second or less an epoch."""
    return {
        "layers": [
            {"type": "flatten"},
            {"type": "dense", "units": units, "activation": "relu"},
            {"type": "dropout", "rate": 0.3},
            {"type": "dense", "units": 10, "activation": "softmax"},
        ]
    }


SPECS: dict[str, dict[str, Any]] = {
    "mnist": {"dataset": "mnist", "network": network(256), "optimizer": "adam", "epochs": 10, "batch_size": 128},
    "digits": {"dataset": "digits", "network": network(256), "optimizer": "adam", "epochs": 25, "batch_size": 32},
}


def run() -> int:
    """Start the service, tell the story, stop the service; answers the exit code, 0 only when all of it went well."""
    settings = settings_with(port=None if os.environ.get("TRAINYARD_PORT") else 0)
    settings.home.mkdir(parents=True, exist_ok=True)
    log_path = settings.home / "demo.log"
    say("Trainyard's demo: starts the service, trains a model on handwritten digits, lets it read pictures, stops.")
    say(f"Everything is written to {settings.home}; what the service logs, to {log_path}.\n")
    key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
    finished = False
    with log_path.open("w", encoding="utf-8") as log:

        async def body(url: str) -> int:
            nonlocal finished
            # In a thread: the client waits for answers, and the supervisor must go on meanwhile.
            code = await asyncio.to_thread(tell, url, key)
            finished = True
            return code

        def write(name: str, line: str) -> None:
            print(f"{name:<10}| {line}", file=log, flush=True)

        code = launch(settings, write, say, body, ready_within=READY_SECONDS)
    if code == 0 and not finished:
        say("The demo was stopped before its end.")
        return 130
    if code != 0:
        say(f"\nThe demo did not succeed. The last lines of {log_path}:\n")
        say("\n".join(log_path.read_text(encoding="utf-8").splitlines()[-LAST_LINES:]))
    return code


def tell(url: str, key: str | None) -> int:
    """The story itself; a service that stops in the middle of it ends it with a sentence."""
    try:
        with Client(url, key) as service:
            return Story(service, key).tell()
    except TrainyardError as error:
        say(f"\nThe demo stops here. {error}")
        return 1


@dataclass
class Story:
    """The steps of the demo, each with the curl line that does the same."""

    service: Client
    key: str | None

    def tell(self) -> int:
        """All steps; answers the exit code."""
        say("\nWhat follows can be done by hand. In a shell:")
        say(f"   URL={self.service.base_url}")
        job = self.train()
        if job["status"] != "succeeded":
            say(f"   {ending(job)}")
            return 1
        model = f"{job['model']['name']}:{job['model']['version']}"
        self.show_result(job, model)
        wrong = self.read_pictures(model)
        self.say_goodbye()
        return 1 if wrong else 0

    def train(self) -> dict[str, Any]:
        """Train on MNIST when it can be had, else on the digits that need no download; answers the final job."""
        say("\n1. Which data is there?")
        self.show_curl("/v1/datasets")
        status, detail = best_of(self.service.datasets(), "mnist")
        if status in ("here", "fetchable"):
            say(f"   MNIST {'is here' if status == 'here' else 'can be fetched'} ({detail}): the demo trains on it.")
            job = self.submit("mnist")
            if (job.get("failure") or {}).get("kind") != "dataset_unavailable":
                return job
            status, detail = "not to be had", job["failure"]["message"]
        say(f"   MNIST is {status}: {detail}")
        say("   So the demo trains on `digits`, 1,797 handwritten digits that need no download.")
        return self.submit("digits")

    def submit(self, dataset: str) -> dict[str, Any]:
        """Submit the job on `dataset` and show it to its end."""
        spec = SPECS[dataset]
        say("\n2. Submit a job.")
        self.show_curl("/v1/jobs", "-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(spec))}")
        job = self.service.submit(spec)
        say(f"   {job['id']}")
        say("\n3. Watch it learn.")
        self.show_curl(f"/v1/jobs/{job['id']}/events", "-N")
        return follow(self.service, job["id"], sys.stdout, indent="   ", patience=AWAY_SECONDS)

    def show_result(self, job: dict[str, Any], model: str) -> None:
        """The accuracy on pictures that training never saw."""
        say("\n4. How good is it on the test pictures, which it never saw?")
        self.show_curl(f"/v1/jobs/{job['id']}")
        evaluation = job["evaluation"]
        say(
            f"   test accuracy {evaluation['accuracy']:.4f}, loss {evaluation['loss']:.4f}; it is now the model {model}"
        )

    def read_pictures(self, model: str) -> int:
        """Predict the sample pictures; answers how many were wrong."""
        pictures = sorted(PICTURES.glob("*.png"))
        say("\n5. Let it read pictures.")
        if not pictures:
            say(f"   There are none in {PICTURES}.")
            return 1
        self.show_curl(
            f"/v1/models/{model}/predict",
            "-H 'Content-Type: image/png'",
            f"--data-binary @{shlex.quote(nice_path(pictures[0]))}",
        )
        wrong = 0
        for picture in pictures:
            prediction = self.service.predict(picture, model=model)["predictions"][0]
            right = str(prediction["class_name"]) == digit_of(picture)
            wrong += not right
            verdict = "right" if right else f"WRONG, it is a {digit_of(picture)}"
            answer = f"{prediction['class_name']}  {prediction['probability']:7.2%}"
            say(f"   {nice_path(picture)} -> {answer}  {verdict}")
        say(f"   {len(pictures) - wrong} of {len(pictures)} right.")
        return wrong

    def say_goodbye(self) -> None:
        """Where to go from here."""
        say("\nThe demo stops its service now; what it trained is kept. `make up` starts one that stays:")
        say("   then URL=http://127.0.0.1:8000, the lines above work, and the interactive API docs are at")
        say("   http://127.0.0.1:8000/docs\n")

    def show_curl(self, path: str, *arguments: str) -> None:
        """The curl line of a step, for a shell that knows URL (and KEY where the service asks for one)."""
        key = ['-H "Authorization: Bearer $KEY"'] if self.key else []
        say("   $ " + " ".join(["curl -sS", f'"$URL{path}"', *key, *arguments]))


def best_of(datasets: Iterable[dict[str, Any]], name: str) -> tuple[str, str]:
    """What the worker that is best off says of a data set, and in which words: here, fetchable, or missing."""
    told = {
        worker["status"]: str(worker.get("detail") or "")
        for dataset in datasets
        if dataset["name"] == name
        for worker in dataset["workers"]
    }
    status = next((status for status in ("here", "fetchable") if status in told), "missing")
    return status, told.get(status, "no worker knows it")


def digit_of(picture: Path) -> str:
    """The digit that a picture's file name tells: `7.png`, `digit-7-photo.png`."""
    return next(letter for letter in picture.stem if letter.isdigit())


def nice_path(path: Path) -> str:
    """A path as short as it can be written from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def say(line: str) -> None:
    """One line on the terminal."""
    print(line, flush=True)  # noqa: T201 - the terminal

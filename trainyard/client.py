"""The client: each method is one endpoint of the HTTP API, and answers with the plain dictionaries of its JSON."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx2

from trainyard.addresses import on_this_machine, reachable
from trainyard.again import PASSING, until_answered
from trainyard.downloads import write_verified
from trainyard.errors import ApiError, JobFailed, StudyFailed, TrainyardError, Unreachable
from trainyard.keys import Keys
from trainyard.pictures import Picture, predict_body
from trainyard.sse import ServerSentEvent, read_events

Json = dict[str, Any]

LONGEST_PAUSE = 5.0
EXPORT_PAUSE = 0.5


class Client:
    """A connection to one Trainyard service; close it, or use it in a `with`.

    Args:
        base_url: where the service answers.
        api_key: sent as `Authorization: Bearer`; none is needed on a keyless loopback server.
        timeout: seconds to wait for an answer.

    Every method raises `Unreachable` when nobody answers and `ApiError` for an answer of 400 or more.
    """

    def __init__(
        self, base_url: str = "http://127.0.0.1:8000", api_key: str | None = None, timeout: float = 30.0
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # A proxy of the environment is for the world outside, not for a service on this machine.
        self._http = httpx2.Client(
            base_url=self.base_url, headers=headers, timeout=timeout, trust_env=not on_this_machine(self.base_url)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, spec: Json, idempotency_key: str | None = None) -> Json:
        """Submit a job and answer it; with the same key and spec once more, the first job again.

        A connection that breaks, or a service that restarts just then, makes no second job: it is asked again with the
        same key, which is one of its own unless one is given.
        """
        return self._submit("/v1/jobs", spec, idempotency_key)

    def validate(self, spec: Json) -> Json:
        """The normalised spec, its layers with output shapes and parameter counts; nothing is trained."""
        return self._json("POST", "/v1/jobs/validate", json=spec)

    def job(self, job_id: str) -> Json:
        """One job."""
        return self._json("GET", f"/v1/jobs/{_quoted(job_id)}")

    def jobs(self, **filters: Any) -> Iterator[Json]:
        """All jobs, newest first, page by page; filters are `status`, `dataset`, `tag`, `owner`, `study`, `limit`."""
        return self._pages("/v1/jobs", filters)

    def cancel(self, job_id: str, keep_model: bool = False) -> Json:
        """Ask for the end of a job; with `keep_model` what it learned so far is kept."""
        return self._json("POST", f"/v1/jobs/{_quoted(job_id)}/cancel", json={"keep_model": keep_model})

    def pause(self, job_id: str) -> Json:
        """Put a job aside; one that runs frees its worker within a moment."""
        return self._json("POST", f"/v1/jobs/{_quoted(job_id)}/pause")

    def resume(self, job_id: str) -> Json:
        """Let a paused job go on after its last recorded epoch, or take back the request to pause it."""
        return self._json("POST", f"/v1/jobs/{_quoted(job_id)}/resume")

    def change(
        self,
        job_id: str,
        *,
        learning_rate: float | Json | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Change a training while it runs, and answer the change; once, as `submit` does.

        Args:
            learning_rate: a number, or a schedule that counts its steps from where it is taken up.
            epochs: how many there are to be in all.
            patience: of early stopping, in a job that has it.
        """
        body: Json = {"learning_rate": learning_rate, "epochs": epochs}
        body["early_stopping"] = None if patience is None else {"patience": patience}
        body = {name: value for name, value in body.items() if value is not None}
        return self._submit(f"/v1/jobs/{_quoted(job_id)}/changes", body, idempotency_key)

    def changes(self, job_id: str) -> list[Json]:
        """The job's changes, in the order in which they were asked."""
        return list(self._pages(f"/v1/jobs/{_quoted(job_id)}/changes", {}))

    def verify(self, job_id: str, idempotency_key: str | None = None) -> Json:
        """Submit, once, a job that trains this one again and compares the weights; its `result` is the answer."""
        return self._submit(f"/v1/jobs/{_quoted(job_id)}/verify", None, idempotency_key)

    def diagnosis(self, job_id: str, after_epoch: int = 0) -> Json:
        """What keeps the job from learning, with what to try, and its layers by epoch; also while it runs."""
        return self._json("GET", f"/v1/jobs/{_quoted(job_id)}/diagnosis", params={"after_epoch": after_epoch})

    def apply(self, job_id: str, number: int = 1, as_job: bool = False) -> Json:
        """Try what a diagnosis advises, once: the `change` of the job while it can have one, else the new `job`."""
        query = "?as=job" if as_job else ""
        return self._submit(f"/v1/jobs/{_quoted(job_id)}/diagnosis/{number}/apply{query}", None, None)

    def metrics(self, job_id: str, after: int = 0) -> list[Json]:
        """The job's metrics rows, one an epoch, whose `seq` is greater than `after`."""
        return list(self._pages(f"/v1/jobs/{_quoted(job_id)}/metrics", {"after": after}))

    def result(self, job_id: str) -> Json:
        """What a job of the kind `initialization`, `gradient_check` or `verify` found out."""
        return self._json("GET", f"/v1/jobs/{_quoted(job_id)}/result")

    def artifacts(self, job_id: str) -> list[Json]:
        """The files that the job left: name, size, sha256."""
        return list(self._pages(f"/v1/jobs/{_quoted(job_id)}/artifacts", {}))

    def download(self, job_id: str, name: str, to: str | Path | None = None) -> Path:
        """Fetch a file of the job to a path or into a folder, and answer where it is; it is whole and unharmed.

        A format that has yet to be made, such as `model.tflite`, is waited for.

        Raises:
            Damaged: what came is not what the service has on record; nothing is left of it.
        """
        path = Path(to or ".")
        path = path / name if path.is_dir() else path
        url = f"/v1/jobs/{_quoted(job_id)}/artifacts/{_quoted(name)}"
        while True:
            with self._answering(), self._http.stream("GET", url, headers={"Prefer": "wait=10"}) as response:
                if response.is_error:
                    response.read()
                raise_for_status(response)
                if response.status_code != httpx2.codes.ACCEPTED:
                    write_verified(response.iter_bytes(), response.headers.get("etag", ""), path)
                    return path
            time.sleep(EXPORT_PAUSE)

    def events(self, job_id: str, after: int = 0, patience: float = 60.0) -> Iterator[Json]:
        """Events as they happen, each once and in order, as `{"seq", "event", "data"}`; ends when the job has.

        A broken connection is taken up again after the last event seen; `Unreachable` is raised when the service
        stays away for `patience` seconds.
        """
        lost_since: float | None = None
        pause = 0.2
        while True:
            try:
                for event in self._event_stream(job_id, after):
                    lost_since = None
                    if event is None:
                        continue
                    pause = 0.2
                    seq = int(event.id)
                    if seq > after:
                        after = seq
                        yield {"seq": seq, "event": event.event, "data": json.loads(event.data)}
            except StopStream:
                return
            except Unreachable:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > patience:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def wait(self, job_id: str, timeout: float | None = None, check: bool = True) -> Json:
        """Wait for the end of a job and answer its final state.

        Raises:
            JobFailed: it failed or was cancelled; not with `check=False`.
            TimeoutError: it did not end within `timeout` seconds.
        """
        job = self._poll(lambda: self.job(job_id), f"Job {job_id}", timeout)
        if check and job["status"] != "succeeded":
            raise JobFailed(job)
        return job

    def submit_study(self, study: Json, idempotency_key: str | None = None) -> Json:
        """Submit a study, a job spec and what varies in it, and answer it; once, as `submit` does."""
        return self._submit("/v1/studies", study, idempotency_key)

    def study(self, study_id: str) -> Json:
        """One study: its settings with their runs and means, the best one, and the verdict in words."""
        return self._json("GET", f"/v1/studies/{_quoted(study_id)}")

    def studies(self, **filters: Any) -> Iterator[Json]:
        """All studies without their tables, newest first, page by page; filters are `status` and `limit`."""
        return self._pages("/v1/studies", filters)

    def cancel_study(self, study_id: str) -> Json:
        """Cancel a study and all its jobs."""
        return self._json("POST", f"/v1/studies/{_quoted(study_id)}/cancel")

    def study_curves(self, study_id: str) -> bytes:
        """The plot of all settings, a PNG file."""
        return self._request("GET", f"/v1/studies/{_quoted(study_id)}/curves.png").content

    def wait_for_study(self, study_id: str, timeout: float | None = None, check: bool = True) -> Json:
        """Wait for the end of a study and answer its final state.

        Raises:
            StudyFailed: it failed or was cancelled; not with `check=False`.
            TimeoutError: it did not end within `timeout` seconds.
        """
        study = self._poll(lambda: self.study(study_id), f"Study {study_id}", timeout)
        if check and study["status"] != "succeeded":
            raise StudyFailed(study)
        return study

    def predict(self, picture: Picture, model: str | None = None, job: str | None = None, seen: bool = False) -> Json:
        """Ask a model about a picture: a path, the bytes of an image file, or an array of pixels or features.

        Args:
            picture: of an array, values are 0 to 255, light on dark, (28, 28) or (n, 28, 28), taken as they are;
                (features,) or (n, features) for tabular data.
            model: `name`, `name:version` or `name@alias`; none asks the service's default model.
            job: ask the model of this job instead.
            seen: also answer what the model saw, after the picture was brought to 28x28.
        """
        if model and job:
            raise ValueError(f"Give a model or a job, not both. Received: model={model!r}, job={job!r}")
        asked = f"/v1/models/{_quoted(model)}" if model else f"/v1/jobs/{_quoted(job)}" if job else ""
        params = {"seen": "true"} if seen else {}
        return self._json("POST", f"{asked}/predict", params=params, **predict_body(picture))

    def models(self) -> list[Json]:
        """All models."""
        return list(self._pages("/v1/models", {}))

    def version(self, name: str, version: int) -> Json:
        """One version of a model: spec, data, metrics, libraries, files and aliases."""
        return self._json("GET", f"/v1/models/{_quoted(name)}/versions/{version}")

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version that no alias and no waiting job needs; its job stays."""
        self._request("DELETE", f"/v1/models/{_quoted(name)}/versions/{version}")

    def alias(self, name: str, alias: str) -> Json:
        """The version that an alias means, and every move before."""
        return self._json("GET", f"/v1/models/{_quoted(name)}/aliases/{_quoted(alias)}")

    def set_alias(self, name: str, alias: str, version: int) -> Json:
        """Let `name@alias` mean a version from now on; with `champion` also `name` alone."""
        return self._json("PUT", f"/v1/models/{_quoted(name)}/aliases/{_quoted(alias)}", json={"version": version})

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove an alias; `champion` then means the best version again."""
        self._request("DELETE", f"/v1/models/{_quoted(name)}/aliases/{_quoted(alias)}")

    @property
    def keys(self) -> Keys:
        """API keys, to be made, listed and revoked with the scope admin."""
        return Keys(self._request, self._pages)

    def datasets(self) -> list[Json]:
        """The data sets and, by worker, whether each is here, can be fetched or is missing."""
        return list(self._pages("/v1/datasets", {}))

    def workers(self) -> list[Json]:
        """The workers, what they can do and when each was last heard of."""
        return list(self._pages("/v1/workers", {}))

    def ready(self) -> Json:
        """What `/readyz` says once everything is up; an `ApiError` of status 503 before that."""
        return self._json("GET", "/readyz")

    def _poll(self, read: Callable[[], Json], name: str, timeout: float | None) -> Json:
        """What `read` answers once it is terminal; `name` is for the TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.1
        while not (found := read())["is_terminal"]:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{name} is still {found['status']} after {timeout:g} seconds.")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return found

    def _submit(self, path: str, body: Json | None, key: str | None) -> Json:
        return until_answered(lambda headers: self._json("POST", path, json=body, headers=headers), key, self._timeout)

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        response = self._request(method, path, **arguments)
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise TrainyardError(f"{self.base_url} is not Trainyard. Received: {response.text[:60]!r}")
        return body

    def _request(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        with self._answering():
            response = self._http.request(method, path, **arguments)
        raise_for_status(response)
        return response

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self.base_url} did not answer in time ({type(error).__name__}).") from error
        except httpx2.HTTPError as error:
            raise Unreachable(f"No answer from {self.base_url}: {error}. Is `trainyard up` running?") from error

    def _pages(self, path: str, params: Json) -> Iterator[Json]:
        while True:
            page = self._json("GET", path, params={key: value for key, value in params.items() if value is not None})
            yield from page["data"]
            if page.get("next") is None:
                return
            params = params | {"after": page["next"]}

    def _event_stream(self, job_id: str, after: int) -> Iterator[ServerSentEvent | None]:
        """A connection's events, after a None once it stands; `StopStream` when the job has ended and all was told."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        # The server sends a comment now and then, so a line that stays silent for long is a dead one.
        timeout = httpx2.Timeout(30.0, connect=10.0)
        try:
            with self._http.stream(
                "GET", f"/v1/jobs/{_quoted(job_id)}/events", headers=headers, timeout=timeout
            ) as response:
                if response.status_code == httpx2.codes.NO_CONTENT:
                    raise StopStream
                if response.status_code in PASSING:
                    raise Unreachable(f"{self.base_url} answered {response.status_code}.")
                if response.is_error:
                    response.read()
                raise_for_status(response)
                yield None
                yield from read_events(response.iter_bytes())
        except httpx2.HTTPError as error:
            raise Unreachable(f"Lost the event stream of {self.base_url}: {error}") from error


class StopStream(Exception):
    """The service said that a job's events are all told."""


def _quoted(part: str) -> str:
    """One part of a path, whatever is in it."""
    return quote(part, safe=":@") or "%20"


def raise_for_status(response: httpx2.Response) -> None:
    """Raise `ApiError` for an answer that is not one of success."""
    if response.is_success:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"title": response.reason_phrase, "detail": response.text[:200]}
    raise ApiError(response.status_code, problem)


def from_environment(url: str | None = None, api_key: str | None = None) -> Client:
    """A client of the service that TRAINYARD_URL, else TRAINYARD_HOST and TRAINYARD_PORT, name."""
    host = os.environ.get("TRAINYARD_HOST") or "127.0.0.1"
    port = os.environ.get("TRAINYARD_PORT") or "8000"
    url = url or os.environ.get("TRAINYARD_URL") or f"http://{reachable(host)}:{port}"
    return Client(url, api_key or os.environ.get("TRAINYARD_API_KEY"))

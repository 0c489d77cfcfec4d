"""What the client raises.

TrainyardError
├── Unreachable   nobody answers at the URL, or not in time
├── ApiError      the service said no: status, title, detail and the list of errors
├── Damaged       a file that was fetched is not what the service has on record
├── JobFailed     a job that was waited for failed or was cancelled
└── StudyFailed   a study that was waited for failed or was cancelled
"""

from typing import Any


class TrainyardError(Exception):
    """Everything this client raises; `str(error)` is a sentence for people."""


class Unreachable(TrainyardError):
    """The service gave no answer."""


class ApiError(TrainyardError):
    """An answer of 400 or more.

    Attributes:
        status: the HTTP status.
        type, title, detail: of the problem+json body (RFC 9457); `detail` is the sentence.
        errors: for 422 a list of `{"pointer", "code", "detail", "received"}`.
        problem: the whole body.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.type = str(problem.get("type") or "about:blank")
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.errors: list[dict[str, Any]] = [error for error in problem.get("errors") or [] if isinstance(error, dict)]
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        lines = [f"{self.title} ({self.status}): {self.detail}" if self.detail else f"{self.title} ({self.status})"]
        lines += [f"  {error.get('pointer') or '/'}: {error.get('detail', '')}" for error in self.errors]
        return "\n".join(lines)


class Damaged(TrainyardError):
    """A file came that is not what the service has on record."""


class JobFailed(TrainyardError):
    """A job that ended without success; `job` is its last state as the service tells it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        failure = job.get("failure") or {}
        self.kind = failure.get("kind")
        reason = f": {failure.get('message')} ({self.kind})" if failure else "."
        super().__init__(f"Job {job.get('id')} {job.get('status')}{reason}")


class StudyFailed(TrainyardError):
    """A study that ended without success; `study` is its last state as the service tells it."""

    def __init__(self, study: dict[str, Any]) -> None:
        self.study = study
        reasons = [str(trial["problem"]) for trial in study.get("trials") or [] if trial.get("problem")]
        reason = f": {reasons[0]}" if reasons else "."
        super().__init__(f"Study {study.get('id')} {study.get('status')}{reason}")

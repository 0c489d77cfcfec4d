"""How every process of ours writes its log: one line a record, as text or as JSON, with the request and the job."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from models.settings import Settings

# Follows a request into the threads that work for it.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

JOB = re.compile(r"\bjob_[0-9A-HJKMNP-TV-Z]{26}\b")
PASSWORD = re.compile(r"(://[^:/@\s]*:)[^/\s\"]+(?=@)|([?&]password=)[^&\s\"]+")
KEY = re.compile(r"(?i)(\bbearer\s+)[^\s\"]{8,}|(\bty_)[\w-]{8,}")
# A line break in a path that somebody sent would be a line of the log that nobody wrote.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}
LEFT_OUT = (*RESERVED_ATTRS, "color_message")  # uvicorn's messages once more, in colour


class _Process:
    """What this process is and does, for its log; a worker has one job at a time."""

    worker: str | None = None
    job: tuple[str, int] | None = None


class Facts(logging.Filter):
    """Adds to a record what is known of it: `request_id`, `job_id`, `attempt`, `worker`; what is unknown stays out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through, with its facts."""
        job = _Process.job
        named = JOB.search(record.getMessage())
        job_id = named[0] if named else job and job[0]
        facts = {
            "request_id": request_id.get(),
            "job_id": job_id,
            "attempt": job[1] if job and job[0] == job_id else None,
            "worker": _Process.worker,
        }
        for name, value in facts.items():
            if value is not None and not hasattr(record, name):
                setattr(record, name, value)
        return True


class Text(logging.Formatter):
    """`LEVEL message`, then in brackets the request and the job, where the message does not name them itself."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        line = super().formatMessage(record).translate(CONTROLS)
        facts = [str(getattr(record, name, "")) for name in ("request_id", "job_id")]
        added = " ".join(fact for fact in facts if fact and fact not in line)
        return f"{line} [{added}]" if added else line

    def format(self, record: logging.LogRecord) -> str:
        """The whole, without passwords."""
        return hidden(super().format(record))


class Json(JsonFormatter):
    """An object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, the facts, `exc_info` for a traceback."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            reserved_attrs=LEFT_OUT,
            timestamp="time",
            json_ensure_ascii=False,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """The moment first, for people who read it raw."""
        return {"time": log_data.pop("time"), **log_data}

    def format(self, record: logging.LogRecord) -> str:
        """The whole, without passwords."""
        return hidden(super().format(record))


def hidden(text: str) -> str:
    """`text` without the passwords of URLs and without keys: a safety net, for nothing should log them."""
    return KEY.sub(r"\1\2**********", PASSWORD.sub(r"\1\2**********", text))


def set_up(settings: Settings) -> None:
    """Have everything that this process logs go to stderr in the form that TRAINYARD_LOG_FORMAT says.

    Where somebody set up the root logger before, as a program does that embeds the API, all stays as it is.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Facts())
    handler.setFormatter(Json() if settings.log_format == "json" else Text())
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    # uvicorn has handlers of its own, which know no request. Without any, as after --no-access-log, it is to be quiet.
    for logger in map(logging.getLogger, ("uvicorn", "uvicorn.access")):
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def name_worker(name: str) -> None:
    """From now on every line of this process says that it is from this worker."""
    _Process.worker = name


@contextmanager
def about_job(job_id: str, attempt: int) -> Iterator[None]:
    """While the block runs, whatever a thread of this worker logs is about this attempt."""
    _Process.job = (job_id, attempt)
    try:
        yield
    finally:
        _Process.job = None

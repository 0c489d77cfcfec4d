"""Asking once more, with the same key, where an answer did not come: nothing is lost by that, and nothing doubled."""

import secrets
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2

from trainyard.errors import ApiError, Unreachable

Answer = TypeVar("Answer")
# Answers that a server gives while it restarts or is overloaded: worth another try.
PASSING = frozenset({502, 503, 504})
# Seconds before each further try: together as long as a supervised service takes to be back.
PAUSES = (0.3, 1.0, 2.0, 4.0)


def until_answered(ask: Callable[[dict[str, str]], Answer], key: str | None, patience: float) -> Answer:
    """What `ask` answers, which is given the headers by which the service knows the same request again.

    It is asked again where the connection broke or the service was just not able to answer. Nothing was sent where
    there never was a connection, so that is told at once.

    Args:
        key: the `Idempotency-Key`; a new one when there is none.
        patience: no further try begins after so many seconds.
    """
    headers = {"Idempotency-Key": key or secrets.token_hex(16)}
    began = time.monotonic()
    for number, pause in enumerate(PAUSES):
        try:
            return ask(headers)
        except Unreachable as error:
            nobody_there = number == 0 and isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
            if nobody_there or time.monotonic() - began > patience:
                raise
        except ApiError as error:
            if error.status not in PASSING:
                raise
        time.sleep(pause)
    return ask(headers)

"""BentoML: one worker, no log line a request, no metrics; `benchmarks/.venv-serving` has it."""

import base64
from typing import Any

import bentoml  # type: ignore[import-not-found]

from benchmarks.rivals.reader import Reader


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Digits:
    """A digit reader."""

    def __init__(self) -> None:
        self.reader = Reader()

    # Asynchronous, because a plain method is run in a thread, which takes longer than the answer.
    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, picture: str) -> dict[str, Any]:
        """One picture in base64."""
        return self.reader.read(base64.b64decode(picture))

"""`Idempotency-Key`: a request that comes again with its key is answered as the first time, and does nothing more."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.caller import InCaller
from api.errors import invalid
from api.strict import SentBody
from models.database import Database
from models.idempotency import FirstAnswer, keep_answer, take_key
from models.spec import Problem

NAME = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
Key = Annotated[
    str | None,
    Header(
        alias=NAME,
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]([ -~]*[!-~])?$",
        description="who sends the same body with the same key again is answered as the first time: 1 to 255 "
        "printable ASCII characters, new ones for each job or study",
    ),
]


@dataclass(frozen=True)
class Once:
    """A request that is to be carried out once; one without a key is carried out whenever it comes.

    `take` and `keep` belong into the transaction that does what is asked for: then what was made and its answer are on
    record both, or neither is. Each of the first two gives the first answer, or None when this is the first time, and
    raises Invalid when the key was sent with something else.
    """

    key: str | None
    owner: str
    request_sha256: str

    def answered(self, database: Database) -> JSONResponse | None:
        """Look, before anything is checked that was otherwise the first time, such as the room on the disk."""
        if self.key is None:
            return None
        with database.read() as session:
            return self._again(session.get(FirstAnswer, (self.owner, self.key)))

    def take(self, session: Session) -> JSONResponse | None:
        """Take the key for this request; of two that come at once, one waits for the other here."""
        return None if self.key is None else self._again(take_key(session, self.owner, self.key, self.request_sha256))

    def keep(self, session: Session, location: str, view: BaseModel) -> None:
        """Keep what is answered now."""
        if self.key is not None:
            keep_answer(session, self.owner, self.key, location, view.model_dump(mode="json"))

    def _again(self, first: FirstAnswer | None) -> JSONResponse | None:
        if first is None:
            return None
        if first.request_sha256 != self.request_sha256:
            detail = (
                f"The {NAME} was sent before with another request. The first one is answered again only to the same "
                f"body; use a new key for something new. Received: {self.key}"
            )
            raise invalid([Problem("", "idempotency_key_reused", detail, self.key)])
        return JSONResponse(first.answer, 201, {"Location": first.location} | REPLAYED)


async def _once(request: Request, sent: SentBody, caller: InCaller, key: Key = None) -> Once:
    return Once(key, caller.owner or "", "" if key is None else _request_sha256(request, sent))


InOnce = Annotated[Once, Depends(_once)]


def _request_sha256(request: Request, sent: object) -> str:
    """Of method, path, query and body as what it says: spaces and the order of names in an object are no difference."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    said = json.dumps([request.method, asked, sent], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()

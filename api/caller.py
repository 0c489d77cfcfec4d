"""Who asks: what the gate found out from the key, and hands on to the routes."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from models.keys import SCOPES, Scope


@dataclass(frozen=True)
class Caller:
    """Who sent a request, and what they may do. Without any keys everybody is ANYBODY, who may do everything."""

    owner: str | None
    scopes: frozenset[Scope]

    @property
    def is_admin(self) -> bool:
        """Whether everybody's jobs are theirs to see and to change."""
        return "admin" in self.scopes

    def owns(self, owner: str | None) -> bool:
        """Whether what belongs to `owner` may be seen and changed."""
        return self.is_admin or (owner is not None and owner == self.owner)


EVERYTHING = frozenset(SCOPES)
ANYBODY = Caller(None, EVERYTHING)
# Who has a key of the environment.
ADMIN = Caller("admin", EVERYTHING)


def caller_of(request: Request) -> Caller:
    """Who sent `request`."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


async def _caller(request: Request) -> Caller:
    # Not a plain function, see api.deps.
    return caller_of(request)


InCaller = Annotated[Caller, Depends(_caller)]

"""Keys: made, listed and revoked by who has the scope admin."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from api.deps import InRoom
from api.errors import Conflict, Invalid, NotFound, documented
from api.errors import invalid as refusal
from api.safe_headers import NO_STORE
from api.strict import StrictRoute
from api.views import Moment, Page
from models import keys
from models.keys import ApiKey, NobodyLeft, Scope
from models.spec import Problem

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictRoute)
MOST_AT_ONCE = 500
DEFAULT_SCOPES: tuple[Scope, ...] = ("read", "predict", "submit")


class KeyBody(BaseModel):
    """For whom a key is, and for what."""

    model_config = ConfigDict(extra="forbid", strict=True)

    owner: str = Field(
        pattern=f"^{keys.OWNER}$", description="who acts with it: letters, digits and ._@-", examples=["ada"]
    )
    scopes: list[Scope] = Field(
        list(DEFAULT_SCOPES),
        min_length=1,
        max_length=len(keys.SCOPES),
        description="read: every GET; predict: ask models; submit: everything else of one's own; admin: all, of all",
    )
    count: int | None = Field(
        None,
        ge=1,
        le=MOST_AT_ONCE,
        description="so many keys, each of an owner of its own: student becomes student01, student02, ...",
        examples=[None],
    )


class KeyView(BaseModel):
    """What is on record of a key."""

    id: str = Field(examples=["key_01KAHB9V2M0Q4T8XJ5N7C3R6WY"])
    owner: str = Field(examples=["ada"])
    scopes: list[Scope] = Field(examples=[["read", "predict", "submit"]])
    created_at: Moment
    revoked_at: Moment | None = Field(description="null while the key is good")


class NewKeyView(KeyView):
    """A new key, with the secret that is shown this once."""

    key: str = Field(
        description="to be sent as `Authorization: Bearer`", examples=["ty_2vJ0Dp8wq1mUuYb4cCkX7zQhT5nRsLfGaEiOo3N9xHM"]
    )


@router.post("", status_code=201, responses=documented(Conflict, Invalid))
def create(body: KeyBody, room: InRoom, response: Response) -> Page[NewKeyView]:
    """Make a key, or `count` of them. This answer is the only one that ever has them: only checksums are kept."""
    owners = _owners(body)
    try:
        with room.database.write() as session:
            made = keys.create(session, owners, body.scopes, other_admin=room.keyring.has_fixed)
    except NobodyLeft:
        raise Conflict(
            "The first key must have the scope admin: from then on every request needs a key, and nobody could make "
            f"another. Received: scopes {', '.join(body.scopes)}."
        ) from None
    room.keyring.notice()
    response.headers.update(NO_STORE)
    return Page(data=[NewKeyView(**_view(row).model_dump(), key=secret) for row, secret in made])


@router.get("", responses=documented(Invalid))
def list_keys(
    room: InRoom,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Page[KeyView]:
    """The keys on record, newest first, also revoked ones; those of TRAINYARD_API_KEYS are not among them."""
    query = select(ApiKey).order_by(ApiKey.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(ApiKey.id < after)
    with room.database.read() as session:
        found = list(session.scalars(query))
    page = found[:limit]
    return Page(data=[_view(row) for row in page], next=page[-1].id if len(found) > limit else None)


@router.delete("/{key_id}", status_code=204, responses=documented(NotFound, Conflict))
def revoke(key_id: str, room: InRoom) -> None:
    """Revoke a key for good. It stays on record; what its owner submitted stays theirs."""
    try:
        with room.database.write() as session:
            found = keys.revoke(session, key_id, other_admin=room.keyring.has_fixed)
    except NobodyLeft:
        raise Conflict(
            "It is the last key with the scope admin: make another one, or revoke the others first."
        ) from None
    if not found:
        raise NotFound(f"There is no such key. Received: {key_id[:64]}")
    room.keyring.notice()


def _owners(body: KeyBody) -> list[str]:
    """The owners that are asked for. Raises Invalid for a name that means something else or gets too long."""
    width = max(2, len(str(body.count)))
    owners = [body.owner] if body.count is None else [f"{body.owner}{n:0{width}}" for n in range(1, body.count + 1)]
    if not all(map(keys.is_owner, owners)):
        detail = f"owner, with a number where there is a count, has at most 64 letters, and is not {keys.ME!r}"
        raise refusal([Problem("/owner", "invalid", f"{detail}. Received: owner={body.owner}", body.owner)])
    return owners


def _view(row: ApiKey) -> KeyView:
    return KeyView.model_validate(row, from_attributes=True)

"""The part of the client that makes, lists and revokes API keys."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx2

Json = dict[str, Any]


class Keys:
    """Is `Client.keys`; each method needs a key with the scope admin, or a service that has no keys yet."""

    def __init__(self, request: Callable[..., httpx2.Response], pages: Callable[[str, Json], Iterator[Json]]) -> None:
        self._request, self._pages = request, pages

    def create(self, owner: str, scopes: Sequence[str] | None = None, count: int | None = None) -> list[Json]:
        """New keys with their secrets, each under `key`: nobody can read those again.

        Args:
            owner: who acts with the key.
            scopes: of read, predict, submit, admin; else the first three.
            count: so many keys, of the owners `student01`, `student02` and so on for the owner `student`.
        """
        body: Json = {"owner": owner}
        body |= {} if scopes is None else {"scopes": list(scopes)}
        body |= {} if count is None else {"count": count}
        made: list[Json] = self._request("POST", "/v1/keys", json=body).json()["data"]
        return made

    def all(self) -> Iterator[Json]:
        """Every key on record, newest first, page by page; never its secret."""
        return self._pages("/v1/keys", {"limit": 500})

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good."""
        self._request("DELETE", f"/v1/keys/{quote(key_id, safe='')}")

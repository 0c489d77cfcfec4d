"""What becomes of a request that a server which stops cannot wait for."""

import asyncio
import json
from typing import Any

from starlette.types import Receive, Scope, Send

from api.prometheus import Figures
from api.request_ids import RequestIds


def test_a_request_that_is_cancelled_as_the_server_stops_is_told_to_come_again() -> None:
    """uvicorn cancels what outlasts its grace; a plain 500 is no answer after which a client would ask again."""
    sent: list[Any] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def stop_in_the_middle() -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": [], "client": None}
        task = asyncio.ensure_future(RequestIds(slow, Figures(), access_log=False)(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(stop_in_the_middle())
    start, body = sent
    assert start["status"] == 503
    assert b"retry-after" in dict(start["headers"])
    assert json.loads(body["body"])["type"] == "urn:trainyard:problem:unavailable"

"""A server that answers whatever comes with the same few bytes: `ceiling.py PORT`.

What the load generator reaches against it is the most that it can measure.
"""

import asyncio
import sys
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
HEAD_END, LENGTH = b"\r\n\r\n", b"Content-Length: "


class Answering(asyncio.Protocol):
    """One connection, with one request on its way at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self.transport, self.missing = cast(asyncio.Transport, transport), 0

    def data_received(self, data: bytes) -> None:
        """Answer a request as soon as it is whole; its head comes in one piece."""
        self.missing = (self.missing or size_of(data)) - len(data)
        if self.missing == 0:
            self.transport.write(ANSWER)


def size_of(beginning: bytes) -> int:
    """How many bytes a request has in all."""
    head, _, _ = beginning.partition(HEAD_END)
    body = int(head.partition(LENGTH)[2].partition(b"\r\n")[0] or 0)
    return len(head) + len(HEAD_END) + body


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

"""Reads server-sent events (the WHATWG HTML standard, section 9.2) out of a stream of bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass
class ServerSentEvent:
    """One event: its `id` (also kept from the events before it), its type, its data, the server's wish for `retry`."""

    id: str = ""
    event: str = "message"
    data: str = ""
    retry_ms: int | None = None


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """The complete events of a stream; one that is cut off in the middle is dropped, as the standard asks.

    An event without data is not given out, and a comment (what a server sends to keep a line open) is skipped.
    """
    last_id, event = "", ""
    data: list[str] = []
    retry: int | None = None
    for line in read_lines(chunks):
        if not line:
            if data:
                yield ServerSentEvent(last_id, event or "message", "\n".join(data), retry)
            event, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            event = value
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            retry = int(value)


def read_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines ended by CR, LF or CRLF and by nothing else: text may hold U+2028, at which `splitlines` would break."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        # A CR at the very end may be the first half of a CRLF, so it waits for what comes next.
        held = b"\r" if buffer.endswith(b"\r") else b""
        text = buffer.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        buffer = rest + held
        for line in lines:
            yield line.decode("utf-8", errors="replace")

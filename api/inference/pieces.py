"""Cuts a large JSON body into pieces that are read one by one.

The parser keeps the interpreter to itself until it is done, which of a megabyte takes ten milliseconds: read in one go,
a batch in one thread would hold up every small request in the others.
"""

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

PIECE_BYTES = 100_000
HEAD = re.compile(rb'\s*\{\s*"(?P<key>\w{1,20})"\s*:\s*\[')
TAIL = re.compile(rb"\s*\]\s*\}\s*")
OPENING, CLOSING, QUOTE, BRACE = b'[]"{'


def pieces_of(body: bytes) -> tuple[str, Iterator[bytes]] | None:
    """The key of `{"key": [[...], [...], ...]}`, and its list as several JSON lists; None for any other body.

    Each of these lists begins with a 0 that is not part of it. Only brackets are looked at: whether what they hold is
    JSON, the commas between the pieces included, is for the parser of each piece to say.
    """
    head = HEAD.match(body)
    characters = np.frombuffer(body, np.uint8)
    if head is None or np.count_nonzero(characters == QUOTE) != 2 or np.count_nonzero(characters == BRACE) != 1:
        return None
    deeper = (characters == OPENING).astype(np.int8) - (characters == CLOSING)
    depth = np.cumsum(deeper, dtype=np.int32)
    # Where an item of the outer list ends: a bracket closes, and only the outer one is open.
    ends = np.flatnonzero((deeper == -1) & (depth == 1)) + 1
    if not ends.size or TAIL.fullmatch(body, int(ends[-1])) is None:
        return None
    return head["key"].decode("ascii"), _cut(body, head.end(), ends)


def _cut(body: bytes, start: int, ends: npt.NDArray[np.intp]) -> Iterator[bytes]:
    lead = b"[0,"
    while start < ends[-1]:
        at = min(int(np.searchsorted(ends, start + PIECE_BYTES)), len(ends) - 1)
        yield lead + body[start : ends[at]] + b"]"
        # What follows an item has to begin with a comma of its own.
        start, lead = int(ends[at]), b"[0"

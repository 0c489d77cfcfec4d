"""Identifiers: opaque, sortable by the moment they were made, safe in URLs."""

import secrets
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, in the order of ASCII
RANDOM_BITS = 80


def new_id(prefix: str, after: str | None = None) -> str:
    """A new id such as `job_01KAHB9V2M0Q4T8XJ5N7C3R6WY`: 48 bits of milliseconds, 80 random ones (as a ULID).

    It is beyond the id `after`, also where the clock that made that one was ahead of this one.
    """
    milliseconds = time.time_ns() // 1_000_000
    if after is not None:
        milliseconds = max(milliseconds, _milliseconds(after) + 1)
    number = milliseconds << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
    return f"{prefix}_" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def _milliseconds(made: str) -> int:
    number = 0
    for letter in made.rpartition("_")[2]:
        number = number << 5 | ALPHABET.index(letter)
    return number >> RANDOM_BITS

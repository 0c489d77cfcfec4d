"""Identifiers: opaque, sortable by the moment they were made, safe in URLs."""

import secrets
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, in the order of ASCII


def new_id(prefix: str) -> str:
    """A new id such as `job_01KAHB9V2M0Q4T8XJ5N7C3R6WY`: 48 bits of milliseconds, 80 random ones (as a ULID)."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))

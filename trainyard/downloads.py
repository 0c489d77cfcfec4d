"""A file from the service: at its path it is whole and what was stored, or it is not there."""

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from trainyard.errors import Damaged


def write_verified(pieces: Iterable[bytes], etag: str, path: Path) -> None:
    """Write `pieces` to `path` once all are there and their SHA-256 is the one that the service gives as `ETag`."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    digest = hashlib.sha256()
    try:
        with part.open("xb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        # A proxy that compresses on the way makes it a weak one.
        if etag.removeprefix("W/").strip('"') != digest.hexdigest():
            raise Damaged(f"{path.name} is not what was stored: its checksum differs. Try again.")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

"""Tells from values alone, and this process's own monotonic clock, since when something has not changed."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sight:
    """What was seen of one key: its value, since when it has been so, and whether it ever changed before our eyes."""

    value: Hashable
    since: float
    changed: bool


class Watch:
    """Keeps the sights of the latest look; a key that was not in it is forgotten."""

    def __init__(self) -> None:
        self._sights: dict[str, Sight] | None = None

    def look(self, values: Mapping[str, Hashable], moment: float) -> dict[str, Sight]:
        """Compare `values` with those of the look before.

        At the very first look nothing has changed yet: a value may be of any age. A key that is new later has.
        """
        before = self._sights
        self._sights = {}
        for key, value in values.items():
            known = None if before is None else before.get(key)
            if known is not None and known.value == value:
                self._sights[key] = known
            else:
                self._sights[key] = Sight(value, moment, changed=before is not None)
        return dict(self._sights)

    def restart(self, key: str, moment: float) -> None:
        """Count the time of `key` from `moment`."""
        if self._sights is not None and key in self._sights:
            self._sights[key] = replace(self._sights[key], since=moment)

    def postpone(self, seconds: float) -> None:
        """Leave out `seconds` in which nobody looked."""
        self._sights = {key: replace(sight, since=sight.since + seconds) for key, sight in (self._sights or {}).items()}

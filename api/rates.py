"""How many requests one caller may send, and how many wrong keys may come from one address."""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from api.caller import ADMIN, Caller
from api.errors import TooMany, Unauthorized
from api.keyring import Keyring
from models.settings import Settings

OFF = "off"
UNITS = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0}
LIMIT = re.compile(rf"([1-9][0-9]{{0,8}})/({'|'.join(UNITS)})")
# Where there are keys: a hundred a second are more than people send, and fewer than a loop that forgot to wait.
WITH_KEYS = "6000/minute"
# A class behind one address mistypes a few; who guesses needs more.
WRONG_KEYS, WRONG_KEYS_SECONDS = 100, 60.0
# Names that are remembered at once; beyond it all begin anew, so that made-up addresses take no memory.
MOST_NAMES = 10_000


class Rates:
    """Counts by the owner of the key, or by the client's address where there are no keys; for one thread only.

    Each API process counts its own requests. A window of time begins with a caller's first request and is measured by
    the monotonic clock: a step of the machine's clock shuts nobody out, as it would with libraries that go by that one.

    Raises:
        ValueError: TRAINYARD_RATE_LIMIT cannot be understood; the sentence says what would do.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        asked = settings.rate_limit.strip().lower()
        self._with_keys, self._keyless = _windows(asked or WITH_KEYS), _windows(asked or OFF)
        self._wrong_keys: dict[str, tuple[float, set[bytes]]] = {}
        self._clock = clock

    def caller(self, keyring: Keyring, authorization: str, scope: Scope) -> Caller:
        """Who sent a request, which is counted. Raises TooMany, and what `keyring.caller` raises."""
        address = (scope.get("client") or ("",))[0]
        try:
            caller = keyring.caller(authorization)
        except Unauthorized:
            self.check_address(address)
            self.note_wrong_key(address, authorization)
            raise
        if caller is ADMIN:
            # A key of the environment may be short enough to be guessed; those that were made here are not.
            self.check_address(address)
        self.check(caller, address)
        return caller

    def check(self, caller: Caller, address: str) -> None:
        """Count a request of `caller`, who is at `address`. Raises TooMany."""
        windows, name = (self._keyless, address) if caller.owner is None else (self._with_keys, caller.owner)
        if not windows:
            return
        moment = self._clock()
        for window in windows:
            if wait := window.count(name, moment):
                headers = {"RateLimit-Limit": str(window.limit.amount), "RateLimit-Remaining": "0"}
                detail = f"The limit of {window.limit} is reached (TRAINYARD_RATE_LIMIT): wait {wait:.0f} s."
                raise TooMany(detail, headers=headers | {"RateLimit-Reset": f"{wait:.0f}"}, retry_after=wait)

    def check_address(self, address: str) -> None:
        """Refuse an address from which too many different wrong keys came just now. Raises TooMany."""
        found = self._wrong_keys.get(address)
        if found is None:
            return
        ends, keys = found
        wait = ends - self._clock()
        if wait <= 0:
            del self._wrong_keys[address]
        elif len(keys) >= WRONG_KEYS:
            raise TooMany(f"{WRONG_KEYS} wrong keys came from your address: wait {wait:.0f} s.", retry_after=wait)

    def note_wrong_key(self, address: str, authorization: str) -> None:
        """Count what was sent as a key and is none; the same one again is a mistake, but no guess."""
        if not authorization:
            return
        if address not in self._wrong_keys:
            if len(self._wrong_keys) >= MOST_NAMES:
                self._wrong_keys.clear()
            self._wrong_keys[address] = (self._clock() + WRONG_KEYS_SECONDS, set())
        self._wrong_keys[address][1].add(hashlib.sha256(authorization.encode()).digest())


@dataclass
class _Window:
    ends: float
    count: int


@dataclass(frozen=True)
class Limit:
    """So many requests in each `unit` of time."""

    amount: int
    unit: str

    def __str__(self) -> str:
        return f"{self.amount} per {self.unit}"


class _Windows:
    """Counts under names, each in windows of `limit`'s length."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._seconds, self._most = UNITS[limit.unit], limit.amount
        self._windows: dict[str, _Window] = {}

    def count(self, name: str, moment: float) -> float:
        """Count one at `moment`; 0, or when it is one too many, the seconds until the window ends."""
        window = self._windows.get(name)
        if window is None or moment >= window.ends:
            if len(self._windows) >= MOST_NAMES:
                self._windows.clear()
            window = self._windows[name] = _Window(moment + self._seconds, 0)
        window.count += 1
        return 0.0 if window.count <= self._most else window.ends - moment


def _windows(text: str) -> tuple[_Windows, ...]:
    if text == OFF:
        return ()
    found = [LIMIT.fullmatch(part.strip()) for part in text.split(";")]
    limits = [Limit(int(each[1]), each[2]) for each in found if each is not None]
    if len(limits) < len(found):
        raise ValueError(
            f"TRAINYARD_RATE_LIMIT is a number of requests and a time, such as 600/minute, or {OFF}. Received: {text}"
        )
    return tuple(_Windows(limit) for limit in limits)

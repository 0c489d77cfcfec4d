"""How many requests are too many, and who is counted together."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from api import rates
from api.caller import ANYBODY, Caller
from api.errors import TooMany
from api.main import create_app
from api.rates import WRONG_KEYS, Rates
from models.settings import Settings
from tests.api.conftest import LOCAL

ADA, BOB = (Caller(name, frozenset({"read"})) for name in ("ada", "bob"))


class Clock:
    """The seconds that a test says it is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock, rate_limit: str) -> Rates:
    return Rates(Settings(rate_limit=rate_limit), clock)


@contextmanager
def served(settings: Settings, **changes: object) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(**settings.model_dump() | changes)), base_url=LOCAL) as client:
        yield client


def allowed(limits: Rates, caller: Caller, most: int, address: str = "1.2.3.4") -> int:
    """How many of `most` requests are let through."""
    for n in range(most):
        try:
            limits.check(caller, address)
        except TooMany:
            return n
    return most


def test_a_window_begins_with_the_first_request_and_then_everything_is_open_again() -> None:
    clock = Clock()
    limits = made(clock, "3/minute")
    assert allowed(limits, ADA, 5) == 3
    clock.now += 59
    with pytest.raises(TooMany) as refused:
        limits.check(ADA, "1.2.3.4")
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "1"
    assert "3 per minute" in str(refused.value.detail)
    clock.now += 1
    assert allowed(limits, ADA, 5) == 3


def test_the_owners_of_keys_are_counted_apart_and_wherever_they_are() -> None:
    limits = made(Clock(), "2/second")
    limits.check(ADA, "1.1.1.1")
    limits.check(ADA, "2.2.2.2")
    assert allowed(limits, ADA, 1, "3.3.3.3") == 0
    assert allowed(limits, BOB, 5) == 2


def test_without_keys_addresses_are_counted_apart() -> None:
    limits = made(Clock(), "2/second")
    assert allowed(limits, ANYBODY, 5, "1.1.1.1") == 2
    assert allowed(limits, ANYBODY, 5, "2.2.2.2") == 2


def test_several_limits_hold_together() -> None:
    clock = Clock()
    limits = made(clock, "2/second;3/minute")
    assert allowed(limits, ADA, 5) == 2
    clock.now += 1
    assert allowed(limits, ADA, 5) <= 1


def test_what_is_unset_is_off_without_keys_and_generous_with() -> None:
    limits = made(Clock(), "")
    assert allowed(limits, ANYBODY, 7000) == 7000
    assert allowed(limits, ADA, 7000) == 6000
    assert allowed(made(Clock(), "off"), ADA, 7000) == 7000


@pytest.mark.parametrize("text", ["many", "600", "0/minute", "5/lightyear", "-1/second", ";"])
def test_a_limit_that_means_nothing_is_said_at_the_start(settings: Settings, text: str) -> None:
    with pytest.raises(SystemExit, match=rf"TRAINYARD_RATE_LIMIT .*600/minute.*Received: {text}"):
        create_app(Settings(**settings.model_dump() | {"rate_limit": text}))


def test_made_up_addresses_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_NAMES", 10)
    limits = made(Clock(), "2/second")
    for n in range(1000):
        limits.check(ANYBODY, f"address {n}")
        limits.note_wrong_key(f"address {n}", "Bearer guess")
    assert len(limits._wrong_keys) <= 10
    assert all(len(windows._windows) <= 10 for windows in limits._keyless)


def test_too_many_requests_are_429_with_when_to_come_again(settings: Settings) -> None:
    with served(settings, rate_limit="2/hour") as client:
        assert [client.get("/v1/jobs").status_code for _ in range(3)] == [200, 200, 429]
        refused = client.get("/v1/models")
        assert 3500 < int(refused.headers["Retry-After"]) <= 3600
        assert refused.headers["RateLimit-Limit"] == "2"
        assert refused.json()["title"] == "Too Many Requests"
        assert client.get("/livez").status_code == 200
        assert client.get("/v2/models/none/ready").json()["error"].startswith("The limit of 2 per hour")


def test_guessing_keys_ends_soon_and_sending_an_old_one_again_and_again_is_no_guess(settings: Settings) -> None:
    with served(settings, api_keys=("right",)) as client:

        def ask(key: str) -> int:
            return client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code

        made = client.post("/v1/keys", json={"owner": "ada"}, headers={"Authorization": "Bearer right"}).json()
        assert {ask("revoked") for _ in range(3 * WRONG_KEYS)} == {401}
        assert {client.get("/v1/jobs").status_code for _ in range(3 * WRONG_KEYS)} == {401}
        assert {ask(f"guess {n}") for n in range(WRONG_KEYS - 1)} == {401}
        assert ask("one guess more") == 429
        assert ask("right") == 429
        assert ask(made["data"][0]["key"]) == 200


def test_who_guessed_may_try_again_later() -> None:
    clock = Clock()
    limits = made(clock, "")
    for n in range(WRONG_KEYS):
        limits.note_wrong_key("1.2.3.4", f"Bearer {n}")
    limits.check_address("5.6.7.8")
    with pytest.raises(TooMany):
        limits.check_address("1.2.3.4")
    clock.now += rates.WRONG_KEYS_SECONDS
    limits.check_address("1.2.3.4")

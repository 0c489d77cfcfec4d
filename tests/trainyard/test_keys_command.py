"""`trainyard keys ...`, as a real process."""

import csv
import io
import json

from tests.trainyard.conftest import StandIn
from tests.trainyard.test_main import trainyard

KEY = {
    "id": "key_1",
    "owner": "student01",
    "scopes": ["read", "predict", "submit"],
    "created_at": "2026-01-01T00:00:00.000000Z",
    "revoked_at": None,
}


def test_a_class_as_csv_that_a_spreadsheet_reads(stand_in: StandIn) -> None:
    made = [KEY | {"key": "ty_a"}, KEY | {"id": "key_2", "owner": "student02", "key": "ty_b"}]
    stand_in.routes["/v1/keys"] = (201, {"data": made, "next": None})
    done = trainyard(
        "--key", "root", "keys", "create", "--count", "2", "--prefix", "student", "--csv", url=stand_in.url
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["owner"], row["key"]) for row in rows] == [("student01", "ty_a"), ("student02", "ty_b")]
    assert rows[0]["scopes"] == "read predict submit"
    assert "shown this once" in done.stderr
    [request] = stand_in.requests
    assert json.loads(request["body"]) == {"owner": "student", "count": 2}
    assert request["headers"]["Authorization"] == "Bearer root"


def test_one_key_with_scopes(stand_in: StandIn) -> None:
    stand_in.routes["/v1/keys"] = (201, {"data": [KEY | {"key": "ty_a"}], "next": None})
    done = trainyard("keys", "create", "--owner", "ada", "--scopes", "read, admin", url=stand_in.url)
    assert done.stdout == f"student01  ty_a  {KEY['id']}\n"
    assert json.loads(stand_in.requests[0]["body"]) == {"owner": "ada", "scopes": ["read", "admin"]}


def test_what_cannot_be_meant_is_said(stand_in: StandIn) -> None:
    for arguments in ((), ("--count", "3"), ("--owner", "a", "--count", "3"), ("--owner", "a", "--prefix", "b")):
        done = trainyard("keys", "create", *arguments, url=stand_in.url)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: Give --owner NAME for one key, or --count NUMBER and --prefix NAME")
    assert stand_in.requests == []


def test_the_list_tells_which_are_good(stand_in: StandIn) -> None:
    gone = KEY | {"id": "key_2", "revoked_at": "2026-01-02T00:00:00.000000Z"}
    stand_in.routes["/v1/keys"] = (200, {"data": [KEY, gone], "next": None})
    lines = trainyard("keys", "list", url=stand_in.url).stdout.splitlines()
    assert lines[0].split() == ["key_1", "student01", "read,predict,submit", "2026-01-01T00:00:00", "active"]
    assert lines[1].endswith("revoked 2026-01-02T00:00:00")


def test_a_service_without_keys_says_what_the_first_must_be(stand_in: StandIn) -> None:
    stand_in.routes["/v1/keys"] = (409, {"title": "Conflict", "detail": "The first key must have the scope admin."})
    done = trainyard("keys", "create", "--owner", "ada", url=stand_in.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The first key must have the scope admin." in done.stderr

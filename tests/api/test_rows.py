"""No answer has more rows than its limit: every list goes on at `next`."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.deps import Room
from tests.api.conftest import add_version, submit


def pages(client: TestClient, path: str, limit: int) -> list[list[dict[str, Any]]]:
    found, after = [], None
    while True:
        answer = client.get(path, params={"limit": limit} | ({} if after is None else {"after": after}))
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["data"])
        after = answer.json()["next"]
        if after is None:
            return found


def test_models_and_versions_are_read_page_by_page(client: TestClient, room: Room) -> None:
    for name in ("a", "b", "c"):
        add_version(room, says=1, name=name)
    for _ in range(3):
        add_version(room, says=2, name="b")
    assert [[row["name"] for row in page] for page in pages(client, "/v1/models", 2)] == [["a", "b"], ["c"]]
    assert [[row["name"] for row in page] for page in pages(client, "/v1/models", 3)] == [["a", "b", "c"]]
    versions = pages(client, "/v1/models/b/versions", 2)
    assert [[row["version"] for row in page] for page in versions] == [[4, 3], [2, 1]]
    assert client.get("/v1/models/b/versions", params={"after": 1}).json() == {"data": [], "next": None}
    assert client.get("/v1/models/none/versions").status_code == 404


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/studies", "/v1/models", "/v1/models/a/versions"])
@pytest.mark.parametrize("limit", [0, -1, 501])
def test_no_list_is_longer_than_it_may_be(client: TestClient, path: str, limit: int) -> None:
    assert client.get(path, params={"limit": limit}).status_code == 422


def test_every_list_that_can_grow_has_a_limit(client: TestClient) -> None:
    submit(client)
    # These are as long as there are data sets, workers, aliases that people made, files and changes of one job.
    short = {
        "/v1/datasets",
        "/v1/workers",
        "/v1/models/{name}/aliases",
        "/v1/jobs/{job_id}/artifacts",
        "/v1/jobs/{job_id}/changes",
    }
    paths = client.get("/openapi.json").json()["paths"]
    without = set()
    for path, methods in paths.items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = str(answer.get("application/json", {}).get("schema", {}))
        if "/Page_" in schema and "limit" not in {each["name"] for each in methods["get"].get("parameters", [])}:
            without.add(path)
    assert without == short

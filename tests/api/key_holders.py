"""What tests about keys and owners share: the first key, specs, and how others get keys and submit."""

from typing import Any

from fastapi.testclient import TestClient

ROOT = {"Authorization": "Bearer root"}
SPEC = {"dataset": "digits", "epochs": 2}
STUDY = {"base": SPEC, "vary": {"/seed": [1, 2]}}


def make(client: TestClient, owner: str, *scopes: str, headers: dict[str, str] = ROOT) -> dict[str, str]:
    """The headers of a new key."""
    answer = client.post("/v1/keys", json={"owner": owner} | ({"scopes": scopes} if scopes else {}), headers=headers)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['data'][0]['key']}"}


def submit(client: TestClient, headers: dict[str, str], **spec: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=SPEC | spec, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made

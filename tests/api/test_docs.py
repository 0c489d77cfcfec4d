"""The OpenAPI is whole, and the docs need nothing from elsewhere."""

import re

from fastapi.testclient import TestClient

from api.main import create_app
from models.settings import Settings


def test_the_docs_come_from_this_server_alone(client: TestClient) -> None:
    page = client.get("/")
    assert page.url.path == "/docs"
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 3
    for link in links:
        assert link.startswith("/")
        assert client.get(link).status_code == 200


def test_every_route_documents_its_errors_as_problems(client: TestClient) -> None:
    openapi = client.get("/openapi.json").json()
    assert "ProblemDetails" in openapi["components"]["schemas"]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
            for status, answer in operation["responses"].items():
                if status.startswith("4"):
                    form = "application/json" if path.startswith("/v2") else "application/problem+json"
                    assert form in answer["content"], (method, path, status)
            if "requestBody" in operation:
                for kind, content in operation["requestBody"]["content"].items():
                    has_example = "example" in content or "examples" in content or "$ref" in str(content.get("schema"))
                    is_binary = kind.startswith(("image/", "multipart/")) or kind == "application/octet-stream"
                    assert has_example or is_binary, (method, path)


def test_with_keys_the_docs_ask_for_one(settings: Settings) -> None:
    locked = settings.model_copy(update={"api_keys": Settings(api_keys="k").api_keys})
    with TestClient(create_app(locked), base_url="http://127.0.0.1") as client:
        assert client.get("/docs").status_code == 200
        assert "HTTPBearer" in client.get("/openapi.json").json()["components"]["securitySchemes"]

"""The interactive API docs, whole from this machine: a classroom need not reach the internet."""

import base64
import hashlib
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from api.safe_headers import POLICY
from api.security import OPEN_PATHS

SCHEME = "HTTPBearer"
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Serve Swagger UI at /docs, with the files that the package fastapi-swagger carries, and lead / there."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title} API",
        swagger_js_url="/swagger/swagger-ui-bundle.js",
        swagger_css_url="/swagger/swagger-ui.css",
        swagger_favicon_url="/swagger/favicon-32x32.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "persistAuthorization": True},
    )
    page.headers[POLICY.decode()] = _policy(bytes(page.body).decode())
    generate = app.openapi
    app.openapi = lambda: _with_key(generate())  # type: ignore[method-assign]
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return page

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")


def _policy(html: str) -> str:
    """What the page may load: what is on this server, and of scripts inside it the ones it has now."""
    digests = [hashlib.sha256(script.encode()).digest() for script in INLINE_SCRIPT.findall(html)]
    inside = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {inside}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def _with_key(openapi: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the docs' button for a key, which a service may need or not."""
    scheme = {"type": "http", "scheme": "bearer", "description": "needed wherever the service has keys"}
    openapi["components"]["securitySchemes"] = {SCHEME: scheme}
    openapi["security"] = [{SCHEME: []}, {}]
    for path in OPEN_PATHS & openapi["paths"].keys():
        for operation in openapi["paths"][path].values():
            operation["security"] = []
    return openapi

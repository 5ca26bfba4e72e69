"""The page that describes the server, and what a browser is told to keep it from doing there."""

from __future__ import annotations

import base64
import hashlib
import html
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

DOCUMENTS = "/docs"
STATIC = "/static-offline-docs"
# Swagger UI writes styles into its elements, and has pictures in its style sheet.
_REST = (
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_documents(app: FastAPI) -> None:
    """Add the page on which every route can be read and tried.

    It runs the scripts it came with, asks this server alone, and stands in no other site's frame.

    Args:
        app: Serves the page's JavaScript below `STATIC`.
    """
    page = get_swagger_ui_html(
        openapi_url=str(app.openapi_url),
        title=html.escape(app.title),
        swagger_js_url=f"{STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC}/favicon.png",
    )
    digests = [hashlib.sha256(script).digest() for script in _SCRIPT.findall(bytes(page.body))]
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    page.headers.update(
        {
            "content-security-policy": f"default-src 'none'; script-src 'self' {scripts}; {_REST}",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
        }
    )

    @app.get(DOCUMENTS, include_in_schema=False)
    async def documents() -> HTMLResponse:
        return page

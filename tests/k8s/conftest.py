"""The served models of the server's own tests."""

from __future__ import annotations

from tests.promotion.serving.conftest import forest, linear, serve

__all__ = ["forest", "linear", "serve"]

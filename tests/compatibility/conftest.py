"""Servers for the tests of what was made earlier."""

from tests.promotion.serving.conftest import serve

__all__ = ["serve"]

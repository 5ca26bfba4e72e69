"""The promotion layer for MLflow: which version of a model may serve, who decided that, and on what evidence.

Its functions are those of `promotion.api`, loaded when they are asked for: the server in an image has this package
without its dependencies.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promotion.api import approve, check, history, known_bad, list_models, load_model, promote, register, rollback

__all__ = ["approve", "check", "history", "known_bad", "list_models", "load_model", "promote", "register", "rollback"]


def __getattr__(name: str) -> Any:
    """Find a public function."""
    if name in __all__:
        return getattr(import_module("promotion.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, for `help` and for completion."""
    return sorted({*globals(), *__all__})

"""What was measured or decided is a fact: nobody changes it afterwards, and there may be many of them."""

from __future__ import annotations

from typing import Any


def is_fact(kind: Any) -> bool:
    """Whether the instances of a dataclass are frozen, compared by value and without a dictionary of their own."""
    settings = kind.__dataclass_params__
    return bool(settings.frozen and settings.eq and "__slots__" in vars(kind))

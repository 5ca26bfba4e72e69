"""Compare two sets of rules key by key, and say which change loosened them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from promotion.config.explain import fields_under
from promotion.config.schema import FamilyConfig
from promotion.config.values import duration_text
from promotion.rules.kinds import RuleKind, rule_kind, scale_of

_READ = ("files", "signers", "revoked")
"""What was read beside the family's file: what was not there, or not asked for, has not changed."""
_DIGEST_LENGTH = 64
_SHOWN_DIGITS = 12
_FILE = "the family's file"


class Direction(StrEnum):
    """Where a change leads."""

    LOOSER = "looser"
    TIGHTER = "tighter"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One key that is not what it was.

    Attributes:
        key: With dots, as `gates.thresholds.accuracy.minimum`.
        before: What it was; None for nothing.
        after: What it is.
        direction: Whether it asks for less.
    """

    key: str
    before: Any
    after: Any
    direction: Direction

    @property
    def is_looser(self) -> bool:
        """Whether it asks for less than before."""
        return self.direction is Direction.LOOSER

    def __str__(self) -> str:
        return f"{self.key} {self._difference()} ({self.direction})"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"key": self.key, "before": self.before, "after": self.after, "direction": self.direction.value}

    def _difference(self) -> str:
        if isinstance(self.before, list) and isinstance(self.after, list):
            gone = [f"- {_shown(item)}" for item in self.before if item not in self.after]
            come = [f"+ {_shown(item)}" for item in self.after if item not in self.before]
            return ", ".join(gone + come) or "in another order"
        return f"{_shown(self.before)} → {_shown(self.after)}"


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[RuleChange]:
    """What is different between the sections of two sets of rules, in the order of the keys."""
    had, has = ("registered_model" in sections for sections in (before, after))
    if had != has:
        return [RuleChange(_FILE, *(("there", "gone") if had else ("gone", "there")), _ordered(had, has))]
    return list(_compared((), before, after))


def _compared(above: tuple[str, ...], before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[RuleChange]:
    for name in sorted(before.keys() | after.keys()):
        key = (*above, name)
        was, now = (sections[name] if name in sections else _default(key) for sections in (before, after))
        if was == now or (key[0] in _READ and (was is None or now is None)):
            continue
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _compared(key, was, now)
        else:
            yield RuleChange(".".join(key), was, now, _direction(key, was, now))


def _default(key: tuple[str, ...]) -> Any:
    """What a key that is not said means; None for nothing."""
    field = fields_under(FamilyConfig, key[:-1]).get(key[-1])
    value = field.get_default(call_default_factory=True) if field else None
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if isinstance(value, timedelta):
        return duration_text(value)
    return None if value is PydanticUndefined else value


def _direction(key: tuple[str, ...], was: Any, now: Any) -> Direction:
    kind = rule_kind(key)
    if kind in {RuleKind.DEMANDS, RuleKind.ADMITS}:
        return _of_members(kind, was, now)
    if kind is RuleKind.SCALE:
        scale = scale_of(key)
        return _ordered(scale.index(was), scale.index(now)) if {was, now} <= set(scale) else Direction.CHANGED
    if kind in {RuleKind.FLOOR, RuleKind.CEILING, RuleKind.PRESENT} and (was is None or now is None):
        return _ordered(was is not None, now is not None)
    if kind in {RuleKind.FLOOR, RuleKind.CEILING}:
        return _ordered(was, now) if kind is RuleKind.FLOOR else _ordered(now, was)
    return Direction.CHANGED


def _ordered(was: float, now: float) -> Direction:
    return Direction.TIGHTER if now > was else Direction.LOOSER


def _of_members(kind: RuleKind, was: Sequence[str] | None, now: Sequence[str] | None) -> Direction:
    """A list that grew and shrank is looser where either loosens it."""
    if kind is RuleKind.ADMITS and (was is None or now is None):
        return _ordered(was is not None, now is not None)
    come = [item for item in now or () if item not in (was or ())]
    gone = [item for item in was or () if item not in (now or ())]
    loosening, tightening = (gone, come) if kind is RuleKind.DEMANDS else (come, gone)
    if loosening:
        return Direction.LOOSER
    return Direction.TIGHTER if tightening else Direction.CHANGED


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return f"a section ({', '.join(value)})" if value else "a section"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "nobody"
    text = str(value)
    is_digest = len(text) == _DIGEST_LENGTH and set(text) <= set("0123456789abcdef")
    return f"{text[:_SHOWN_DIGITS]}…" if is_digest else text

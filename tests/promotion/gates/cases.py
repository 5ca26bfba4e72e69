"""A candidate whose evidence is sound until a test changes a part of it, and what one gate answers to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.promotion.factories import START, Scored, a_family, a_version, an_entry

from promotion.config.family import FamilyConfig
from promotion.gates import Context, GateResult, run_gates
from promotion.registry.stages import Stage

DIGEST, OTHER = "ab" * 32, "ab" * 31 + "ac"
"""Two digests of which only the last digit differs."""
PRODUCTION = an_entry("tiny-linear", 1, Stage.PRODUCTION)


def a_config(gates: dict[str, Any] | None = None, **changes: Any) -> FamilyConfig:
    """A family that asks for nothing but these gates."""
    return a_family(gates=gates or {}, **changes)


def a_context(config: FamilyConfig | None, **changes: Any) -> Context:
    """A first candidate with some of its evidence changed."""
    evidence = Context(
        config=config,
        candidate=a_version("tiny-forest", 2),
        now=START,
        digest=DIGEST,
        is_loaded=True,
        evaluation=Scored({"roc_auc": 0.9}),
    )
    return replace(evidence, **changes)


def asked(context: Context) -> list[str]:
    """The gates that are asked."""
    return [result.name for result in run_gates("tiny", context).results]


def answer(context: Context, name: str) -> GateResult:
    """What one gate says; it must be asked, and once."""
    (result,) = [result for result in run_gates("tiny", context).results if result.name == name]
    return result


def says(context: Context, name: str) -> tuple[bool, str]:
    """Whether it lets the candidate pass, and what it measured."""
    result = answer(context, name)
    return result.passed, result.measured

"""A version's way into a stage as Markdown: what a pipeline's summary shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from promotion.approving import approval_command, standing_of
from promotion.config.printable import as_markdown, printable
from promotion.service import PromotionPlan, PromotionService

_MENTION = re.compile(r"(?<!\w)@")
"""What calls a person or a team where Markdown is shown."""
_MARK = re.compile(r"[|*~&]")
"""What makes a column, strong or struck text, or another letter, such as the one that calls."""


def promotion_markdown(service: PromotionService, plan: PromotionPlan) -> str:
    """What the gates found, whose word is there and whose is missing."""
    return "\n".join([*_lines(service, plan), ""])


def _lines(service: PromotionService, plan: PromotionPlan) -> Iterator[str]:
    refused = [gate.name for gate in plan.report.refusals]
    verdict = f"❌ may not enter {plan.to}: {', '.join(refused)}" if refused else f"✅ may enter {plan.to}"
    yield f"### {_cell(str(plan.candidate))} ({_cell(plan.report.version)})"
    yield from ("", f"**{_cell(verdict)}**", "")
    yield f"Compared with {_cell(str(plan.production))}." if plan.production else "Nothing is in Production yet."
    yield from ("", "| | gate | measured | required |", "|---|---|---|---|")
    for gate in plan.report.results:
        why = f"<br>{_cell(gate.why)}" if gate.why else ""
        measured = f"{_cell(gate.measured)}{why}"
        yield f"| {'✅' if gate.passed else '❌'} | {_cell(gate.name)} | {measured} | {_cell(gate.required)} |"
    for remark in filter(None, (plan.report.invented, "; ".join(plan.report.rule_changes))):
        yield from ("", f"⚠️ {_cell(remark)}")
    standing = standing_of(service, plan) if service.configs.get(plan.family) else None
    config = service.configs.get(plan.family)
    if standing is None or config is None or config.approvals is None:
        return
    yield from ("", "| | role | approval |", "|---|---|---|")
    for role, word in standing.given.items():
        until = f"until {word.expires_at:%Y-%m-%d %H:%M} UTC"
        yield f"| ✅ | {_cell(role)} | {_cell(word.approver)}, {until}: {_cell(word.comment)} |"
    for role, why in standing.missing.items():
        yield f"| ❌ | {_cell(role)} | {_cell(why)} |"
    if standing.missing:
        model, version = plan.candidate.model, plan.report.version
        commands = [approval_command(model, version, role, config) for role in standing.missing]
        yield from ("", *_block(commands))


def _block(commands: Sequence[str]) -> list[str]:
    """Commands to copy, a line each: no name in them ends the block."""
    return ["```bash", *map(printable, commands), "```"]


def _cell(text: str) -> str:
    """Text from outside in a table's cell: neither a column of its own, nor markup."""
    return _MARK.sub(r"\\\g<0>", _MENTION.sub("@\u2060", as_markdown(text)))

"""The month's events as CSV (RFC 4180), one a row, for whoever counts, filters or keeps them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from promotion.compliance.facts import Act
from promotion.compliance.report import Compliance
from promotion.config.printable import as_cell
from promotion.rules.history import rules_of

_AS_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode

COLUMNS: dict[str, Callable[[Act], Any]] = {
    "sequence": lambda act: act.event.sequence,
    "at": lambda act: act.event.at.isoformat(timespec="microseconds"),
    "operation": lambda act: act.event.operation,
    "family": lambda act: act.event.family,
    "model": lambda act: act.model,
    "number": lambda act: act.number,
    "version": lambda act: act.version,
    "action": lambda act: act.event.action,
    "from_stage": lambda act: act.event.from_stage.value,
    "to_stage": lambda act: act.event.to_stage.value,
    "actor": lambda act: act.event.actor,
    "approver": lambda act: act.approver or act.event.actor,
    "reason": lambda act: act.event.reason,
    "override": lambda act: "; ".join(act.overridden),
    "refused": lambda act: "; ".join(act.refused),
    "clock": lambda act: act.event.details.get("clock", ""),
    "artifact_sha256": lambda act: act.digest,
    "gate_report": lambda act: act.report.id if act.report else "",
    "gate_report_digest": lambda act: act.report.digest if act.report else "",
    "gate_report_passed": lambda act: str(act.report.passed).lower() if act.report else "",
    "evidence": lambda act: (act.report.evidence or "") if act.report else "",
    "rules": lambda act: rules_of(act.event).get("digest", ""),
    "rules_state": lambda act: rules_of(act.event).get("state", ""),
    "rules_commit": lambda act: rules_of(act.event).get("commit") or "",
    "details": lambda act: _AS_JSON(act.event.details),
    "hash": lambda act: act.event.hash,
}
"""Header and content of each column; docs/COMPLIANCE.md says what they mean."""


def row(act: Act) -> dict[str, Any]:
    """One event by column."""
    return {name: value(act) for name, value in COLUMNS.items()}


def table(report: Compliance) -> str:
    """Every event of the month in the order of the chain, below a header; also those that are dated in another month.

    Cells that a spreadsheet program would take for a formula begin with an apostrophe.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    values = COLUMNS.values()
    inside = {act.event.sequence for act in report.acts}
    outside = [item.act for item in report.misdated if item.act.event.sequence not in inside]
    acts = sorted([*report.acts, *outside], key=lambda act: act.event.sequence)
    writer.writerows([harmless_cell(value(act)) for value in values] for act in acts)
    return text.getvalue()


def harmless_cell(cell: Any) -> Any:
    """A cell that no spreadsheet program runs, in one line."""
    return as_cell(cell) if isinstance(cell, str) else cell

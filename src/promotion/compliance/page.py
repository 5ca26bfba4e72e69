"""The monthly compliance report as a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from promotion.compliance.report import Compliance
from promotion.compliance.spreadsheet import row
from promotion.pages import render_page, write

ROWS = 500
"""Largest number of rows a table of the page shows; it says so, and the spreadsheet has all of them."""

_SECTIONS = {
    "overrides": "Overrides",
    "rules": "Rules",
    "rehearsals": "Clock set by hand",
    "misdated": "Dated out of order",
    "production": "In Production",
    "promotions": "Promotions",
    "rollbacks": "Rollbacks",
    "refusals": "Refusals",
    "approvals": "Approvals",
    "outside": "Past the journal",
    "incidents": "Incidents",
    "versions": "Versions",
    "retention": "Retention",
    "reviews": "Reviews of the rules",
    "trainings": "Registrations",
    "others": "Other records",
}


def write_compliance_page(report: Compliance, path: Path, *, spreadsheet: Path, journal_exists: bool) -> None:
    """Write the report as a self-contained page.

    Raises:
        PromotionError: It cannot be written.
    """
    optional = {
        "rules": report.rule_steps,
        "rehearsals": report.rehearsals,
        "misdated": report.misdated,
        "others": report.others,
    }
    absent = {name for name, facts in optional.items() if not facts}
    page = render_page(
        Path(__file__).with_name("compliance.html.j2"),
        report=report,
        journal_exists=journal_exists,
        is_broken=report.verification is not None and not report.verification.intact,
        tiles=tiles(report),
        sections=[(name, title) for name, title in _SECTIONS.items() if name not in absent],
        share=_share(report),
        spreadsheet=spreadsheet.name,
        limit=ROWS,
    )
    write(path, page)


def tiles(report: Compliance) -> list[tuple[int, str, bool]]:
    """The month in figures: how many, of what, and whether any is one too many."""
    said = report.reviewed
    return [
        (len(report.promotions), "promotions", False),
        (len(report.overrides), "overrides", True),
        (len(report.rollbacks), "rollbacks", False),
        (len(report.of("refuse")), "refusals", False),
        (sum(act.event.action == "approve" for act in said), "approvals", False),
        (sum(act.event.action == "reject" for act in said), "rejections", False),
        (len(report.of("quarantine")), "quarantines", True),
        (len(report.incidents), "incidents", False),
    ]


def document(report: Compliance) -> dict[str, Any]:
    """The month as plain data, the events of its moves as the spreadsheet has them."""
    moves = {"overrides": report.overrides, "promotions": report.promotions, "rollbacks": report.rollbacks}
    return {
        "month": str(report.month),
        "family": report.family,
        "journal": report.journal,
        "events": len(report.acts),
        "counts": {what: number for number, what, _ in tiles(report)},
        "alerts": report.alerts,
        "remark": report.remark,
        "rules": [step.as_json() for step in report.rule_steps],
        "misdated": [
            {**row(item.act), "after": item.after and item.after.isoformat(), "before": item.before.isoformat()}
            for item in report.misdated
        ],
        **{name: [row(operation.main) for operation in operations] for name, operations in moves.items()},
        "verification": asdict(report.verification) if report.verification else None,
    }


def _share(report: Compliance) -> Callable[[datetime], str]:
    month = report.month

    def share(at: datetime) -> str:
        return f"{100 * (at - month.start) / (month.end - month.start):.2f}%"

    return share

"""Write the monthly compliance report: a page for people, a spreadsheet of every event."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import gc
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings

if TYPE_CHECKING:
    from promotion.compliance.report import Compliance

NOT_SOUND = 3


@command()
@click.option("--month", required=True, metavar="YYYY-MM", help="The month, in UTC.")
@click.option("--model", "family", metavar="FAMILY", help="Only this family.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; reports/compliance in the home folder by default.",
)
@click.option("--verify", is_flag=True, help="Verify every record of the journal and say so in the report.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(month: str, family: str | None, output: Path | None, *, verify: bool, as_json: bool) -> None:
    """Report a month's promotions, overrides, refusals, approvals, rollbacks and what must be kept, from the journal.

    Writes compliance-YYYY-MM.html and .csv; with --model the family's name is part of theirs.

    Exit codes: 0 written, 1 failed, 2 usage or configuration, 3 written, but --verify found records that were changed.
    """
    from promotion.compliance.facts import Month
    from promotion.compliance.page import document, write_compliance_page
    from promotion.compliance.report import collect, verified
    from promotion.compliance.spreadsheet import table
    from promotion.config.family import load_configs
    from promotion.journal.database import Database
    from promotion.journal.journal import Journal
    from promotion.pages import write

    settings = Settings.from_environment()
    asked = Month.parse(month)
    journal = Journal(Database(settings.database_url))
    verification = verified(journal, settings) if verify else None
    report = collect(journal, load_configs(settings.config_folder), asked, family, verification)
    folder = output or settings.home / "reports" / "compliance"
    name = "-".join(["compliance", str(asked), *([re.sub(r"[^\w.-]", "_", family)] if family else [])])
    page, spreadsheet = folder / f"{name}.html", folder / f"{name}.csv"
    write(spreadsheet, table(report))
    write_compliance_page(report, page, spreadsheet=spreadsheet, journal_exists=journal.exists)
    exit_code = NOT_SOUND if verification and not verification.intact else 0
    if as_json:
        files = {"page": str(page), "spreadsheet": str(spreadsheet)}
        echo(json.dumps({"exit_code": exit_code, **document(report), **files}, indent=2))
    else:
        _say(report, page, spreadsheet)
    if exit_code:
        talk("the journal is NOT sound: python scripts/audit.py verify lists every finding", colour="red")
        click.get_current_context().exit(exit_code)


def _say(report: Compliance, page: Path, spreadsheet: Path) -> None:
    from promotion.compliance.page import tiles

    for alert in report.alerts:
        talk(f"⚠️ {alert}", colour="yellow")
    for problem in report.unreadable:
        talk(f"❌ its rules are not in the report: {problem}", colour="red")
    figures = ", ".join(
        f"{number:,} {what[:-1] if number == 1 else what}" for number, what, _ in tiles(report) if number
    )
    echo(f"📋 Compliance {report.month}: {figures or 'nothing was recorded'}")
    echo(f"✅ {page}")
    echo(f"✅ {spreadsheet}")


if __name__ == "__main__":
    # Looking for cycles among a hundred thousand small records, which have none, takes as long as making them.
    gc.disable()
    main()

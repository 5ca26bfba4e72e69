"""The record: prove that nobody rewrote it, show it, export it, report a month of it for the auditor."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.cli.console import (
    AS_JSON,
    COUNT,
    MOMENT,
    NEW_FILE,
    command,
    echo,
    echo_json,
    open_record,
    remark_clock,
    talk,
    task_bars,
)
from promotion.config.settings import Settings
from promotion.errors import UsageError

if TYPE_CHECKING:
    from promotion.compliance.report import Compliance
    from promotion.journal.journal import Journal
    from promotion.signing.keys import Keys

_SHOWN = 100
_NOT_SOUND = 3
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@command()
@click.argument("action", type=click.Choice(["verify", "show", "export", "attestation"]))
@click.option("--model", "family", metavar="FAMILY", help="show, export: only this family; attestation: of it.")
@click.option("--version", help="show, attestation: this version of the family, by number or semantic version.")
@click.option("--since", type=MOMENT, help="show: not before (UTC).")
@click.option("--until", type=MOMENT, help="show: before (UTC).")
@click.option("--limit", type=COUNT, default=_SHOWN, show_default=True, help="show: the newest so many.")
@click.option("--output", type=NEW_FILE, help="export, attestation: the file to write, JSON lines.")
@click.option("--export", "exported", type=NEW_FILE, help="verify: an exported file instead of the database.")
@click.option("--checkpoints", type=_FOLDER, help="but show: where they are [PROMOTION_CHECKPOINTS].")
@click.option("--keys", type=_FOLDER, help="verify, attestation: the keys that are believed [PROMOTION_TRUSTED_KEYS].")
@AS_JSON
def audit_command(
    *,
    action: str,
    family: str | None,
    version: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    output: Path | None,
    exported: Path | None,
    checkpoints: Path | None,
    keys: Path | None,
    as_json: bool,
) -> None:
    """Look behind the journal: verify that nobody changed it, show its events, export it, print an attestation.

    Exit codes: 0 sound, or shown, or exported; 1 cannot be read; 2 usage; 3 verify found something wrong, or the
    attestation is missing or not what was signed; 5 there is no promotion that one is due of.
    """
    settings = Settings.from_environment()
    if action == "verify":
        _verify(settings, exported, checkpoints, keys, as_json=as_json)
    elif action == "show":
        _show(settings, family, version, (since, until), limit, as_json=as_json)
    elif action == "attestation":
        _attestation(settings, family, version, output, (checkpoints, keys), as_json=as_json)
    else:
        _export(settings, family, output, checkpoints, as_json=as_json)


def _verify(
    settings: Settings, exported: Path | None, checkpoints: Path | None, keys: Path | None, *, as_json: bool
) -> None:
    from promotion.audit import verify_journal
    from promotion.audit.attestations import read_attestations
    from promotion.audit.checkpoints import checkpoint_folder, read_checkpoints
    from promotion.audit.export import ExportSource
    from promotion.audit.listing import report_lines
    from promotion.audit.source import JournalSource

    trusted = _keys(keys).trusted()
    folder = checkpoints or checkpoint_folder(settings)
    source = ExportSource(exported) if exported else JournalSource(open_record(settings))
    found, unreadable = read_checkpoints(folder)
    attested = read_attestations(folder)
    with task_bars() as bars:
        report = verify_journal(
            source,
            found,
            trusted,
            unreadable=unreadable,
            attestations=attested,
            progress=lambda events: bars("verifying events", events, 0),
        )
    exit_code = 0 if report.is_sound else _NOT_SOUND
    if as_json:
        echo_json({"exit_code": exit_code, **report.as_json()}, indent=2)
    else:
        echo(*report_lines(report))
    if exit_code:
        what = f"the journal is NOT sound: {report.count} findings; keep it and its checkpoints as they are"
        talk(what, colour="red")
        click.get_current_context().exit(exit_code)


def _keys(folder: Path | None) -> Keys:
    from promotion.signing.keys import Keys

    known = Keys.from_environment()
    return replace(known, trusted_folder=folder) if folder else known


def _attestation(
    settings: Settings,
    family: str | None,
    version: str | None,
    output: Path | None,
    folders: tuple[Path | None, Path | None],
    *,
    as_json: bool,
) -> None:
    from promotion.audit.attestations import Attestations
    from promotion.audit.checkpoints import checkpoint_folder
    from promotion.audit.listing import entries_of
    from promotion.data.files import write_whole
    from promotion.errors import NothingToDo
    from promotion.journal.database import Database
    from promotion.journal.journal import Journal

    if family is None:
        raise UsageError("attestation needs --model: of which family")
    checkpoints, keys = folders
    journal = Journal(Database(settings.database_url))
    serving = journal.production(family)
    entries = entries_of(journal, family, version) if version else [serving] if serving else []
    attestations = Attestations(journal, checkpoints or checkpoint_folder(settings), lambda: _keys(keys))
    due = [event for entry in entries if (event := attestations.promotion_of(family, entry))]
    if not due:
        raise NothingToDo(f"{family!r}: no attestation is due of {version or 'what is in Production'}")
    event = max(due, key=lambda event: event.sequence)
    text = attestations.text(event)
    message = f"{event.model} v{event.number} ({event.version}): attested, event {event.sequence}"
    if output:
        write_whole(output, text)
    if as_json:
        echo_json({"exit_code": 0, "message": message, "file": str(output or ""), "envelope": json.loads(text)})
    elif output:
        echo(f"✅ {message}: {output}")
    else:
        echo(text.rstrip())
        talk(message)


def _show(
    settings: Settings,
    family: str | None,
    version: str | None,
    period: tuple[datetime | None, datetime | None],
    limit: int,
    *,
    as_json: bool,
) -> None:
    from promotion.audit.listing import event_document, event_line, newest_events
    from promotion.rules.history import RuleHistory, changes_line

    if version and not family:
        raise UsageError("--version needs --model: say of which family")
    journal = _record_of(settings, family)
    since, until = (moment and moment.replace(tzinfo=UTC) for moment in period)
    events = newest_events(journal, family, version, since=since, until=until, limit=limit)
    changes = RuleHistory(journal).of_promotions(events)
    if as_json:
        echo_json([event_document(event, changes.get(event.sequence, ())) for event in events], indent=2)
    for event in [] if as_json else events:
        echo(event_line(event))
        if found := changes.get(event.sequence):
            echo(f"        ⚠️ {changes_line(found)}")
    if not events:
        talk("nothing was recorded there")
    elif len(events) == limit:
        talk(f"the newest {limit}; --limit shows more")


def _export(
    settings: Settings, family: str | None, output: Path | None, checkpoints: Path | None, *, as_json: bool
) -> None:
    from promotion.audit.checkpoints import checkpoint_folder, read_checkpoints
    from promotion.audit.export import export
    from promotion.audit.source import JournalSource

    if output is None:
        raise UsageError("export needs --output FILE")
    journal = _record_of(settings, family)
    found, unreadable = read_checkpoints(checkpoints or checkpoint_folder(settings))
    for problem in unreadable:
        talk(f"⚠️ left out: {problem}", colour="yellow")
    events = export(JournalSource(journal, family), found, output, family=family)
    if as_json:
        echo_json({"exit_code": 0, "file": str(output), "events": events, "checkpoints": len(found)})
    else:
        echo(f"✅ {output}: {events:,} events and {len(found)} checkpoints of {journal.name}")


def _record_of(settings: Settings, family: str | None) -> Journal:
    journal = open_record(settings)
    if family and family not in journal.families():
        raise UsageError(f"unknown family {family!r}: nothing of it was ever recorded in {journal.name}")
    return journal


@command()
@click.option("--month", required=True, metavar="YYYY-MM", help="The month, in UTC.")
@click.option("--model", "family", metavar="FAMILY", help="Only this family.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; reports/compliance in the home folder by default.",
)
@click.option("--verify", is_flag=True, help="Verify every record of the journal and say so in the report.")
@AS_JSON
def compliance_command(*, month: str, family: str | None, output: Path | None, verify: bool, as_json: bool) -> None:
    """Report a month's promotions, overrides, refusals, approvals, rollbacks and what must be kept, from the journal.

    Writes compliance-YYYY-MM.html and .csv; with --model the family's name is part of theirs.

    Exit codes: 0 written, 1 failed, 2 usage or configuration, 3 written, but --verify found records that were changed.
    """
    from promotion.bootstrap import open_journal
    from promotion.compliance.facts import Month
    from promotion.compliance.page import document, write_compliance_page
    from promotion.compliance.report import collect, verified
    from promotion.compliance.spreadsheet import table
    from promotion.config.family import load_configs
    from promotion.pages import write

    # Looking for cycles among a hundred thousand small records, which have none, takes as long as making them.
    gc.disable()
    click.get_current_context().call_on_close(gc.enable)
    settings = Settings.from_environment()
    asked = Month.parse(month)
    configs = load_configs(settings.config_folder)
    journal = open_journal(settings, configs)
    remark_clock(journal)
    verification = verified(journal, settings) if verify else None
    report = collect(journal, configs, asked, family, verification)
    folder = output or settings.home / "reports" / "compliance"
    name = "-".join(["compliance", str(asked), *([re.sub(r"[^\w.-]", "_", family)] if family else [])])
    page, spreadsheet = folder / f"{name}.html", folder / f"{name}.csv"
    write(spreadsheet, table(report))
    write_compliance_page(report, page, spreadsheet=spreadsheet, journal_exists=journal.exists)
    exit_code = _NOT_SOUND if verification and not verification.intact else 0
    if as_json:
        files = {"page": str(page), "spreadsheet": str(spreadsheet)}
        echo_json({"exit_code": exit_code, **document(report), **files}, indent=2)
    else:
        _say_compliance(report, page, spreadsheet)
    if exit_code:
        talk("the journal is NOT sound: python scripts/audit.py verify lists every finding", colour="red")
        click.get_current_context().exit(exit_code)


def _say_compliance(report: Compliance, page: Path, spreadsheet: Path) -> None:
    from promotion.compliance.page import tiles

    for alert in report.alerts:
        talk(f"⚠️ {alert}", colour="yellow")
    for line in report.override_lines:
        talk(f"   {line}", colour="yellow")
    if report.remark:
        talk(report.remark)
    for problem in report.unreadable:
        talk(f"❌ its rules are not in the report: {problem}", colour="red")
    figures = ", ".join(
        f"{number:,} {what[:-1] if number == 1 else what}" for number, what, _ in tiles(report) if number
    )
    echo(f"📋 Compliance {report.month}: {figures or 'nothing was recorded'}")
    echo(f"✅ {page}")
    echo(f"✅ {spreadsheet}")

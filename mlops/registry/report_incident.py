"""Record that something is wrong with a version, that it is settled, or list what is open."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import promotion.cli.environment

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.errors import UnknownVersion, UsageError

if TYPE_CHECKING:
    from promotion.journal.records import Entry
    from promotion.journal.reviews import Reviews
    from promotion.reconcile.families import Families


@command()
@click.option("--model-name", metavar="NAME", help="Registered model, or a family that has just one.")
@click.option("--version", metavar="VERSION", help="Semantic version (1.2.0) or MLflow's number.")
@click.option("--severity", type=click.Choice(["critical", "warning", "info"]), help="How bad; critical ones block.")
@click.option("--summary", help="What is wrong.")
@click.option("--close", "closed", type=int, metavar="ID", help="The incident with this number is settled.")
@click.option("--resolution", help="With --close: how it ended.")
@click.option("--list", "is_listing", is_flag=True, help="Show the open incidents.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(
    model_name: str | None,
    version: str | None,
    severity: str | None,
    summary: str | None,
    closed: int | None,
    resolution: str | None,
    is_listing: bool,
    as_json: bool,
) -> None:
    """Report an incident of a version; an open critical one keeps it out of Production.

    MLflow is not asked, so that an incident can be reported while it is down.

    Exit codes: 0 done, 1 failed, 2 usage or configuration.
    """
    from promotion.bootstrap import open_promotions
    from promotion.journal.reviews import Reviews

    service = open_promotions(Settings.from_environment(), report=talk)
    reviews = Reviews(service.journal)
    if is_listing:
        _list(reviews, _entry(service, model_name, version) if model_name and version else None, as_json=as_json)
    elif closed is not None:
        if not (resolution or "").strip():
            raise UsageError("--close needs --resolution: how the incident ended")
        reviews.close_incident(closed, resolution=resolution or "", actor=actor())
        _say(f"incident {closed} is closed", closed, as_json=as_json)
    elif model_name and version and severity and (summary or "").strip():
        entry = _entry(service, model_name, version)
        family = service.journal.family_of(entry)
        number = reviews.open_incident(family, entry, severity=severity, summary=summary or "", actor=actor())
        _say(f"incident {number} of {entry} ({entry.version}) is open: {severity}: {summary}", number, as_json=as_json)
    else:
        raise UsageError(
            "say --model-name, --version, --severity and --summary, or --close ID --resolution, or --list (see --help)"
        )


def _entry(service: Families, model_name: str, version: str) -> Entry:
    from promotion.registry.semver import parse_version

    model = service.registered_model(model_name)
    entry = service.journal.entry(model, parse_version(version))
    if entry is None:
        known = ", ".join(e.version for e in service.journal.entries() if e.model == model) or "none"
        raise UnknownVersion(f"{model} has no version {version}: the journal knows {known}")
    return entry


def _list(reviews: Reviews, entry: Entry | None, *, as_json: bool) -> None:
    incidents = reviews.incidents(entry=entry)
    if as_json:
        echo(json.dumps([asdict(incident) for incident in incidents], default=str, indent=2))
        return
    for incident in incidents:
        echo(
            f"{incident.id}  {incident.opened_at:%Y-%m-%d %H:%M} UTC  {incident.model} v{incident.number}  "
            f"{incident.severity}: {incident.summary} (opened by {incident.opened_by})"
        )
    if not incidents:
        talk("no incident is open")


def _say(message: str, number: int, *, as_json: bool) -> None:
    echo(json.dumps({"exit_code": 0, "message": message, "incident": number}) if as_json else f"✅ {message}")


if __name__ == "__main__":
    main()

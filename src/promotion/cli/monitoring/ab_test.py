"""Compare champion and challenger on live requests, by the labels that arrived."""

from __future__ import annotations

from pathlib import Path

import click

from promotion.approvals.people import actor
from promotion.cli.console import AS_JSON, command, echo, echo_json, remark_clock
from promotion.cli.monitoring.sources import LOG, log_source
from promotion.config.family import load_config
from promotion.config.settings import Settings


@command()
@click.argument("family", metavar="NAME")
@click.option(
    "--labels",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV or Parquet: request_id, row (optional), and label or the target column.",
)
@LOG
@click.option(
    "--effect",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.02,
    show_default=True,
    help="The difference you want to see; how many keys that takes is said.",
)
@click.option("--slice", "column", metavar="COLUMN", help="Also within each value of a feature.")
@click.option("--dry-run", is_flag=True, help="Compare and say; record nothing, write no page.")
@AS_JSON
def ab_test_command(
    *,
    family: str,
    labels: Path,
    source: str | None,
    effect: float,
    column: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compare champion and challenger on live requests, by the labels that arrived; look as often as you like.

    Clients belong to one arm by the key they send (X-Request-Key); each counts once. A shadow is compared row by row.
    What was found is recorded with the challenger, for the gate `ab_test`; the page is reports/ab-test/FAMILY.html.

    Exit codes: 0 compared, whatever the verdict; 1 failed, 2 usage or configuration.
    """
    from promotion.bootstrap import open_journal
    from promotion.monitoring.ab_test.run import AbTestOptions, run_ab_test

    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    journal = open_journal(settings, {family: config})
    remark_clock(journal)
    options = AbTestOptions(log_source(settings, config, source), labels, effect, column, actor(), dry_run)
    found, page = run_ab_test(settings, journal, config, options)
    if as_json:
        echo_json({"exit_code": 0, "message": str(found), "page": str(page) if page else None, **found.as_json()})
        return
    echo(f"📊 {found}")
    echo(f"   a difference of {effect:g} is surely seen with about {found.required_keys:,} keys an arm")
    for each in found.slices:
        keys = f"{each.challenger_keys} and {each.champion_keys} keys"
        echo(f"   {column} {each.group}: {each.low:+.4f} to {each.high:+.4f}, {keys}")
    echo(f"   left out: {', '.join(f'{count:,} {why}' for why, count in found.left_out.items() if count) or 'nothing'}")
    if page:
        echo(f"✅ {page}")

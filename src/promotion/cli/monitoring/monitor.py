"""Watch the version that serves: performance, drift and service against its promotion; tell people, show a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from promotion.cli.console import command
from promotion.cli.monitoring.looks import look_at_all, look_at_one, open_family, rehearse, repeat, try_channels
from promotion.cli.monitoring.sources import LOG, Given, is_template
from promotion.config.settings import Settings
from promotion.config.values import duration
from promotion.errors import UsageError


def _window(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@command()
@click.option("--model", "family", metavar="FAMILY", help="The family to watch.")
@click.option("--all", "everything", is_flag=True, help="Watch every family whose log is known, one after the other.")
@click.option("--deployed", is_flag=True, help="With --all: only what was ever deployed to Production's cluster.")
@click.option("--once", is_flag=True, help="Look once; the default.")
@click.option("--interval", type=click.IntRange(min=1), metavar="SECONDS", help="Look again and again, until stopped.")
@click.option(
    "--window",
    metavar="SPAN",
    callback=_window,
    help="How far back to look, 90s, 5m, 24h or 7d; the family's own by default, 24h where it names none.",
)
@click.option(
    "--labels",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV or Parquet: request_id, row (optional), and label or the target column.",
)
@LOG
@click.option(
    "--replay",
    metavar="SOURCE",
    help="Only rehearse on this log of the past: say what would have been told and done, and when.",
)
@click.option(
    "--export",
    "exports",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Export folder with a version's statistics, once a version; build/export/FAMILY by default.",
)
@click.option(
    "--engine", type=click.Choice(["pandas", "spark"]), default="pandas", show_default=True, help="Who counts the log."
)
@click.option("--dry-run", is_flag=True, help="Look and say; keep nothing, write no page, tell nobody.")
@click.option("--test-alert", is_flag=True, help="Only send a test message to every alert channel.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON; a line a run with --interval.")
def monitor_command(
    *,
    family: str | None,
    everything: bool,
    deployed: bool,
    interval: int | None,
    window: Any,
    labels: Path | None,
    source: str | None,
    replay: str | None,
    exports: tuple[Path, ...],
    engine: Any,
    once: bool,
    dry_run: bool,
    test_alert: bool,
    as_json: bool,
) -> None:
    """Compare the version that answers with what it was at promotion, and tell people what is wrong.

    PROMETHEUS_URL names the Prometheus that is asked for latency, errors and throughput. The page is
    reports/monitoring/FAMILY.html in the home folder.

    A version in Production that is beyond a bound of `monitoring.rollback` for long enough is taken back, in the
    registry and on the cluster, if the family's file says `action: rollback`; otherwise people are told.

    With --all a family that cannot be looked at is said and does not keep the others from it. In --log, --labels and
    --export {family} stands for each one's name, {instance} for its name in the cluster, and there * finds what there
    is. Families whose log nobody names are passed over.

    Exit codes: 0 healthy, told, or not enough data to say; 1 failed, 2 usage or configuration, 3 something is critical,
    or the version was taken back.
    """
    if everything == (family is not None):
        raise UsageError("name a family with --model, or watch every one with --all")
    if once and interval is not None:
        raise UsageError("--once and --interval exclude each other")
    if deployed and not everything:
        raise UsageError("--deployed chooses among all families: add --all")
    if everything and (replay is not None or test_alert or not all(map(is_template, exports))):
        raise UsageError("--replay, --test-alert and an --export without {family} are about one family: --model")
    settings = Settings.from_environment()
    given = Given(source, labels, window, exports, engine, dry_run=dry_run)
    if family is None:
        repeat(interval, lambda: look_at_all(settings, given, is_deployed=deployed, as_json=as_json))
        return
    config, journal = open_family(settings, family)
    if test_alert:
        try_channels(journal, config, as_json=as_json)
    elif replay is not None:
        options = replace(given, source=replay).options(settings, config)
        rehearse(settings, journal, config, options, interval, as_json=as_json)
    else:
        options = given.options(settings, config)
        repeat(interval, lambda: look_at_one(settings, journal, config, options, as_json=as_json))

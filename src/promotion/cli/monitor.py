"""Watch the version that serves: performance, drift and service against its promotion; tell people, show a page."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from promotion.approvals.people import actor
from promotion.cli.console import AS_JSON, command, echo, echo_json, promotions, remark_clock, talk
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import Settings
from promotion.config.values import duration
from promotion.errors import PromotionError, RegistryError, UsageError

if TYPE_CHECKING:
    from promotion.delivery.deploy import Deployer
    from promotion.journal.journal import Journal
    from promotion.monitoring.observe.observation import Observation
    from promotion.monitoring.run import Options, RunOutcome
    from promotion.service import PromotionService

CRITICAL = 3
SOURCE = "PREDICTION_LOG_SOURCE"
NAME = "{family}"


LOG = click.option(
    "--log",
    "source",
    metavar="SOURCE",
    envvar=SOURCE,
    help=f"The prediction log: a .jsonl file, a folder, or a URL such as s3://bucket/folder; also {SOURCE}, "
    "then monitoring.log of the family's file.",
)


def _window(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@command()
@click.option("--model", "family", metavar="FAMILY", help="The family to watch.")
@click.option("--all", "everything", is_flag=True, help="Watch every family whose log is known, one after the other.")
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

    With --all a family that cannot be looked at is said and does not keep the others from it; {family} in --log and
    --labels stands for each one's name. Families whose log nobody names are passed over.

    Exit codes: 0 healthy, told, or not enough data to say; 1 failed, 2 usage or configuration, 3 something is critical,
    or the version was taken back.
    """
    if everything == (family is not None):
        raise UsageError("name a family with --model, or watch every one with --all")
    if once and interval is not None:
        raise UsageError("--once and --interval exclude each other")
    settings = Settings.from_environment()
    given = _Given(source, labels, window, exports, engine, dry_run=dry_run)
    if family is None and (replay is not None or test_alert or exports):
        raise UsageError("--replay, --test-alert and --export are about one family: name it with --model")
    if family is None:
        _repeat(interval, lambda: _look_at_all(settings, given, as_json=as_json))
        return
    config, journal = _open(settings, family)
    if test_alert:
        _test(journal, config, as_json=as_json)
    elif replay is not None:
        options = replace(given, source=replay).options(settings, config)
        _rehearse(settings, journal, config, options, interval, as_json=as_json)
    else:
        options = given.options(settings, config)
        _repeat(interval, lambda: _say(_look(settings, journal, config, options), as_json=as_json))


@dataclass(frozen=True)
class _Given:
    """What the command line says of how to look."""

    source: str | None
    labels: Path | None
    window: Any
    exports: tuple[Path, ...]
    engine: Any
    dry_run: bool

    def options(self, settings: Settings, config: FamilyConfig) -> Options:
        """The same for one family, whose file says the rest."""
        from promotion.monitoring.run import Options

        known, family = config.monitoring_policy, config.family
        named = Path(str(self.labels).replace(NAME, family)) if self.labels else None
        return Options(
            source=_source(settings, config, self.source and self.source.replace(NAME, family)),
            window=self.window,
            labels=named or (settings.home / known.labels if known.labels else None),
            exports=self.exports,
            prometheus=os.environ.get("PROMETHEUS_URL") or None,
            engine=self.engine,
            dry_run=self.dry_run,
        )


def _open(settings: Settings, family: str) -> tuple[FamilyConfig, Journal]:
    from promotion.bootstrap import open_journal

    config = load_config(settings.config_folder, family)
    journal = open_journal(settings, {family: config}, talk)
    remark_clock(journal)
    return config, journal


def _repeat(interval: int | None, look: Callable[[], int]) -> None:
    """Look once and end with what came of it, or again and again."""
    if interval is not None:
        _watch(interval, look)
    elif code := look():
        click.get_current_context().exit(code)


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
    options = AbTestOptions(_source(settings, config, source), labels, effect, column, actor(), dry_run)
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


def _source(settings: Settings, config: FamilyConfig, given: str | None) -> str:
    known = config.monitoring_policy.log
    if (named := given or known) is None:
        family = config.family
        raise UsageError(f"no prediction log: name it with --log or {SOURCE}, or as monitoring.log in {family}'s file")
    # A path of the command line is from where it was typed; one of the file is from the home.
    return named if given or "://" in named else str(settings.home / named)


def _test(journal: Journal, config: FamilyConfig, *, as_json: bool) -> None:
    from promotion.monitoring.alerts.alerter import Alerter

    tested = Alerter(journal, config).test(actor())
    for line in () if as_json else tested.lines():
        echo(line)
    tested.require_accepted()
    if as_json:
        echo_json({"exit_code": 0, "deliveries": tested.as_json()})


def _say_unsettled(settings: Settings, journal: Journal, config: FamilyConfig) -> None:
    """What was changed outside; the monitor itself needs no MLflow."""
    from promotion.config.family import FamilyConfigs
    from promotion.listing import disagreements
    from promotion.reconcile.reconciler import Reconciler
    from promotion.registry.open import open_registry

    reconciler = Reconciler(journal, open_registry(settings), FamilyConfigs({config.family: config}))
    try:
        models = [model for model in reconciler.registry.models() if config.owns(model.name)]
        found = disagreements(models, reconciler, config.family)
    except RegistryError as error:
        talk(f"⚠️ whether anything was changed in MLflow is not known: {error}", colour="yellow")
        return
    for line in found.get(config.family, []):
        talk(line, colour="yellow")


def _look_at_all(settings: Settings, given: _Given, *, as_json: bool) -> int:
    """Look once at every family; the exit code of the worst."""
    from promotion.config.family import load_configs

    configs, codes = load_configs(settings.config_folder), {0}
    for name in sorted({*configs, *configs.broken}):
        try:
            config, journal = _open(settings, name)
            if given.source is None and config.monitoring_policy.log is None:
                talk(f"… {name} is not watched: its file names no log (monitoring.log)", colour="yellow")
                continue
            outcome = _look(settings, journal, config, given.options(settings, config))
            codes.add(_say(outcome, as_json=as_json))
        except PromotionError as error:
            codes.add(1)
            talk(f"{name}: {error}", colour="red")
            if as_json:
                echo_json({"exit_code": 1, "family": name, "message": str(error)})
    return 1 if 1 in codes else max(codes)


def _look(settings: Settings, journal: Journal, config: FamilyConfig, options: Options) -> RunOutcome:
    from promotion.monitoring.alerts.alerter import Alerter
    from promotion.monitoring.alerts.announcements import announcer
    from promotion.monitoring.automatic_rollback import WayBack
    from promotion.monitoring.run import run_monitor

    _say_unsettled(settings, journal, config)

    def deployer(service: PromotionService) -> Deployer:
        from promotion.delivery.bootstrap import open_deployer
        from promotion.delivery.records import Environment

        return open_deployer(settings, service, Environment.PRODUCTION, actor="monitor")

    way_back = WayBack(journal, config, promotions, deployer, announcer(journal, {config.family: config}))
    alerter = Alerter(journal, config, look=_again(config, options))
    try:
        return run_monitor(settings, journal, config, options, alerter.tell, way_back)
    finally:
        if not options.dry_run:
            journal.tell_receivers()


def _again(config: FamilyConfig, options: Options) -> list[str]:
    """The arguments that a message needs to look again: what the family's file does not know, and holds no secret."""
    known, arguments = config.monitoring_policy, []
    if known.log is None and "@" not in options.source:
        arguments += ["--log", options.source if "://" in options.source else str(Path(options.source).absolute())]
    if known.labels is None and options.labels is not None:
        arguments += ["--labels", str(options.labels.absolute())]
    return arguments


def _rehearse(
    settings: Settings, journal: Journal, config: FamilyConfig, options: Options, interval: int | None, *, as_json: bool
) -> None:
    from datetime import timedelta

    from promotion.monitoring.replay import replay
    from promotion.monitoring.run import open_watch

    if config.is_forecast:
        raise UsageError(f"{config.family}: forecasts are not rehearsed; set PROMOTION_CLOCK to a day after the sales")
    watch, known = open_watch(settings, journal, config, options)
    history = journal.history(config.family) if journal.exists else []
    found = list(replay(watch, known, history, None if interval is None else timedelta(seconds=interval)))
    if as_json:
        echo_json({"exit_code": 0, "acts": [it.as_json() for it in found]})
        return
    for it in found:
        heard = ", ".join(it.channels) or "nobody"
        echo(f"{it.at:%Y-%m-%d %H:%M}  {it.act:8}  {it.level or '':8}  {it.version}: {it.text} (to {heard})")
    if not found:
        echo("✅ nobody would have been told, and nothing taken back")


def _watch(interval: int, look: Any) -> None:
    """Look at fixed times; after the first one a run that fails is said and does not end the watch."""
    import signal
    import threading
    import time

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_signal: stopped.set())
    # The first look shows whether the command line is right; later a log may be away for a while.
    look()
    next_time = time.monotonic() + interval
    while not stopped.wait(max(0.0, next_time - time.monotonic())):
        try:
            look()
        except PromotionError as error:
            talk(str(error), colour="red")
        next_time = max(next_time + interval, time.monotonic())


def _say(outcome: RunOutcome, *, as_json: bool) -> int:
    """Say what a run came to; its exit code."""
    exit_code = CRITICAL if outcome.level == "critical" else 0
    if as_json:
        echo_json({"exit_code": exit_code, **outcome.as_json()})
        return exit_code
    if not outcome.observations:
        echo("📊 no version answers: nothing in the log, and nothing in Production")
    for observation, findings in zip(outcome.observations, outcome.findings, strict=True):
        _say_version(observation, findings)
    _say_returned(outcome)
    if outcome.done:
        echo(f"⏪ {outcome.done}")
    if outcome.page is not None:
        echo(f"✅ {outcome.page}")
    for line in outcome.told.lines() if outcome.told else ():
        echo(line)
    return exit_code


def _say_returned(outcome: RunOutcome) -> None:
    returned = outcome.returned
    for trigger in returned.triggers:
        if trigger.problem or any(trigger.bad):
            echo(f"   … rollback: {trigger.text}")
    if returned.outcome:
        echo(f"⏪ {returned.outcome}")
    if returned.checklist:
        echo("Rollback validation:")
    for item in returned.checklist:
        echo(str(item))


def _say_version(observation: Observation, findings: Any) -> None:
    from promotion.monitoring.run import said

    semver = f" ({observation.semver})" if observation.semver else ""
    place = {True: "in Production", False: "not in Production", None: "of no known stage"}[observation.is_production]
    echo(f"📊 {observation}{semver}, {observation.role}, {place}{', answers now' if observation.serves else ''}")
    window = f"from {observation.since:%Y-%m-%d %H:%M} to {observation.until:%Y-%m-%d %H:%M} UTC"
    coverage = observation.coverage
    labelled = "" if coverage is None else f", {observation.labelled:,} labelled ({coverage:.0%})"
    echo(f"   {observation.rows:,} rows {window}{labelled}")
    for name, reading in observation.metrics.items():
        if reading.value is not None and reading.low is not None:
            before = "" if reading.reference is None else f", {reading.reference:.3f} at promotion"
            echo(f"   {name} {reading.value:.3f} ({reading.low:.3f} – {reading.high:.3f}){before}")
    loud, quiet = said(findings)
    for finding in loud:
        sign = "ℹ️" if finding.level == "info" else "⚠️"
        echo(f"   {sign} {finding.level}: {finding.text}")
    for why, found in quiet.items():
        echo(f"   … {why}" if why == found[0].text else f"   … {why}: {', '.join(finding.key for finding in found)}")
    if not findings:
        echo("   ✅ as at promotion")
    counted = [
        f"{number:,} {name.replace('_', ' ')}" for name, number in asdict(observation.left_out).items() if number
    ]
    if observation.serves and counted:
        echo(f"   left out: {', '.join(counted)}")

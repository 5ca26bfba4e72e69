"""Look at one family or all, once or again and again, or rehearse on the past."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from promotion.approvals.people import actor
from promotion.cli.console import FAILED, echo, echo_json, failure_lines, promotions, remark_clock, talk
from promotion.cli.monitoring.output import print_outcome
from promotion.config.family import FamilyConfig, FamilyConfigs, load_config, load_configs
from promotion.config.settings import Settings
from promotion.errors import PromotionError, RegistryError, UsageError

if TYPE_CHECKING:
    from promotion.cli.monitoring.sources import Given
    from promotion.delivery.deploy import Deployer
    from promotion.journal.journal import Journal
    from promotion.monitoring.run import Options, RunOutcome
    from promotion.registry.contract import RegisteredModel, Registry
    from promotion.service import PromotionService


def open_family(settings: Settings, family: str) -> tuple[FamilyConfig, Journal]:
    """A family's file and the journal."""
    from promotion.bootstrap import open_journal

    config = load_config(settings.config_folder, family)
    journal = open_journal(settings, {family: config}, talk)
    remark_clock(journal)
    return config, journal


def repeat(interval: int | None, look: Callable[[], int]) -> None:
    """Look once and end with what came of it, or again and again."""
    if interval is not None:
        _watch(interval, look)
    elif code := look():
        click.get_current_context().exit(code)


def try_channels(journal: Journal, config: FamilyConfig, *, as_json: bool) -> None:
    """Send a test message to each, and say who took it."""
    from promotion.monitoring.alerts.alerter import Alerter

    tested = Alerter(journal, config).test(actor())
    for line in () if as_json else tested.lines():
        echo(line)
    tested.require_accepted()
    if as_json:
        echo_json({"exit_code": 0, "deliveries": tested.as_json()})


class _Listing:
    """What MLflow lists, asked for once for all families; where it is away it is not asked again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def registry(self) -> Registry:
        from promotion.registry.open import open_registry

        return open_registry(self._settings)

    def models(self) -> list[RegisteredModel]:
        """Every registered model."""
        if isinstance(self._listed, RegistryError):
            raise self._listed
        return self._listed

    @cached_property
    def _listed(self) -> list[RegisteredModel] | RegistryError:
        try:
            return self.registry.models()
        except RegistryError as error:
            return error


def _say_unsettled(journal: Journal, config: FamilyConfig, listing: _Listing) -> None:
    """What was changed outside; the monitor itself needs no MLflow."""
    from promotion.listing import disagreements
    from promotion.reconcile.reconciler import Reconciler

    reconciler = Reconciler(journal, listing.registry, FamilyConfigs({config.family: config}))
    try:
        models = [model for model in listing.models() if config.owns(model.name)]
        found = disagreements(models, reconciler, config.family)
    except RegistryError as error:
        talk(f"⚠️ whether anything was changed in MLflow is not known: {error}", colour="yellow")
        return
    for line in found.get(config.family, []):
        talk(line, colour="yellow")


def look_at_one(settings: Settings, journal: Journal, config: FamilyConfig, options: Options, *, as_json: bool) -> int:
    """Look once at a family and say what was seen; the exit code."""
    return print_outcome(_look(settings, journal, config, options, _Listing(settings)), as_json=as_json)


def look_at_all(settings: Settings, given: Given, *, is_deployed: bool, as_json: bool) -> int:
    """Look once at every family, or at every one that was deployed; the exit code of the worst."""
    configs, codes, listing = load_configs(settings.config_folder), {0}, _Listing(settings)
    for name in sorted({*configs, *configs.broken}):
        try:
            config, journal = open_family(settings, name)
            if is_deployed and not _was_deployed(journal, name):
                talk(f"… {name} is not watched: it was never deployed to Production's cluster", colour="yellow")
            elif given.source is None and config.monitoring_policy.log is None:
                talk(f"… {name} is not watched: its file names no log (monitoring.log)", colour="yellow")
            else:
                options = given.options(settings, config)
                outcome = _look(settings, journal, config, options, listing)
                codes.add(print_outcome(outcome, as_json=as_json))
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one, the others are looked at
            codes.add(FAILED)
            lines = failure_lines(error)
            talk(*(f"{name}: {line}" for line in lines), colour="red")
            if as_json:
                echo_json({"exit_code": FAILED, "family": name, "message": "\n".join(lines)})
    return FAILED if FAILED in codes else max(codes)


def _was_deployed(journal: Journal, family: str) -> bool:
    from promotion.delivery.deployments import Deployments
    from promotion.delivery.records import Environment

    return journal.exists and Deployments(journal).newest(family, Environment.PRODUCTION) is not None


def _look(
    settings: Settings, journal: Journal, config: FamilyConfig, options: Options, listing: _Listing
) -> RunOutcome:
    from promotion.monitoring.alerts.alerter import Alerter
    from promotion.monitoring.alerts.announcements import announcer
    from promotion.monitoring.automatic_rollback import WayBack
    from promotion.monitoring.run import run_monitor

    _say_unsettled(journal, config, listing)

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


def rehearse(
    settings: Settings, journal: Journal, config: FamilyConfig, options: Options, interval: int | None, *, as_json: bool
) -> None:
    """Say what would have been told and done, and when."""
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
            talk(*failure_lines(error), colour="red")
        next_time = max(next_time + interval, time.monotonic())

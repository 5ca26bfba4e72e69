"""One run of the monitor: observe, judge, keep, show, tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.export.folder import MANIFEST
from promotion.journal.journal import Journal
from promotion.journal.monitoring import alert_history, newest_runs
from promotion.monitoring.alerts.records import Delivery, Told
from promotion.monitoring.automatic_rollback import Returned, WayBack
from promotion.monitoring.done import last_rollback
from promotion.monitoring.finding import Finding, LevelName, worst
from promotion.monitoring.observe.engines import CountingEngine
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.observe.reference import read_reference
from promotion.monitoring.observe.watch import KnownVersion, Watch
from promotion.monitoring.report.history import known_versions, record_run
from promotion.monitoring.report.page import EARLIER, write_monitoring_page
from promotion.monitoring.thresholds import judge
from promotion.monitoring.watched_contract import watched_contract

ALERTS_SHOWN = timedelta(days=30)
"""How far back the page shows alerts."""


class Tell(Protocol):
    """Whoever tells people what was found."""

    def __call__(self, findings: Sequence[Finding], observation: Observation) -> Told:
        """Tell what is new; an observation without findings is healthy wherever it has rows enough."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a run looks.

    Attributes:
        source: The prediction log.
        window: How far back; the family's own when None.
        labels: File of labels.
        exports: Folders of exports, whose statistics are the references.
        prometheus: Address of Prometheus.
        engine: Who counts.
        dry_run: Whether nothing is kept, written or told.
    """

    source: str
    window: timedelta | None = None
    labels: Path | None = None
    exports: Sequence[Path] = ()
    prometheus: str | None = None
    engine: CountingEngine = "pandas"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run came to.

    Attributes:
        observations: Of every version in the window; the one that serves first.
        findings: Of each of them.
        page: The page that was written; None in a dry run.
        told: What was told to whom; None in a dry run, or when nothing serves.
        returned: What the triggers of the automatic way back said, and what was done.
        done: What was done last, where that was a rollback of the last week.
    """

    observations: Sequence[Observation]
    findings: Sequence[Sequence[Finding]]
    page: Path | None = None
    told: Told | None = None
    returned: Returned = field(default_factory=Returned)
    done: str = ""

    @property
    def level(self) -> LevelName | None:
        """Worst level of the version that serves; critical, too, when a version was taken back."""
        if self.returned.taken_back or worst(self.returned.findings) == "critical":
            return "critical"
        return worst(self.findings[0]) if self.observations and self.observations[0].serves else None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        versions = [
            it.as_json() | {"findings": [finding.as_json() for finding in found]}
            for it, found in zip(self.observations, self.findings, strict=True)
        ]
        return {
            "level": self.level,
            "page": str(self.page) if self.page else None,
            "versions": versions,
            "deliveries": self.told.as_json() if self.told else [],
            "rollback": self.returned.as_json(),
            "done": self.done or None,
        }


def default_export(settings: Settings, family: str) -> Path:
    """Where `scripts/export-model.py` puts a family's export."""
    return settings.home / "build" / "export" / family


def page_path(settings: Settings, family: str) -> Path:
    """The family's page."""
    return settings.home / "reports" / "monitoring" / f"{family}.html"


def open_watch(
    settings: Settings, journal: Journal, config: FamilyConfig, options: Options
) -> tuple[Watch, KnownVersion]:
    """What to look at, and what is known beside it; see `run_monitor`."""
    folders = options.exports or [
        folder for folder in [default_export(settings, config.family)] if (folder / MANIFEST).is_file()
    ]
    received = None if config.has_contract else watched_contract(config, settings.home, folders)
    classes = config.classes if received is None else list(received.classes)
    known = known_versions(journal, config.family, [read_reference(folder, classes) for folder in folders])
    watch = Watch(
        config=config,
        source=options.source,
        until=journal.now(),
        window=options.window or config.monitoring_policy.window,
        labels=options.labels,
        engine=options.engine,
        prometheus=options.prometheus,
        received=received,
    )
    return watch, known


def run_monitor(
    settings: Settings,
    journal: Journal,
    config: FamilyConfig,
    options: Options,
    tell: Tell | None,
    way_back: WayBack | None = None,
) -> RunOutcome:
    """Look once, and do what follows from it.

    Only the version that serves is kept, and told of; challengers, shadows and earlier versions are shown.

    Args:
        settings: Where everything is.
        journal: Knows what is in Production.
        config: The family.
        options: How to look.
        tell: Who tells people; None to tell nobody.
        way_back: Takes the version in Production back; None to leave it there.

    Raises:
        UsageError: There is no log, no file of labels, or no export in a folder that was named.
        DataError: One of them cannot be read.
        JournalError: The journal cannot be read or written.
    """
    policy = config.monitoring_policy
    watch, known = open_watch(settings, journal, config, options)
    observations = _observe(watch, known)
    findings = [judge(observation, policy) for observation in observations]
    warned: list[Finding] = []
    deliveries: list[Delivery] = []

    def warn(found: Sequence[Finding]) -> None:
        if tell is not None and observations[0].serves and observations[0].lately:
            warned.extend(found)
            deliveries.extend(tell([*found, *findings[0]], observations[0]).deliveries)

    returned = way_back.consider(observations, dry_run=options.dry_run, warn=warn) if way_back else Returned()
    if observations:
        findings[0] = [*returned.findings, *findings[0]]
    if options.dry_run:
        return RunOutcome(observations, findings, returned=returned)
    serves = bool(observations) and observations[0].serves
    if serves:
        record_run(journal, observations[0], findings[0], policy.keep)
    path = page_path(settings, config.family)
    judged: list[tuple[Observation, Sequence[Finding]]] = list(zip(observations, findings, strict=True))
    # Before anybody is told: the message leads to the page.
    runs = newest_runs(journal, config.family, EARLIER)
    alerts = alert_history(journal, config.family, watch.until - ALERTS_SHOWN)
    done = last_rollback(journal, config.family, observations[0].arrivals if observations else ())
    write_monitoring_page(path, config, judged, runs, alerts, at=watch.until, done=done)
    told = tell([*warned, *findings[0]], observations[0]) if serves and tell is not None else None
    if told is not None:
        told = replace(told, deliveries=[*deliveries, *told.deliveries])
    return RunOutcome(observations, findings, path, told, returned, done)


def _observe(watch: Watch, known: KnownVersion) -> list[Observation]:
    if not watch.config.is_forecast:
        return observe(watch, known)
    from promotion.monitoring.observe.forecasts import observe_forecasts

    return observe_forecasts(watch, known)


def said(findings: Sequence[Finding]) -> tuple[list[Finding], Mapping[str, list[Finding]]]:
    """What has a level, and what has none by the reason, so that twenty features with few rows are one line."""
    loud = [finding for finding in findings if finding.level is not None]
    quiet: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.level is None:
            quiet.setdefault(finding.reason, []).append(finding)
    return loud, quiet

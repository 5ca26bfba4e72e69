"""The page that says at a glance what is going on: `reports/monitoring/<family>.html`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from promotion.config.family import FamilyConfig
from promotion.config.policy import Monitoring
from promotion.journal import clock
from promotion.journal.monitoring import MonitoringRun
from promotion.journal.records import Alert
from promotion.monitoring.finding import LEVELS, Finding, LevelName, worst
from promotion.monitoring.observe.observation import Drift, Observation
from promotion.pages import page_link, render_page, write
from promotion.pages.charts import Line, Mark, Timeline

EARLIER = 50
"""How many earlier runs are shown."""
DISTRIBUTIONS = 8
"""How many distributions are shown in full: those that moved most."""

_SERVICE = {
    "latency_p95_ms": ("latency p95, ms", "latency_ms", "g"),
    "error_rate": ("error rate", "error_rate", ".3g"),
    "throughput": ("requests a second", "", "g"),
}
_SECTIONS = {
    "findings": "Findings",
    "trend": "Trend",
    "performance": "Performance",
    "groups": "Groups",
    "drift": "Drift",
    "values": "Values",
    "alerts": "Alerts",
    "versions": "Versions",
    "earlier": "Earlier runs",
}

Judged = tuple[Observation, Sequence[Finding]]


def write_monitoring_page(  # each is a part of the page
    path: Path,
    config: FamilyConfig,
    judged: Sequence[Judged],
    runs: Sequence[MonitoringRun],
    alerts: Sequence[Alert],
    *,
    at: datetime,
    done: str = "",
) -> None:
    """Write the family's page.

    Args:
        path: Of the page.
        config: The family.
        judged: Every version of the window with its findings; the one that serves first.
        runs: Earlier runs, newest first.
        alerts: What people were told of until this run, newest first.
        at: When was looked, UTC.
        done: What was done last, in one line.

    Raises:
        PromotionError: It cannot be written.
    """
    policy = config.monitoring_policy
    serving, findings = judged[0] if judged and judged[0][0].serves else (None, ())
    home = path.parents[2]
    page = render_page(
        Path(__file__).with_name("monitoring.html.j2"),
        family=config.family,
        it=serving,
        level=worst(findings),
        loud=[finding for finding in findings if finding.level],
        quiet=[finding for finding in findings if not finding.level],
        findings=findings,
        tiles=_tiles(serving) if serving else [],
        timelines=timelines(serving, policy, _before(serving, judged)) if serving else [],
        drifts=_ranked(serving) if serving else [],
        scale=_scale(serving, policy) if serving else 1.0,
        bounds=_psi_bounds(policy),
        distributions=_distributions(serving, findings) if serving else [],
        judged=[(observation, worst(found), found) for observation, found in judged],
        runs=runs,
        alerts=alerts,
        runbooks=[(name, target, page_link(target, path, home)) for name, target in config.contacts.runbooks.items()],
        sections=[(name, title) for name, title in _SECTIONS.items() if _has(name, serving)],
        policy=policy,
        at=at,
        done=done,
        is_rehearsal=clock.is_set(),
    )
    write(path, page)


def _has(section: str, serving: Observation | None) -> bool:
    if section == "groups":
        return bool(serving and serving.groups)
    return bool(serving) or section in {"alerts", "versions", "earlier"}


def timelines(observation: Observation, policy: Monitoring, before: Sequence[Observation] = ()) -> list[Timeline]:
    """A trend for every metric that was measured, with the bounds that are set for it.

    Args:
        observation: Of the version that serves.
        policy: The family's bounds.
        before: Of the versions that served before it in the window.
    """
    found = []
    for name, reading in observation.metrics.items():
        if (ends := _labelled_ends(observation)) is None:
            break
        lines = _promotion_lines(name, reading.reference, policy)
        earlier = [(at, value) for other in before for at, value in _points(other, name) if ends[0] <= at <= ends[1]]
        found.append(Timeline(name, *ends, _points(observation, name), earlier, lines, _marks(observation, *ends)))
    ends = observation.since, observation.until
    found += _group_timelines(observation)
    for name, (title, key, spelling) in _SERVICE.items():
        points = _points(observation, name)
        if any(value is not None for _, value in points):
            lines = _bound_lines(key, policy) if key else []
            found.append(Timeline(title, *ends, points, (), lines, _marks(observation, *ends), spelling))
    return [it for it in found if it.measured]


def _group_timelines(observation: Observation) -> list[Timeline]:
    """How each group of the segments is answered over time, beside the value of all rows at promotion."""
    found = []
    for name, group in observation.groups.items():
        metric = next((it for it in ("accuracy", "rmse") if it in group.metrics), None)
        ends = _labelled_ends(group)
        if metric and ends:
            lines = [Line(value, "reference", "at promotion")] if (value := group.metrics[metric].reference) else []
            found.append(Timeline(f"{metric} of {name}", *ends, _points(group, metric), (), lines, []))
    return found


def _points(observation: Observation, name: str) -> list[tuple[datetime, float | None]]:
    """Middle and value of the steps in which something of the kind was to be measured."""
    is_service = name in _SERVICE
    return [
        (step.since + (step.until - step.since) / 2, step.values.get(name))
        for step in observation.slices
        if (name in step.values if is_service else not _SERVICE.keys() & step.values.keys() and step.labelled)
    ]


def _labelled_ends(observation: Observation) -> tuple[datetime, datetime] | None:
    if observation.labelled_since is None or observation.labelled_until is None:
        return None
    return observation.labelled_since, observation.labelled_until


def _before(serving: Observation, judged: Sequence[Judged]) -> list[Observation]:
    return [it for it, _ in judged if it.role == serving.role and it is not serving]


def _marks(observation: Observation, since: datetime, until: datetime) -> list[Mark]:
    """Where another version took over."""
    return [Mark(it.at, f"{it.model} v{it.version}") for it in observation.arrivals[1:] if since <= it.at <= until]


def _promotion_lines(name: str, reference: float | None, policy: Monitoring) -> list[Line]:
    if reference is None:
        return []
    lines = [Line(reference, "reference", "at promotion")]
    if name == "accuracy":
        drops = (("critical", policy.critical.accuracy_drop), ("warning", policy.warning.accuracy_drop))
        lines += [Line(reference - drop, level, level) for level, drop in drops if drop is not None]
    elif name == "rmspe":
        rises = (("critical", policy.rmspe_rise.critical), ("warning", policy.rmspe_rise.warning))
        lines += [Line(reference + rise, level, level) for level, rise in rises if rise is not None]
    return lines


def _bound_lines(key: str, policy: Monitoring) -> list[Line]:
    alerts = (("rollback", policy.rollback), ("critical", policy.critical), ("warning", policy.warning))
    found = [(level, getattr(alert, key)) for level, alert in alerts]
    return [Line(bound, "critical" if level == "rollback" else level, level) for level, bound in found if bound]


def _tiles(observation: Observation) -> list[tuple[str, str]]:
    """The figures people ask for first; what is unknown is a dash."""
    service = observation.service
    first = next((name for name in ("accuracy", "rmspe") if name in observation.metrics), None)
    value = observation.metrics[first].value if first else None
    largest = max((it.psi - it.by_chance for it in observation.drift if it.psi is not None), default=None)
    figures = [
        (first or "performance", value, ".3f"),
        ("error rate", service.error_rate, ".2%"),
        ("latency p95, ms", service.latency_p95_ms, ".3g"),
        ("requests a second", service.throughput, ".3g"),
        ("largest drift, PSI", largest if largest is None else max(largest, 0.0), ".2f"),
        ("rows", observation.rows, ",d"),
        ("labelled", observation.labelled, ",d"),
        ("bad lines", observation.left_out.bad_lines, ",d"),
    ]
    return [(title, "—" if figure is None else f"{figure:{spelling}}") for title, figure, spelling in figures]


def _ranked(observation: Observation) -> list[Drift]:
    """Distributions, the one that moved most first."""
    return sorted(observation.drift, key=lambda it: -1.0 if it.psi is None else it.by_chance - it.psi)


def _psi_bounds(policy: Monitoring) -> list[tuple[LevelName, float]]:
    found = [(level, getattr(policy.psi, level)) for level in reversed(LEVELS)]
    return [(level, bound) for level, bound in found if bound is not None]


def _scale(observation: Observation, policy: Monitoring) -> float:
    """The index at the right end of the bars."""
    bounds = [1.25 * bound for _, bound in _psi_bounds(policy)]
    return max(0.1, *bounds, *(it.psi for it in observation.drift if it.psi is not None))


def _distributions(observation: Observation, findings: Sequence[Finding]) -> list[Drift]:
    moved = {
        finding.key.removeprefix("drift:") for finding in findings if finding.key.startswith("drift:") and finding.level
    }
    return [it for it in _ranked(observation) if it.name in moved][:DISTRIBUTIONS]

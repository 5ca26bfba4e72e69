"""Print what a run of the monitor saw and did."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from promotion.cli.console import echo, echo_json

if TYPE_CHECKING:
    from promotion.monitoring.observe.observation import Observation
    from promotion.monitoring.run import RunOutcome

CRITICAL = 3


def print_outcome(outcome: RunOutcome, *, as_json: bool) -> int:
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
    if observation.serves:
        _say_left_out(observation)


def _say_left_out(observation: Observation) -> None:
    counted = [
        f"{number:,} {name.replace('_', ' ')}" for name, number in asdict(observation.left_out).items() if number
    ]
    if counted:
        echo(f"   left out: {', '.join(counted)}")
    for flaw in observation.flaws:
        if flaw.name == "unreadable_lines" and flaw.part:
            echo(f"   first bad line: {flaw.example}")

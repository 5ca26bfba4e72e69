"""What people see of the registry and the journal, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from promotion.config import FamilyConfig, family_of
from promotion.gates import GateReport
from promotion.journal import Event, Journal
from promotion.registry import ModelVersion, RegisteredModel
from promotion.stages import Stage

HIDDEN_TAGS = ("promotion.", "mlflow.")
"""Prefixes of bookkeeping tags, which listings leave out."""


def model_lines(models: Sequence[RegisteredModel]) -> list[str]:
    """Each registered model with its newest version per stage and their tags."""
    lines: list[str] = []
    for model in models:
        lines += ["", f"📦 {model.name}"]
        if not model.versions:
            lines.append("   (no versions)")
        for version in sorted(model.versions, key=lambda item: -item.number):
            icon = "🏆" if version.stage is Stage.PRODUCTION else "📌"
            lines.append(f"   {icon} Version {version.number} - Stage: {version.stage}")
            lines += [f"      Tag: {key} = {value}" for key, value in shown_tags(version).items()]
    return lines


def shown_tags(version: ModelVersion) -> dict[str, str]:
    """A version's tags by name, without bookkeeping."""
    return {key: value for key, value in sorted(version.tags.items()) if not key.startswith(HIDDEN_TAGS)}


def model_documents(models: Iterable[RegisteredModel]) -> list[dict[str, Any]]:
    """The listing as plain data."""
    return [
        {
            "name": model.name,
            "aliases": dict(model.aliases),
            "versions": [
                {
                    "version": version.number,
                    "stage": version.stage.value,
                    "status": version.status,
                    "run_id": version.run_id,
                    "tags": dict(version.tags),
                }
                for version in sorted(model.versions, key=lambda item: -item.number)
            ],
        }
        for model in models
    ]


def disagreements(
    models: Sequence[RegisteredModel], journal: Journal, configs: Mapping[str, FamilyConfig]
) -> list[str]:
    """Where MLflow does not show what the journal holds, one line each, with what to do."""
    pending = {item.family: item for item in journal.pending()}
    lines = [
        f"⏳ {family}: a move recorded at {item.created_at:%Y-%m-%d %H:%M:%S} UTC is not shown by MLflow yet"
        f"{f' ({item.error})' if item.error else ''}; python scripts/promote-model.py --reconcile finishes it"
        for family, item in pending.items()
    ]
    shown: dict[str, list[ModelVersion]] = {}
    for model in models:
        config = family_of(model.name, dict(configs))
        family = config.family if config else model.name
        shown.setdefault(family, []).extend(item for item in model.versions if item.stage is Stage.PRODUCTION)
    productions = journal.productions()
    for family, versions in shown.items():
        entry = productions.get(family)
        held = {(entry.model, entry.number)} if entry else set()
        if family not in pending and {(item.model, item.number) for item in versions} != held and journal.knows(family):
            seen = ", ".join(str(item) for item in versions) or "no version"
            lines.append(
                f"⚠️ {family}: changed outside: MLflow shows {seen} in Production, the journal holds {entry or 'none'}; "
                "the next promotion, or python scripts/promote-model.py --reconcile, takes it over"
            )
    return lines


def gate_lines(report: GateReport) -> list[str]:
    """The gate report as a table: every gate with what it measured and required."""
    rows = [
        ("✅" if gate.passed else "❌", gate.name, gate.measured, gate.required, gate.why) for gate in report.results
    ]
    name, measured, required = (max(len(row[column]) for row in rows) for column in (1, 2, 3))
    return [f"Gates for {report.candidate}:"] + [
        f"   {icon} {row[0]:<{name}}  {row[1]:<{measured}}  required: {row[2]:<{required}}  {row[3]}".rstrip()
        for icon, *row in rows
    ]


def history_lines(events: Sequence[Event]) -> list[str]:
    """Recorded moves, one line each."""
    return [
        f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event.model} v{event.number}: {event.from_stage} → {event.to_stage}  "
        f"({event.action} by {event.actor}: {event.reason})"
        for event in events
    ]


def event_documents(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Recorded moves as plain data."""
    return [
        {
            "id": event.id,
            "operation": event.operation,
            "family": event.family,
            "model": event.model,
            "version": event.number,
            "action": event.action,
            "from": event.from_stage.value,
            "to": event.to_stage.value,
            "actor": event.actor,
            "reason": event.reason,
            "gate_report_id": event.gate_report_id,
            "at": event.at.isoformat(),
        }
        for event in events
    ]

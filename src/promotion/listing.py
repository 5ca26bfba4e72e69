"""What people see of the registry and the journal, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from promotion.config.family import FamilyConfigs
from promotion.gates import GateReport
from promotion.journal.journal import Journal
from promotion.journal.records import Event
from promotion.reconcile.reconciler import hand_lines
from promotion.registry.contract import ModelVersion, RegisteredModel
from promotion.registry.stages import Stage
from promotion.rules.changes import RuleChange
from promotion.rules.history import changes_line

Semvers = Mapping[tuple[str, int], str]
"""Semantic versions by registered model and MLflow's number."""

NO_CHANGES: Mapping[int, Sequence[RuleChange]] = MappingProxyType({})
HIDDEN_TAGS = ("promotion.", "mlflow.")
"""Prefixes of bookkeeping tags, which listings leave out."""


def model_lines(models: Sequence[RegisteredModel], semvers: Semvers = MappingProxyType({})) -> list[str]:
    """Each registered model with its newest version per stage, their semantic versions and their tags."""
    lines: list[str] = []
    for model in models:
        lines += ["", f"📦 {model.name}"]
        if not model.versions:
            lines.append("   (no versions)")
        for version in sorted(model.versions, key=lambda item: -item.number):
            icon = "🏆" if version.stage is Stage.PRODUCTION else "📌"
            lines.append(f"   {icon} Version {version.number} - Stage: {version.stage}")
            if semver := semvers.get((version.model, version.number)):
                lines.append(f"      Semantic version: {semver}")
            lines += [f"      Tag: {key} = {value}" for key, value in shown_tags(version).items()]
    return lines


def shown_tags(version: ModelVersion) -> dict[str, str]:
    """A version's tags by name, without bookkeeping."""
    return {key: value for key, value in sorted(version.tags.items()) if not key.startswith(HIDDEN_TAGS)}


def model_documents(models: Iterable[RegisteredModel], semvers: Semvers = MappingProxyType({})) -> list[dict[str, Any]]:
    """The listing as plain data."""
    return [
        {
            "name": model.name,
            "aliases": dict(model.aliases),
            "versions": [
                {
                    "version": version.number,
                    "semver": semvers.get((version.model, version.number)),
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


def disagreements(models: Sequence[RegisteredModel], journal: Journal, configs: FamilyConfigs) -> list[str]:
    """Where rows, events and MLflow say different things, one line each, with what to do."""
    pending = {item.family: item for item in journal.pending()}
    lines = [
        f"⏳ {family}: a move recorded at {item.created_at:%Y-%m-%d %H:%M:%S} UTC is not shown by MLflow yet"
        f"{f' ({item.error})' if item.error else ''}; python scripts/promote-model.py --reconcile finishes it"
        for family, item in pending.items()
    ]
    productions = journal.productions()
    by_hand = journal.changed_rows()
    for family, found in by_hand.items():
        seen = "; ".join(hand_lines(found))
        lines.append(_outside(family, f" by SQL: {seen}", configs, is_emptied=family not in productions))
    shown: dict[str, list[ModelVersion]] = {}
    for model in models:
        if not configs.is_certain(model.name):
            continue
        config = configs.owner(model.name)
        family = config.family if config else model.name
        shown.setdefault(family, []).extend(item for item in model.versions if item.stage is Stage.PRODUCTION)
    for family, versions in shown.items():
        entry = productions.get(family)
        held = {(entry.model, entry.number)} if entry else set()
        is_explained = family in pending or family in by_hand
        if not is_explained and {(item.model, item.number) for item in versions} != held and journal.knows(family):
            seen = ", ".join(str(item) for item in versions) or "no version"
            what = f": MLflow shows {seen} in Production, the journal holds {entry or 'none'}"
            lines.append(_outside(family, what, configs))
    return lines


def _outside(family: str, what: str, configs: FamilyConfigs, *, is_emptied: bool = False) -> str:
    config = None if family in configs.broken else configs.get(family)
    restore = f"python scripts/promote-model.py --restore --model {family} --reason WHY puts back what was recorded"
    if is_emptied:
        return f"❌ {family}: NO PRODUCTION: changed outside{what}; {restore}"
    if config and config.approvals:
        return (
            f"🔒 {family}: QUARANTINED: changed outside{what}; export and deploy refuse until every approval is given "
            f"and python scripts/promote-model.py --reconcile --model {family} ratifies it, or {restore}"
        )
    return (
        f"⚠️ {family}: changed outside{what}; the next promotion, or python scripts/promote-model.py --reconcile, "
        "takes it over"
    )


def gate_lines(report: GateReport) -> list[str]:
    """The gate report as a table: every gate with what it measured and required, and below it why it refused."""
    name, measured = (max(len(getattr(gate, field)) for gate in report.results) for field in ("name", "measured"))
    lines = [f"Gates for {report.candidate}:"]
    for gate in report.results:
        icon = "✅" if gate.passed else "❌"
        lines.append(f"   {icon} {gate.name:<{name}}  {gate.measured:<{measured}}  required: {gate.required}")
        if gate.why:
            lines.append(f"      → {gate.why}")
    if report.rule_changes:
        lines.append(f"   ⚠️ rules changed since the last promotion: {'; '.join(report.rule_changes)}")
    return lines


def history_lines(events: Sequence[Event], changes: Mapping[int, Sequence[RuleChange]] = NO_CHANGES) -> list[str]:
    """Recorded acts, one line each: a move with where from and to, anything else by its name.

    Args:
        events: The acts.
        changes: By sequence of a promotion, what of its rules is different from the promotion before it.
    """
    lines = []
    for event in events:
        lines.append(_event_line(event))
        if found := changes.get(event.sequence):
            lines.append(f"   ⚠️ {changes_line(found)}")
    return lines


def _event_line(event: Event) -> str:
    semver = f" ({event.version})" if event.version != str(event.number) else ""
    what = f"{event.at:%Y-%m-%d %H:%M:%S} UTC  {event.model} v{event.number}{semver}: "
    if overridden := event.details.get("override"):
        what += f"⚠️ OVERRIDE of {', '.join(overridden)}: "
    approver = event.details.get("approver")
    who = f"by {event.actor}" + (f" for {approver}" if approver and approver != event.actor else "")
    if event.is_move:
        return f"{what}{event.from_stage} → {event.to_stage}  ({event.action} {who}: {event.reason})"
    return f"{what}{event.action}  ({who}: {event.reason})"


def event_documents(
    events: Sequence[Event], changes: Mapping[int, Sequence[RuleChange]] = NO_CHANGES
) -> list[dict[str, Any]]:
    """Recorded acts as plain data; see `history_lines`."""
    return [
        {
            "id": event.id,
            "operation": event.operation,
            "family": event.family,
            "model": event.model,
            "version": event.number,
            "semver": event.version,
            "action": event.action,
            "from": event.from_stage.value,
            "to": event.to_stage.value,
            "actor": event.actor,
            "reason": event.reason,
            "gate_report_id": event.gate_report_id,
            "at": event.at.isoformat(),
            "details": dict(event.details),
            "rule_changes": [change.as_json() for change in changes.get(event.sequence, ())],
        }
        for event in events
    ]

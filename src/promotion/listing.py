"""What people see of the registry and the journal, as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from promotion.gates import GateReport
from promotion.journal.records import Event, Place, place_of
from promotion.reconcile.aliases import may_point_elsewhere
from promotion.reconcile.reconciler import Reconciler
from promotion.registry.contract import ModelVersion, RegisteredModel
from promotion.registry.stages import Stage
from promotion.rules.changes import RuleChange
from promotion.rules.history import changes_line

Semvers = Mapping[tuple[str, int], str]
"""Semantic versions by registered model and MLflow's number."""

NO_CHANGES: Mapping[int, Sequence[RuleChange]] = MappingProxyType({})
RUNS_LOOKED_AT = 20
"""Families of which a listing asks whether the run of what serves was deleted."""

HIDDEN_TAGS = ("promotion.", "mlflow.")
"""Prefixes of bookkeeping tags, which listings leave out."""


def model_lines(models: Sequence[RegisteredModel], semvers: Semvers = MappingProxyType({})) -> list[str]:
    """Each registered model with its versions as the listing has them, their semantic versions and their tags."""
    lines: list[str] = []
    for model in models:
        lines += ["", f"📦 {model.name}"]
        if not model.versions:
            lines.append("   (no versions)")
        for version in sorted(model.versions, key=lambda item: -item.number):
            icon = "🏆" if version.stage is Stage.PRODUCTION else "📌"
            lines.append(f"   {icon} Version {version.number} - Stage: {version.stage}")
            if semver := semvers.get(place_of(version)):
                lines.append(f"      Semantic version: {semver}")
            lines += [f"      Tag: {key} = {value}" for key, value in shown_tags(version).items()]
    return lines


def alias_target_lines(models: Iterable[RegisteredModel]) -> list[str]:
    """Which alias points where, one line each, as MLflow writes it; nothing where there are none."""
    found = [(model.name, *item) for model in models for item in sorted(model.aliases.items())]
    lines = [f"   {model}@{alias} → Version {number}" for model, alias, number in found]
    return ["", "🔗 Aliases:", *lines] if lines else []


def with_every_version(models: Iterable[RegisteredModel], versions: Iterable[ModelVersion]) -> list[RegisteredModel]:
    """A listing with all versions of its models, also those that are superseded and in no stage."""
    found: dict[str, list[ModelVersion]] = {}
    for version in versions:
        found.setdefault(version.model, []).append(version)
    return [replace(model, versions=found.get(model.name, [])) for model in models]


def shown_tags(version: ModelVersion) -> dict[str, str]:
    """A version's tags by name, without bookkeeping."""
    return {key: value for key, value in sorted(version.tags.items()) if not key.startswith(HIDDEN_TAGS)}


def model_documents(
    models: Iterable[RegisteredModel],
    semvers: Semvers = MappingProxyType({}),
    disagree: Callable[[str], Sequence[str]] = lambda _model: (),
) -> list[dict[str, Any]]:
    """The listing as plain data.

    Args:
        models: The listing.
        semvers: Semantic versions of those that have one.
        disagree: What is said of a registered model's family where rows, events and MLflow say different things.
    """
    return [
        {
            "name": model.name,
            "aliases": dict(model.aliases),
            "disagreements": list(disagree(model.name)),
            "versions": [
                {
                    "version": version.number,
                    "semver": semvers.get(place_of(version)),
                    "stage": version.stage.value,
                    "aliases": sorted(alias for alias, number in model.aliases.items() if number == version.number),
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
    models: Sequence[RegisteredModel], reconciler: Reconciler, only: str | None = None
) -> dict[str, list[str]]:
    """Where rows, events and MLflow say different things: lines by family, with what to do.

    Each family is compared by what the listing has of it, and only looked at whole where that differs.
    """
    journal = reconciler.journal
    held = journal.standing()
    lines: dict[str, list[str]] = {}
    for item in journal.pending(only):
        lines.setdefault(item.family, []).append(
            f"⏳ {item.family}: a move recorded at {item.created_at:%Y-%m-%d %H:%M:%S} UTC is not shown by MLflow yet"
            f"{f' ({item.error})' if item.error else ''}; python scripts/promote-model.py --reconcile finishes it"
        )
    for family in sorted(families_in_question(models, reconciler, only, held)):
        unsettled = reconciler.unsettled(family)
        if unsettled.lines:
            lines.setdefault(family, []).append(str(unsettled))
    looked_at = [family for family in held if only in {None, family}]
    # Each is a request of its own, so that of many families only those asked about by name are looked at.
    for family in looked_at if len(looked_at) <= RUNS_LOOKED_AT else ():
        if remark := reconciler.run_remark(family):
            lines.setdefault(family, []).append(remark)
    return lines


def families_in_question(
    models: Sequence[RegisteredModel],
    reconciler: Reconciler,
    only: str | None,
    held: Mapping[str, Mapping[Stage, set[Place]]],
) -> set[str]:
    """The families whose rows or listing are not what was recorded; of those nobody recorded, several Productions."""
    journal = reconciler.journal
    suspects = {family for family in journal.changed_rows() if only in {None, family}}
    grouped: dict[str, list[RegisteredModel]] = {}
    for model in models:
        if reconciler.configs.is_certain(model.name):
            grouped.setdefault(reconciler.family(model.name), []).append(model)
    recorded, previous, homes = journal.families(), journal.rollback_targets(), journal.homes()
    for family, found in grouped.items():
        shown, stands = _shown(found), held.get(family, {})
        aliases = {model.name: model.aliases for model in found}
        differs = any(places != stands.get(stage, set()) for stage, places in shown.items()) or may_point_elsewhere(
            aliases, reconciler.aliases(family), stands, previous.get(family)
        )
        is_elsewhere = any(homes.get(model.name, family) != family for model in found)
        if (
            is_elsewhere
            or (family in recorded and differs and journal.knows(family))
            or len(shown[Stage.PRODUCTION]) > 1
        ):
            suspects.add(family)
    return suspects


def _shown(models: Sequence[RegisteredModel]) -> dict[Stage, set[Place]]:
    versions = [version for model in models for version in model.versions]
    return {
        stage: {place_of(version) for version in versions if version.stage is stage}
        for stage in (Stage.PRODUCTION, Stage.STAGING)
    }


def gate_lines(report: GateReport) -> list[str]:
    """The gate report as a table: every gate with what it measured and required, and below it why it refused."""
    name, measured = (max(len(getattr(gate, field)) for gate in report.results) for field in ("name", "measured"))
    lines = [f"Gates for {report.candidate}:"]
    for gate in report.results:
        icon = "✅" if gate.passed else "❌"
        lines.append(f"   {icon} {gate.name:<{name}}  {gate.measured:<{measured}}  required: {gate.required}")
        if gate.why:
            lines.append(f"      → {gate.why}")
    if report.invented:
        lines.append(f"   ⚠️ {report.invented}")
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
            **event.act,
            "reason": event.reason,
            "gate_report_id": event.gate_report_id,
            "at": event.at.isoformat(),
            "details": dict(event.details),
            "rule_changes": [change.as_json() for change in changes.get(event.sequence, ())],
        }
        for event in events
    ]

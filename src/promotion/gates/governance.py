"""Gates on the way a version takes: stage by stage, watched, with a way back, and with everybody's word."""

from __future__ import annotations

from datetime import timedelta

from promotion.approvals.rules import standing
from promotion.config.commit import COMMITTED, MODIFIED, NO_FILE, UNCOMMITTED
from promotion.config.family import FamilyConfig
from promotion.config.policy import StagingDays
from promotion.gates.report import APPROVALS, TRANSITION, Context, Gate, GateResult
from promotion.journal import clock
from promotion.registry.stages import Stage

_DAY = timedelta(days=1)


def not_known_bad(context: Context) -> GateResult:
    """Nobody took it back before because it was bad."""
    reason = context.entry.known_bad if context.entry else None
    measured = "known bad" if reason else "nothing known"
    why = f"{reason}; only promote_model.py --override-gates --reason WHY puts it back" if reason else ""
    return GateResult("not known bad", not reason, measured, "nothing known", why)


def transition_gates(config: FamilyConfig, context: Context) -> list[Gate]:
    """The version is where the caller says it is, and where versions of this family come from.

    One that comes back served before: where it is now does not matter.
    """
    if context.is_rollback:
        return []
    through_staging = config.gates.staging is not None and context.target is Stage.PRODUCTION
    if context.from_stage is None and not through_staging:
        return []
    expected = context.from_stage or Stage.STAGING

    def gate(context: Context) -> GateResult:
        stage = context.entry.stage if context.entry else context.candidate.stage
        required = f"{Stage.STAGING if through_staging else expected} → {context.target}"
        why = ""
        if stage is not expected:
            why = f"it is in {stage}, not in {expected}"
        elif through_staging and expected is not Stage.STAGING:
            why = "Production is entered from Staging only"
        return GateResult(TRANSITION, not why, f"{stage} → {context.target}", required, why)

    return [gate]


def committed_gates(config: FamilyConfig) -> list[Gate]:
    """The family's file is what the commit says, where it asks for that itself."""
    return [committed] if config.rules == "committed" else []


def committed(context: Context) -> GateResult:
    """The rules are those that others can look up in the repository, not those of a minute."""
    source = context.rules.source if context.rules else {}
    state, name = source.get("state", NO_FILE), source.get("file") or "the family's file"
    passed = state == COMMITTED
    is_known = state in {MODIFIED, UNCOMMITTED}
    remedy = "commit it, or take back what was changed" if is_known else "work in a checkout, with git installed"
    why = "" if passed else f"{name} is {state}, and it says rules: committed: {remedy}"
    return GateResult("rules committed", passed, state, f"{name} {COMMITTED}", why, overridable=False)


def staging_gates(config: FamilyConfig) -> list[Gate]:
    """It was watched in Staging for long enough."""
    rule = config.gates.staging
    return [] if rule is None else [_staging_gate(rule)]


def _staging_gate(rule: StagingDays) -> Gate:
    required = f"≥ {rule.minimum:g} days"

    def gate(context: Context) -> GateResult:
        if context.staged_at is None:
            why = "it is not in Staging: python src/models/validate_model.py moves it there"
            if context.is_rehearsed:
                why = f"it entered Staging {clock.VOID}: put it aside and stage it again"
            return GateResult("days in Staging", passed=False, measured="0 days", required=required, why=why)
        days = (context.now - context.staged_at) / _DAY
        passed = days >= rule.minimum
        why = "" if passed else f"wait until {context.staged_at + rule.minimum * _DAY:%Y-%m-%d %H:%M} UTC"
        if days > rule.typical:
            why = f"longer than the typical {rule.typical:g} days: is it still wanted?"
        return GateResult("days in Staging", passed, f"{days:.1f} days", required, why)

    return gate


def governance_gates(config: FamilyConfig) -> list[Gate]:
    """Incidents, monitoring and the way back, where the family asks for them."""
    rules = config.gates
    gates: list[Gate] = []
    if rules.incidents:
        gates.append(no_incident)
    if rules.monitoring:
        gates.append(monitored)
    if rules.rollback_plan:
        gates.append(way_back)
    return gates


def no_incident(context: Context) -> GateResult:
    """No critical incident of it is open."""
    critical = [incident for incident in context.incidents if incident.severity == "critical"]
    found = [incident for incident in critical if not incident.is_void]
    reasons = [f"incident {item.id} of {item.opened_at:%Y-%m-%d}: {item.summary}" for item in found]
    reasons += [f"incident {item.id} was opened {clock.VOID}" for item in critical if item.is_void]
    why = "; ".join(reasons)
    return GateResult("incidents", not found, f"{len(found)} open critical", "none open", why)


def monitored(context: Context) -> GateResult:
    """Drift will be watched once it serves."""
    rules = context.config.monitoring if context.config else None
    passed = rules is not None and rules.drift
    why = "" if passed else "add a section monitoring with drift: true to the family's configuration"
    return GateResult("drift monitoring", passed, "configured" if passed else "not configured", "configured", why)


def way_back(context: Context) -> GateResult:
    """The version that leaves can come back: its files are there, unchanged, and it runs."""
    if context.production is None:
        return GateResult("rollback plan", passed=True, measured="no Production yet", required="a proven predecessor")
    problem = context.production_problem
    measured = "not proven" if problem else f"{context.production} loads and scores"
    return GateResult("rollback plan", not problem, measured, "a proven predecessor", problem)


def approvals_gate(config: FamilyConfig, evidence: str) -> list[Gate]:
    """Every role's word is given and counts for this artifact and this evidence."""
    policy = config.approvals
    if policy is None:
        return []

    def gate(context: Context) -> GateResult:
        found = standing(
            policy,
            context.approvals,
            entry=context.entry,
            digest=context.digest,
            evidence=evidence,
            now=context.now,
            verify=context.verify_approval,
            rules_since=context.rules_since,
            identities=context.identities,
        )
        measured = f"{len(found.given)} of {len(policy.roles)}"
        given = [
            f"{role}: {approval.approver}" + (f" ({found.remarks[role]})" if role in found.remarks else "")
            for role, approval in found.given.items()
        ]
        why = "; ".join([*given, *(f"{role}: {problem}" for role, problem in found.missing.items())])
        return GateResult(APPROVALS, not found.missing, measured, ", ".join(policy.roles), why)

    return [gate]

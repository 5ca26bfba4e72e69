"""What gates are asked about and how they answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from promotion.approvals.identities import Identities
from promotion.artifacts.provenance import Registered
from promotion.config.family import FamilyConfig
from promotion.gates.evidence import Evaluation, Interval, Measurement, SliceFigure
from promotion.journal.chain import digest
from promotion.journal.records import Approval, Entry, Incident, RuleSet
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage

READY = "version ready"
ARTIFACT = "artifact present"
RUNS = "model runs"
BETTER = "better than Production"
APPROVALS = "approvals"
TRANSITION = "legal transition"

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's answer.

    Attributes:
        name: The gate.
        passed: Whether the candidate may pass.
        measured: What was found, as text for people.
        required: What was expected, as text for people.
        why: One sentence when refused, or a remark.
        overridable: Whether a person may break the glass; never where the artifact itself cannot be trusted.
    """

    name: str
    passed: bool
    measured: str
    required: str
    why: str = ""
    overridable: bool = True


@dataclass(frozen=True, slots=True)
class Context:
    """The evidence gathered for one candidate.

    Attributes:
        config: The family's configuration; None for a registered model without one.
        candidate: The version that wants to move.
        target: Where to.
        is_rollback: Whether it served before and comes back.
        from_stage: Where the caller says it is; None when nothing was said.
        now: UTC.
        entry: The candidate as the journal knows it.
        digest: sha256 of its artifact now; None when there is no artifact.
        artifact_problem: Why there is no artifact, or why it could not be scored.
        recorded_digest: The digest the journal recorded earlier, if any.
        registered: Who registered it, as what; None when nobody did.
        is_signed: Whether a signature was recorded.
        signature_problem: Why the signature does not vouch for the files.
        unsafe: What in the files is dangerous to load.
        scanned: The same and the remarks, of a version that nothing here would load; None where they were not looked
            into for that.
        remarks: What its requirements would install from elsewhere.
        files: Sizes of its files in bytes, by relative path.
        is_loaded: Whether the model could be loaded.
        has_run: On the way back, whether it ran here before; what never did is not loaded now either.
        evaluation: The candidate scored now.
        run_is_deleted: Whether the run that made it, and its files with it, go with the next `mlflow gc`.
        logged_model_is_deleted: The same of the logged model that it was registered from.
        run_metrics: What the trainer logged in the version's run; None where nobody asks, or there is no such run.
        measurement: What it costs to run; None when it was not measured.
        measurement_problem: Why it could not be measured.
        schema_problems: Where its signature does not fit the family's columns.
        feature_hash: Of the family's columns now.
        data_problems: What is wrong with the data.
        split_problems: Why the test rows may be known to the candidate.
        holdout_problems: Why nothing can be scored on the rows.
        data_sha256: Digest of the rows to score on, whatever is wrong with them; None where there are none.
        invented: Says so where a generator invented the rows; empty for any others.
        custom: What the commands of the family's own gates answered, by the gate's name.
        production: The version in Production.
        production_evaluation: Production scored now on the same rows.
        difference: Candidate minus Production on the selection metric.
        production_problem: Why Production could not be scored, or is not what was recorded.
        staged_at: Since when the candidate has been in Staging.
        is_rehearsed: Whether it entered Staging in a rehearsal, while this is none.
        incidents: Open ones of the candidate.
        ab_test: What the newest look at its A/B test found; None where none counts.
        approvals: All recorded ones of the candidate, in the order of the chain.
        verify_approval: Says what is wrong with an approval's signature; empty when nothing is.
        rules: What the gates ask by; None where nobody read them.
        rule_changes: What of it is different from the last promotion, one text a key.
        rules_since: What of it is different from a digest, such as that of the rules an approval was given under.
        identities: Which names are one person; None where only their spelling says so.
    """

    config: FamilyConfig | None
    candidate: ModelVersion
    now: datetime
    target: Stage = Stage.PRODUCTION
    is_rollback: bool = False
    from_stage: Stage | None = None
    entry: Entry | None = None
    digest: str | None = None
    artifact_problem: str = ""
    recorded_digest: str | None = None
    registered: Registered | None = None
    is_signed: bool = False
    signature_problem: str = ""
    unsafe: tuple[str, ...] = ()
    scanned: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    is_loaded: bool = False
    has_run: bool = True
    evaluation: Evaluation | None = None
    run_is_deleted: bool = False
    logged_model_is_deleted: bool = False
    run_metrics: Mapping[str, float] | None = None
    measurement: Measurement | None = None
    measurement_problem: str = ""
    schema_problems: tuple[str, ...] = ()
    feature_hash: str | None = None
    data_problems: tuple[str, ...] = ()
    split_problems: tuple[str, ...] = ()
    holdout_problems: tuple[str, ...] = ()
    data_sha256: str | None = None
    invented: str = ""
    custom: Mapping[str, Any] = field(default_factory=dict)
    production: Entry | None = None
    production_evaluation: Evaluation | None = None
    difference: Interval | None = None
    production_problem: str = ""
    staged_at: datetime | None = None
    is_rehearsed: bool = False
    ab_test: Mapping[str, Any] | None = None
    incidents: tuple[Incident, ...] = ()
    approvals: tuple[Approval, ...] = ()
    verify_approval: Callable[[Approval], str] = lambda _approval: ""
    rules: RuleSet | None = None
    rule_changes: tuple[str, ...] = ()
    rules_since: Callable[[str], Sequence[str]] = lambda _digest: ()
    identities: Identities | None = None


Gate = Callable[[Context], GateResult]


@dataclass(frozen=True, slots=True)
class GateReport:
    """The answers of all gates, every refusal included.

    Attributes:
        family: Whose candidate.
        candidate: Model and number.
        version: Semantic version, or the number.
        target: Where it wants to go.
        production: What it was compared with.
        results: One a gate.
        metrics: The candidate's, scored now.
        production_metrics: Production's on the same rows.
        difference: Candidate minus Production on the selection metric.
        data_sha256: Of the data file.
        digest: sha256 of the artifact.
        slices: Metrics in groups of the rows.
        invented: Says so where a generator invented the rows; empty for any others.
        evidence: sha256 over what does not vary between two runs of the gates; approvals are bound to it.
        rules: What was asked by; approvals are bound to its digest, too.
        rule_changes: What of it is different from the last promotion, one text a key.
        registration: Who registered it, when, as what, as plain data; None when nobody did.
    """

    family: str
    candidate: str
    version: str
    target: Stage
    production: str | None
    results: tuple[GateResult, ...]
    metrics: Mapping[str, float]
    production_metrics: Mapping[str, float]
    difference: Interval | None
    data_sha256: str | None
    digest: str | None
    evidence: str
    rules: RuleSet | None = None
    rule_changes: tuple[str, ...] = ()
    registration: Mapping[str, Any] | None = None
    slices: tuple[SliceFigure, ...] = ()
    invented: str = ""

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(result.passed for result in self.results)

    @property
    def refusals(self) -> list[GateResult]:
        """The gates that said no."""
        return [result for result in self.results if not result.passed]

    @property
    def only_not_better(self) -> bool:
        """Whether the candidate is sound in itself and merely does not beat Production."""
        return [result.name for result in self.refusals] == [BETTER]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        plain = asdict(replace(self, rules=None))
        rules = {"rules": self.rules.as_json() if self.rules else None, "rule_changes": list(self.rule_changes)}
        return {**plain, **rules, "slices": [_figure(each) for each in self.slices], "passed": self.passed}


def evidence_digest(family: str, context: Context, results: tuple[GateResult, ...]) -> str:
    """SHA-256 over what an approver approves: the artifact, the rivals, the data, the metrics and what was required.

    Latency, days and whatever else differs between two runs of the same gates stays outside, and so do the approvals
    and where the caller says the version is.

    Returns:
        64 hexadecimal digits.
    """
    evaluation, rival = context.evaluation, context.production_evaluation
    bounded = context.config.trainer_metrics if context.config else []
    told = context.run_metrics or {}
    logged = {name: told[name] for name in bounded if name in told}
    return digest(
        ({"run_metrics": _rounded(logged)} if logged else {})
        | {
            "family": family,
            "candidate": str(context.candidate),
            "artifact": context.digest,
            "production": str(context.production) if context.production else None,
            "data": evaluation.data_sha256 if evaluation else context.data_sha256,
            "metrics": _rounded(evaluation.metrics) if evaluation else None,
            "production_metrics": _rounded(rival.metrics) if rival else None,
            "required": [
                [result.name, result.required] for result in results if result.name not in {APPROVALS, TRANSITION}
            ],
        }
    )


def _figure(slice_: SliceFigure) -> dict[str, Any]:
    """A group's figures; JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(slice_).items()
    }


def _rounded(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.{_DIGITS}f}" for name, value in metrics.items()}

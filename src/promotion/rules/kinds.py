"""What each key of a family's file does to the rules: which way it loosens, or that it decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

ANY = "*"
"""Stands for one key that the owner chose, such as a metric's name."""


class RuleKind(StrEnum):
    """How a change of a key is read. Where a key is absent, nothing is asked for, unless it says otherwise."""

    FLOOR = "more is tighter"
    CEILING = "more is looser"
    SCALE = "its values are ordered, the loosest first"
    DEMANDS = "every member is asked for"
    ADMITS = "every member is let in; without the list everybody is"
    PRESENT = "its presence alone asks for something"
    OPEN = "it decides, and no direction is looser"
    SILENT = "it decides nothing: what is below it is no rule"


SCALES: Mapping[str, Sequence[str | bool | None]] = {
    "promotion": ("auto", "manual"),
    "not_better": ("staging", "stay"),
    "rules": (None, "committed"),
    "gates.better_than_production.policy": ("not_worse", "strictly_greater"),
    "gates.ab_test.policy": ("not_worse", "better"),
    "gates.signature": ("checked", "required"),
    "gates.thresholds.*.from": ("run", None),
    "gates.split": (None, "sound"),
    "artifacts.code": ("sandbox", "refuse"),
    "monitoring.action": ("alert-only", "rollback"),
    "data.allow_duplicates": (True, False),
    "export.rows": ("held-out", None, "generated"),
    **dict.fromkeys(
        (
            "gates.data_quality",
            "gates.documentation",
            "gates.incidents",
            "gates.monitoring",
            "gates.rollback_plan",
            "approvals.signed",
            "monitoring.drift",
        ),
        (False, True),
    ),
}
"""Ordered values, the loosest first."""

_KEYS: Mapping[RuleKind, str] = {
    RuleKind.FLOOR: """
        gates.thresholds.*.minimum gates.better_than_production.minimum_gain gates.staging.minimum
        gates.ab_test.minimum_keys
        gates.cpu.requests_per_second rollback.cool_down_hours retention.days
        data.columns.*.minimum
        """,
    RuleKind.CEILING: """
        gates.thresholds.*.maximum gates.thresholds.*.below
        gates.ab_test.margin
        gates.better_than_production.margin gates.better_than_production.also.*
        gates.latency_p95_ms gates.artifact_size_mb gates.peak_memory_mb gates.cpu.share gates.cpu.cores
        approvals.expire_days
        data.columns.*.maximum data.columns.*.max_missing
        monitoring.rollback.accuracy_drop monitoring.rollback.error_rate monitoring.rollback.latency_ms
        monitoring.sustained.needed monitoring.sustained.minimum_labels monitoring.minimum_rows
        monitoring.minimum_labels monitoring.label_coverage monitoring.confidence
        """,
    RuleKind.DEMANDS: "gates.required_artifacts gates.slices gates.custom approvals.roles revoked",
    RuleKind.ADMITS: "approvals.approvers.* approvals.ci_accounts access.staging access.production signers",
    RuleKind.PRESENT: """
        data data.sha256 holdout holdout.sha256 candidates gates.thresholds.* gates.staging gates.cpu
        gates.ab_test feature_view
        approvals monitoring
        """,
    RuleKind.OPEN: """
        gates.ab_test.metric family registered_model task selection_metric target numeric split files
        data.path data.url data.generator data.columns data.delimiter data.encoding data.decimal data.na_values
        holdout.path holdout.target holdout.positive holdout.id holdout.group holdout.time
        artifacts environment aliases export trusted_origins
        forecast gates.thresholds gates.better_than_production.also gates.staging.typical
        feature_view.name feature_view.hash feature_view.approved_by feature_view.approved_on
        approvals.approvers approvals.accept_approvals_from candidates.*
        monitoring.rollback monitoring.log monitoring.labels
        monitoring.sustained.window monitoring.sustained.of monitoring.window monitoring.label_delay
        """,
    RuleKind.SILENT: """
        classes events cross_validation params_file metadata candidates.*.params review contacts data.licence
        data.columns.*.unit data.columns.*.description data.columns.*.hint
        forecast.folds forecast.views forecast.half_life_days forecast.warm_up_days forecast.fold_rows
        forecast.final_rows forecast.sample_rows forecast.rounds forecast.patience forecast.threads
        monitoring.critical monitoring.warning monitoring.psi monitoring.metrics monitoring.rmspe_rise
        monitoring.concept_change monitoring.missing_rise monitoring.out_of_range monitoring.data monitoring.channels
        monitoring.routing monitoring.cool_down
        """,
    RuleKind.SCALE: " ".join(SCALES),
}
"""The kind of each key, and of everything below it that is not named itself."""

_TABLE: Mapping[tuple[str, ...], RuleKind] = {
    tuple(key.split(".")): kind for kind, keys in _KEYS.items() for key in keys.split()
}


@lru_cache(maxsize=4096)
def rule_kind(key: tuple[str, ...]) -> RuleKind | None:
    """The kind of a key, or of the nearest section above it that is named; None for one that nobody classified."""
    sections = (key[:length] for length in range(len(key), 0, -1))
    named = (name for section in sections for name in _spellings(section) if name in _TABLE)
    return next((_TABLE[name] for name in named), None)


def scale_of(key: tuple[str, ...]) -> Sequence[str | bool | None]:
    """The ordered values of a key that is a scale, the loosest first."""
    return next(SCALES[name] for name in map(".".join, _spellings(key)) if name in SCALES)


def _spellings(key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """A key as it is, and with each name in turn as one that the owner chose."""
    yield key
    yield from ((*key[:place], ANY, *key[place + 1 :]) for place in range(1, len(key)))

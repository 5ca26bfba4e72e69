"""What a family asks of a version before, while and after it serves: gates, approvals, access, rollback, retention."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from promotion.config.evidence import CustomGate, SliceRule
from promotion.config.values import AliasNames, Duration, KeyDigest, Name, Positive, Share, Strict, contradiction

ChannelName = Annotated[str, Field(min_length=1, max_length=64)]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
"""The name of an environment variable: what it holds is a secret and stands in no file."""


class Threshold(Strict):
    """Bounds on one metric.

    Attributes:
        minimum: Smallest value that passes.
        maximum: Largest value that passes.
        below: What passes is smaller than this.
        source: `run`: what is bounded is the metric that the version's run has in MLflow, the trainer's figure;
            otherwise what is measured here, on the rows of `holdout` or `data`.
    """

    minimum: float | None = None
    maximum: float | None = None
    below: float | None = None
    source: Literal["run"] | None = Field(None, alias="from")

    @model_validator(mode="after")
    def _bounds_something(self) -> Threshold:
        if self.minimum is None and self.maximum is None and self.below is None:
            raise contradiction("a threshold needs minimum, maximum or below; add one")
        return self

    @property
    def bounds(self) -> list[tuple[str, float]]:
        """Each bound after the sign of how a value must compare with it."""
        bounds = ("≥", self.minimum), ("≤", self.maximum), ("<", self.below)
        return [(sign, bound) for sign, bound in bounds if bound is not None]


class BetterThanProduction(Strict):
    """How the candidate must compare with Production, both scored now on the same rows.

    Attributes:
        policy: `strictly_greater`: the candidate's metric is better by more than `minimum_gain`. `not_worse`: the lower
            end of the paired bootstrap interval of the difference stays above `-margin`.
        minimum_gain: What a strictly better candidate must gain, in units of the metric.
        margin: Tolerated loss for `not_worse`, in units of the metric.
        also: Other metrics that may not fall below Production's by more than the loss given for each.
    """

    policy: Literal["strictly_greater", "not_worse"] = "strictly_greater"
    minimum_gain: Annotated[float, Field(ge=0)] = 0.0
    margin: Annotated[float, Field(ge=0)] = 0.0
    also: dict[str, Annotated[float, Field(ge=0)]] = {}


class Cpu(Strict):
    """CPU time at a load.

    Attributes:
        share: Of the cores, kept busy at most.
        requests_per_second: The load, one row each.
        cores: Of a pod.
    """

    share: Share = 0.8
    requests_per_second: Positive = 10.0
    cores: Positive = 1.0


class StagingDays(Strict):
    """How long a version is watched in Staging.

    Attributes:
        minimum: Days it waits at least.
        typical: Days after which the gate remarks upon it.
    """

    minimum: Annotated[float, Field(ge=0)] = 7.0
    typical: Annotated[float, Field(ge=0)] = 14.0


class AbTestRule(Strict):
    """An A/B test on live requests; its interval holds however often somebody looks.

    Attributes:
        metric: What is compared.
        minimum_keys: How many clients count in each arm at least.
        policy: `better`: all of the interval is above 0. `not_worse`: all of it is above `-margin`.
        margin: Tolerated loss for `not_worse`.
    """

    metric: Literal["accuracy"] = "accuracy"
    minimum_keys: Annotated[int, Field(ge=1)] = 1000
    policy: Literal["better", "not_worse"] = "not_worse"
    margin: Annotated[float, Field(ge=0, le=1)] = 0.02


class Gates(Strict):
    """The evidence a version needs; a gate whose key is absent is not asked.

    Attributes:
        thresholds: Bounds by metric.
        better_than_production: Comparison with the champion.
        signature: `required`: an artifact without a valid signature is refused. `checked`: only a broken one is.
        staging: Time in Staging before Production; when given, Production is entered from Staging only.
        latency_p95_ms: Largest 95th percentile of one-row latency, milliseconds.
        artifact_size_mb: The artifact is smaller than this, 10^6 bytes.
        peak_memory_mb: Peak resident memory is smaller than this, 10^6 bytes.
        cpu: CPU time at a load.
        split: `sound`: a version trained on another split or other rows than it is scored on is refused, and so are
            test rows with a companion among the training rows; always asked where `split` has `groups` or `time`.
        data_quality: Whether the data must pass its quality checks.
        required_artifacts: Files every artifact must hold.
        documentation: Whether the artifact must bring a model card.
        incidents: Whether an open critical incident keeps a version out of Production.
        monitoring: Whether drift monitoring must be configured.
        rollback_plan: Whether there must be a proven version to go back to.
        ab_test: A comparison with Production on live requests.
        slices: Metrics held within groups of rows.
        custom: Rules of the owner's own, as commands.
    """

    thresholds: dict[str, Threshold] = {}
    better_than_production: BetterThanProduction = BetterThanProduction()
    signature: Literal["required", "checked"] = "checked"
    staging: StagingDays | None = None
    latency_p95_ms: Positive | None = None
    artifact_size_mb: Positive | None = None
    peak_memory_mb: Positive | None = None
    cpu: Cpu | None = None
    split: Literal["sound"] | None = None
    data_quality: bool = False
    required_artifacts: list[Name] = []
    documentation: bool = False
    incidents: bool = False
    monitoring: bool = False
    rollback_plan: bool = False
    ab_test: AbTestRule | None = None
    slices: list[SliceRule] = []
    custom: list[CustomGate] = []


class FeatureView(Strict):
    """The approved feature schema: whoever changes the columns approves a new hash in the same review.

    Attributes:
        name: Of the view.
        hash: sha256 over names, logical types and constraints of the feature columns.
        approved_by: Who approved it.
        approved_on: When, ISO 8601 date.
    """

    name: Name
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    approved_by: Name
    approved_on: Annotated[date, Field(strict=False)]


class Approvals(Strict):
    """Who must agree before a version enters Production.

    Attributes:
        roles: Every role must approve, each by a different person.
        expire_days: How long an approval counts.
        signed: Whether an approval must carry a signature of a key in `allowed_signers`.
        approvers: By role, who may speak for it; a role that is not listed is open to anyone.
        ci_accounts: Accounts that are no persons: the trainer behind them is the commit's author.
        recorder: `independent`: what the trainer's own account recorded does not count; otherwise it is remarked.
        accept_approvals_from: Keys of other installations, each by the sha256 of its PEM file: what was approved there
            counts here for a version that was transferred from there, where approvals need no signature.
    """

    roles: Annotated[list[Name], Field(min_length=1)]
    expire_days: Positive = 30.0
    signed: bool = False
    approvers: dict[str, list[Name]] = {}
    ci_accounts: list[Name] = ["jenkins"]
    recorder: Literal["anyone", "independent"] = "anyone"
    accept_approvals_from: list[KeyDigest] = []

    @model_validator(mode="after")
    def _roles_are_known(self) -> Approvals:
        unknown = sorted(set(self.approvers) - set(self.roles))
        if unknown:
            raise contradiction(f"approvers of unknown roles: {', '.join(unknown)}; add them to roles", "approvers")
        return self


def machine_accounts(approvals: Approvals | None) -> list[str]:
    """Accounts that are no persons; the usual ones where a family asks for no approvals."""
    usual: list[str] = Approvals.model_fields["ci_accounts"].default
    return approvals.ci_accounts if approvals else usual


class Access(Strict):
    """Who may move versions into a stage; without a list anybody. Names are claims, unless approvals are signed.

    Attributes:
        staging: Names or addresses of those who may stage a version.
        production: Names or addresses of those who may let one serve.
    """

    staging: list[Name] | None = None
    production: list[Name] | None = None


class Aliases(Strict):
    """What the aliases are called in MLflow that follow the journal; every other alias is its owner's.

    Attributes:
        production: Points at the version in Production; moved by hand, it is a promotion made outside. One name, a
            list of names, or `[]` for none; so are the others.
        staging: Points at the version that came to Staging last. Named here and moved by hand, it stages a version.
        previous: Points at the version that a rollback returns to.
    """

    production: AliasNames = ["production"]
    staging: AliasNames = ["staging"]
    previous: AliasNames = ["previous"]

    @model_validator(mode="after")
    def _each_means_one_thing(self) -> Aliases:
        known = [name.lower() for name in self.all]
        if twice := [name for place, name in enumerate(known) if name in known[:place]]:
            raise contradiction(
                f"alias {twice[0]!r} stands here twice; an alias points at one version, keep one of both"
            )
        return self

    @property
    def all(self) -> list[str]:
        """Every name."""
        return [*self.production, *self.staging, *self.previous]

    @property
    def stage_by_hand(self) -> list[str]:
        """Those of Staging that a person moves: where the file does not name them, they only follow."""
        return self.staging if "staging" in self.model_fields_set else []


class Rollback(Strict):
    """A guard against going back and forth.

    Attributes:
        cool_down_hours: A second rollback within so many hours needs `--force`, unless another promotion lay between.
    """

    cool_down_hours: Annotated[float, Field(ge=0)] = 24.0


class Retention(Strict):
    """How long a version that has served is kept, for compliance and rollback.

    Attributes:
        days: After it left Production.
    """

    days: Annotated[int, Field(ge=1)] = 365


class AlertBounds(Strict):
    """When a level is reached: beyond the bound, not on it.

    Attributes:
        accuracy_drop: Absolute difference of the accuracy from its value at promotion: 0.90 to 0.85 is a drop of 0.05.
        error_rate: Share of requests answered with a 5xx status.
        latency_ms: 95th percentile of the latency, milliseconds.
    """

    accuracy_drop: Share | None = None
    error_rate: Share | None = None
    latency_ms: Positive | None = None


class Routing(Strict):
    """Which channels hear of which level, by their names in `channels`.

    Attributes:
        critical: Channels that hear of critical alerts.
        warning: Channels that hear of warnings.
        info: Channels that hear of what is only worth knowing.
    """

    critical: list[Name] = ["pagerduty", "slack", "email"]
    warning: list[Name] = ["slack", "email"]
    info: list[Name] = ["slack"]


class Levels(Strict):
    """Bounds by level; a level without one is never reached.

    Attributes:
        info: From here on it is worth knowing.
        warning: From here on the team is told.
        critical: From here on everybody is told.
    """

    info: Positive | None = None
    warning: Positive | None = None
    critical: Positive | None = None


class DataBounds(Strict):
    """From which share on somebody is warned that log or labels do not come in as they should.

    Attributes:
        unreadable_lines: Of the log's lines, those that are no row.
        repeated_rows: Of the rows, those whose `request_id` and `row` were there already; they count once.
        local_times: Of the rows, those whose time has no zone; they are read as UTC.
        future_rows: Of the rows, those stamped later than now.
        unknown_labels: Of the labels, those that are no class of the family.
        conflicting_labels: Of the labelled rows, those with two labels that differ.
        unmatched_labels: Of the labels, those of no row in the log as far back as it is read; where nothing is said,
            people are warned when not one is of any.
        shrunken_labels: How much fewer labels the file holds than in one of the last 30 runs.
        silence: How long no row may come in; where nothing is said, the window, or less after steady traffic.
    """

    unreadable_lines: Share = 0.01
    repeated_rows: Share = 0.01
    local_times: Share = 0.01
    future_rows: Share = 0.01
    unknown_labels: Share = 0.01
    conflicting_labels: Share = 0.01
    unmatched_labels: Share | None = None
    shrunken_labels: Share = 0.20
    silence: Duration | None = None


_SHARES = frozenset({"precision", "recall", "f1", "roc_auc"})
_COLLAPSE = Levels(warning=0.10, critical=0.20)
"""A model that finds what it looks for no more: where it is rare, the accuracy does not move."""


class Sustained(Strict):
    """How long something must be bad before the version is taken back: in the newest window, and in enough of the last.

    Attributes:
        window: Length of one window.
        of: How many of the newest windows are looked at.
        needed: In how many of them the bound must be crossed.
        minimum_labels: Labelled rows below which nothing is said of a window's accuracy; more than an alert asks for.
    """

    window: Duration = timedelta(minutes=5)
    of: Annotated[int, Field(ge=1, le=100)] = 3
    needed: Annotated[int, Field(ge=1)] = 2
    minimum_labels: Annotated[int, Field(ge=1)] = 200

    @model_validator(mode="after")
    def _can_be_reached(self) -> Sustained:
        if self.needed > self.of:
            raise contradiction(
                f"needed is {self.needed}, but only {self.of} windows are looked at; lower it", "needed"
            )
        return self


class Monitoring(Strict):
    """What is watched in Production and when somebody is told.

    Attributes:
        drift: Whether inputs and predictions are compared with their reference.
        critical: Tells everybody.
        warning: Tells the team.
        rollback: Takes the version back, if `action` says so.
        sustained: How long it must last before that.
        action: What follows then: people are told and decide, or the version is taken back; `rollback` needs
            `rollback.error_rate` or `label_coverage` written down.
        log: The prediction log, where the command line and PREDICTION_LOG_SOURCE name none: a path, from the project's
            home on, or a URL.
        labels: The file of labels, where the command line names none: a path, likewise.
        window: How far back one run looks.
        keep: How long the journal holds what runs saw and alerts that are over; the chain of events holds all.
        label_delay: How much further back it looks for rows whose labels have arrived by now.
        minimum_rows: Rows, and requests, below which nothing is said of drift, values, latency and errors.
        minimum_labels: Labelled rows below which nothing is said of performance.
        label_coverage: Share of the rows that have to be labelled before performance counts. Where it is not written
            down, fewer labels count for alerts as far as their rows look like all, only warn of what right answers to
            all other rows would undo, and take nothing back.
        confidence: How sure it must be that a metric is worse than at promotion at all, before a drop beyond a bound
            counts: two-sided confidence of the interval that must exclude the value at promotion.
        psi: From which population stability index on a distribution has drifted. Not critical by default: inputs may
            move without the predictions getting worse.
        segments: Features of codes or texts by whose values everything is watched apart as well.
        fairness: From which difference on of accuracy or recall between two groups of a segment.
        unseen: From which share on values count that are beyond the smallest and largest at training, or codes that it
            did not have, where chance does not explain them.
        metrics: By metric, bounds on its loss since promotion, absolute: a fall, or of an error a rise. The selection
            metric and those that the gates bound have the accuracy's where they are not named here, and recall 0.1 and
            0.2; of `{}` nobody is told.
        rmspe_rise: Of a forecast: absolute rise of the RMSPE above its value at promotion.
        concept_change: Tolerated absolute change of the share of the positive label among rows of one predicted class.
        missing_rise: Tolerated absolute rise of the share of missing values of a feature.
        out_of_range: Tolerated share of a feature's values outside what the family's file allows.
        data: From where on somebody is warned of what is wrong with log and labels themselves.
        channels: By name, the environment variable that holds the channel's Apprise URL.
        routing: Which channels hear of which level.
        cool_down: How long an alert that lasts is not repeated, and how long one that comes and goes must stay away
            before it counts as over.
    """

    drift: bool = True
    critical: AlertBounds = AlertBounds(accuracy_drop=0.05, error_rate=0.02)
    warning: AlertBounds = AlertBounds(accuracy_drop=0.02, latency_ms=200.0)
    rollback: AlertBounds = AlertBounds(accuracy_drop=0.10, error_rate=0.05, latency_ms=500.0)
    sustained: Sustained = Sustained()
    action: Literal["rollback", "alert-only"] = "alert-only"
    log: Name | None = None
    labels: Name | None = None
    window: Duration = timedelta(hours=24)
    keep: Duration = timedelta(days=90)
    label_delay: Duration = timedelta(days=7)
    minimum_rows: Annotated[int, Field(ge=1)] = 200
    minimum_labels: Annotated[int, Field(ge=1)] = 100
    label_coverage: Share | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.99
    psi: Levels = Levels(info=0.10, warning=0.25)
    unseen: Levels = Levels(warning=0.01)
    segments: list[Name] = []
    fairness: Levels = Levels(warning=0.10)
    metrics: dict[Name, Levels] = {}
    rmspe_rise: Levels = Levels(warning=0.02, critical=0.05)
    concept_change: Share = 0.10
    missing_rise: Share = 0.05
    out_of_range: Share = 0.01
    data: DataBounds = DataBounds()
    channels: dict[ChannelName, Variable] = {"pagerduty": "PAGERDUTY_URL", "slack": "SLACK_URL", "email": "EMAIL_URL"}
    routing: Routing = Routing()
    cool_down: Duration = timedelta(hours=6)

    def with_metrics(self, names: Iterable[str]) -> Monitoring:
        """The same with bounds for metrics that matter to a family.

        Args:
            names: Of these metrics; those that are no share have no bound that suits every family.
        """
        usual = Levels.model_construct(warning=self.warning.accuracy_drop, critical=self.critical.accuracy_drop)
        added = {name: usual for name in names if name in _SHARES}
        return self.model_copy(update={"metrics": {"recall": _COLLAPSE} | added | self.metrics})

    @model_validator(mode="after")
    def _rollback_stands_on_evidence(self) -> Monitoring:
        is_written = "rollback" in self.model_fields_set and self.rollback.error_rate is not None
        if self.action == "rollback" and not is_written and self.label_coverage is None:
            raise contradiction(
                "rollback needs evidence that is written down; add rollback: {error_rate: 0.05}, "
                "or label_coverage: 0.9 if that many rows get a label, or write alert-only",
                "action",
            )
        return self

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> Monitoring:
        routes = [*self.routing.critical, *self.routing.warning, *self.routing.info]
        if unknown := sorted(set(routes) - set(self.channels)):
            known = ", ".join(sorted(self.channels)) or "none"
            raise contradiction(f"unknown channel {unknown[0]!r}; channels has {known}", "routing")
        return self


class Review(Strict):
    """When the rules themselves are looked at again.

    Attributes:
        criteria_days: Days between reviews of the promotion criteria.
        performance_days: Days after a promotion until its performance is reviewed.
        process_days: Days between reviews of the whole process.
        last_criteria: Date of the last criteria review.
        last_process: Date of the last process review.
    """

    criteria_days: Annotated[int, Field(ge=1)] = 30
    performance_days: Annotated[int, Field(ge=1)] = 90
    process_days: Annotated[int, Field(ge=1)] = 365
    last_criteria: Annotated[date, Field(strict=False)] | None = None
    last_process: Annotated[date, Field(strict=False)] | None = None


class Contacts(Strict):
    """Whom a promotion or a rollback concerns, and what they read then.

    Attributes:
        stakeholders: Whom the checklist after a promotion names.
        runbooks: By occasion, the page to read: a file relative to the project's home, or an address.
        serving_url: Where the deployed service answers `/health` and `/version`.
    """

    stakeholders: list[Name] = []
    runbooks: dict[str, Name] = {}
    serving_url: str | None = None

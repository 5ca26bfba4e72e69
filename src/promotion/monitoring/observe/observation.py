"""What one run saw of one version: figures beside those of its promotion, and whether there were rows enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

ServedRole = Literal["champion", "challenger", "shadow"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure measured on live rows, beside the version's own value at promotion.

    Attributes:
        value: In units of the metric; None when the rows cannot tell it.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        reference: Value at promotion; None when nobody wrote one down.
        rows: How many rows it was measured on.
        enough: Whether these are as many as the family asks for. A reading without it is neither good nor bad.
        reference_low: Lower end of the 95 % interval of the value at promotion, which was measured on held-out rows and
            often on few of them; None when it is not known.
        reference_high: Upper end, likewise.
        at_best: The value if every row without a label was answered right; None where nearly all have one.
    """

    value: float | None
    low: float | None
    high: float | None
    reference: float | None
    rows: int
    enough: bool
    reference_low: float | None = None
    reference_high: float | None = None
    at_best: float | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """One class of values: what it holds, its share of the reference rows and of the live rows."""

    label: str
    reference: float
    live: float


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one distribution moved from the reference.

    Attributes:
        name: The feature, `predicted class` or `probability`.
        of: What is compared.
        psi: Population stability index, dimensionless, 0 for equal shares; None without a reference.
        by_chance: How large the index is on average when both come from one distribution: with a few hundred rows on
            either side it is far from 0.
        p_value: Of the chi-square test that both come from one distribution; None as above.
        rows: Live rows compared.
        reference_rows: Reference rows compared.
        enough: Whether the live rows are as many as the family asks for.
        unseen: Share of the live values that are beyond the smallest and largest of the reference, or codes it does not
            have; None without a reference.
        unseen_p_value: Probability of so many of them when both come from one distribution, whichever it is.
        importance: Share of the feature in what moves the model's answers, all features together 1; None when unknown,
            and of predictions.
        bins: What was compared, in tenths.
    """

    name: str
    of: Literal["feature", "prediction"]
    psi: float | None
    by_chance: float
    p_value: float | None
    rows: int
    reference_rows: int
    enough: bool
    unseen: float | None = None
    unseen_p_value: float = 1.0
    importance: float | None = None
    bins: Sequence[Bin] = ()


@dataclass(frozen=True, slots=True)
class Quality:
    """What is wrong with one feature's values.

    Attributes:
        feature: Its name.
        missing: Share of rows without a value.
        reference_missing: The same at training; None when unknown.
        out_of_range: Share of the values outside what the family's file allows.
        rows: Rows looked at.
        enough: Whether these are as many as the family asks for.
    """

    feature: str
    missing: float
    reference_missing: float | None
    out_of_range: float
    rows: int
    enough: bool


@dataclass(frozen=True, slots=True)
class FailingInstance:
    """A server that answered requests with a 5xx status: its name, how many requests it had, and how many failed."""

    name: str
    requests: int
    failed: int


@dataclass(frozen=True, slots=True)
class Service:
    """How the server that answers did; None is "unknown", never zero.

    Attributes:
        latency_p95_ms: 95 of 100 prediction requests were answered at least this fast, milliseconds.
        error_rate: Share of prediction requests answered with a 5xx status.
        throughput: Prediction requests a second.
        requests: How many there were.
        source: Where the figures come from; `prediction log` knows the latency alone.
        problem: Why something is unknown.
        enough: Whether the requests are as many as the family asks for.
        instances: How many servers had requests.
        failing: Those of them with failed requests, the worst first.
    """

    latency_p95_ms: float | None = None
    error_rate: float | None = None
    throughput: float | None = None
    requests: int | None = None
    source: Literal["prometheus", "prediction log", "nowhere"] = "nowhere"
    problem: str | None = None
    enough: bool = False
    instances: int = 0
    failing: Sequence[FailingInstance] = ()

    @property
    def failed(self) -> int | None:
        """Requests answered with a 5xx status; None where nobody counted them."""
        rate, requests = self.error_rate, self.requests
        return None if rate is None or requests is None or math.isnan(rate) else round(rate * requests)

    @property
    def is_blind(self) -> bool:
        """Whether Prometheus was to be asked and could not tell, which somebody has to hear of."""
        return self.source == "prometheus" and self.problem is not None


@dataclass(frozen=True, slots=True)
class Slice:
    """One step of a trend: from when to when, how many rows, and what was measured in it, by name."""

    since: datetime
    until: datetime
    rows: int
    labelled: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A short window just before now, or just before the labels end, in which one figure was measured.

    Attributes:
        since: Its start, UTC.
        until: Its end.
        value: What was measured; None when unknown.
        rows: On how many rows, or requests.
        enough: Whether these are as many as the family asks for.
        failed: Of requests, how many failed; None where the figure is another.
        fault: Which instances alone are to blame; empty where it may be the version.
    """

    since: datetime
    until: datetime
    value: float | None
    rows: int
    enough: bool
    failed: int | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Lately:
    """The newest windows of one figure.

    Attributes:
        stretches: Oldest first; those before the version went into Production are missing.
        together: All of them as one, beside the value at promotion; None of what was not promised.
        problem: Why it is unknown.
        coverage: Share of their rows that have a label; None of what needs no labels.
        label_bias: In which way those differ from all rows of these windows; empty where they look alike.
    """

    stretches: Sequence[Stretch] = ()
    together: Reading | None = None
    problem: str | None = None
    coverage: float | None = None
    label_bias: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a version was first seen answering in the window."""

    at: datetime
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was in the log or among the labels and was not counted.

    Attributes:
        bad_lines: Not JSON, or without what every line has.
        from_the_future: Stamped later than now: some clock is wrong.
        before_the_window: Too old to count; of a log that goes back further they are many, and no damage.
        other_families: Of another family.
        conflicting_labels: Rows that have two labels which differ.
        unknown_labels: Labels that are no class of the family.
        repeated_rows: Rows that stand in the log again: of one request, row and version the first is counted.
    """

    bad_lines: int = 0
    from_the_future: int = 0
    before_the_window: int = 0
    other_families: int = 0
    conflicting_labels: int = 0
    unknown_labels: int = 0
    repeated_rows: int = 0


@dataclass(frozen=True, slots=True)
class DataFlaw:
    """How much of what came in is not as it should be: the log's lines and rows, or the labels.

    Attributes:
        name: Which flaw: a key of `monitoring.data`.
        part: How many.
        whole: Out of how many.
        example: One of them, or why, in words.
    """

    name: str
    part: int
    whole: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One version in one role, over one window.

    Attributes:
        family: Whose.
        model: Registered model.
        version: MLflow's number.
        semver: Semantic version; None when unknown.
        role: As it answered: its answer was returned (`champion`, and `challenger` for its share), or not (`shadow`).
        is_production: Whether the journal has it in Production; None where the journal knows nothing of the family.
        serves: Whether it is the one that answers now: most of the newest rows are its, or it is in Production and
            there are none. Only of it is anybody told.
        since: Start of the window, UTC.
        until: Its end, UTC.
        rows: Predicted rows in the window.
        labelled: Rows whose label is known, in the labelled period.
        labelled_since: Start of the labelled period: as long as the window, it ends with the newest labelled row, since
            labels arrive late. None without labels.
        labelled_until: Its end.
        stray_labels: Says so where no label belongs to any row; empty otherwise.
        coverage: Share of the labelled period's rows that have a label; None without labels.
        label_bias: In which way the labelled rows differ from all of the period; empty where they look alike.
        metrics: By name: accuracy, precision, recall, f1, roc_auc; of a forecast rmspe and mae.
        concept: By predicted class: share of the positive label among the rows that were given this class. It is what
            changes when the world does and the inputs do not.
        drift: Of every feature, of the predicted class, of the probability.
        quality: Of every feature.
        service: Of the server; of all versions in the window together, which one server answers for.
        slices: The trend, oldest first.
        lately: Of the version in Production: `accuracy`, `error_rate` and `latency` in the newest windows, which decide
            whether it is taken back.
        arrivals: Versions first seen in the window, in this role.
        left_out: What was not counted.
        reference: Where the reference comes from; None when there is none.
        answers: Share of the newest rows that each version answered as champion, by its name, the largest first.
        labels_due: Whether there is a file of labels, and the version serves longer than the family waits for them.
        is_rolling_out: Whether the version in Production, which was deployed from here, answers some beside this one.
        flaws: Of the log and the labels, those that could be looked for.
        silence: Why the log seems to have ended, in words; empty where it goes on.
        groups: Its rows of each group of the family's segments, by name; of the version that answers alone.
    """

    family: str
    model: str
    version: int
    semver: str | None
    role: ServedRole
    is_production: bool | None
    serves: bool
    since: datetime
    until: datetime
    rows: int
    labelled: int = 0
    labelled_since: datetime | None = None
    labelled_until: datetime | None = None
    stray_labels: str = ""
    coverage: float | None = None
    label_bias: str = ""
    metrics: Mapping[str, Reading] = field(default_factory=dict)
    concept: Mapping[str, Reading] = field(default_factory=dict)
    drift: Sequence[Drift] = ()
    quality: Sequence[Quality] = ()
    service: Service = Service()
    slices: Sequence[Slice] = ()
    lately: Mapping[str, Lately] = field(default_factory=dict)
    arrivals: Sequence[Arrival] = ()
    left_out: LeftOut = LeftOut()
    reference: str | None = None
    answers: Mapping[str, float] = field(default_factory=dict)
    labels_due: bool = False
    is_rolling_out: bool = False
    flaws: Sequence[DataFlaw] = ()
    silence: str = ""
    groups: Mapping[str, Observation] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.model} v{self.version}"

    def as_json(self) -> dict[str, Any]:
        """Plain data: times in ISO 8601, and null for what is not finite, which JSON cannot spell."""
        document: dict[str, Any] = _plain(asdict(self))
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

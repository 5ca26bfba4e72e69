"""What the monitor looks at, and what is known of it beside the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from promotion.config.family import FamilyConfig
from promotion.config.policy import Monitoring
from promotion.export.contract import Contract, contract_of
from promotion.gates.evidence import Interval
from promotion.monitoring.labels.labels import Labels
from promotion.monitoring.observe.engines import Counter, CountingEngine
from promotion.monitoring.observe.reference import Reference

VersionKey = tuple[str, int]
"""Registered model and MLflow's number."""
SLICES = 24
"""Steps of a trend: hours of a day."""


@dataclass(frozen=True)
class KnownVersion:
    """What is known of a family's versions beside the log.

    Attributes:
        production: The version in Production; None when there is none.
        live_since: When it came there, UTC; None likewise.
        last_served: The version that served at the run before this one; None at the first.
        is_deployed: Whether the version in Production was deployed there from here, on all pods or as a canary.
        is_recorded: Whether the journal has ever moved a version of the family.
        metrics: Values at promotion by name, with their intervals, by version.
        semver: Semantic versions.
        references: Statistics of exports.
        labels: The most labels that the file held in the last runs.
    """

    production: VersionKey | None
    is_recorded: bool
    metrics: Mapping[VersionKey, Mapping[str, Interval]]
    semver: Mapping[VersionKey, str]
    references: Mapping[VersionKey, Reference]
    live_since: datetime | None = None
    last_served: VersionKey | None = None
    is_deployed: bool = False
    labels: int = 0


@dataclass(frozen=True)
class Watch:
    """What to look at.

    Attributes:
        config: The family.
        source: Its prediction log.
        until: End of the window, UTC.
        window: Its length.
        labels: File of labels.
        engine: Who counts.
        prometheus: Address of Prometheus; None for none.
        received: Columns and classes of a family whose file does not state them.
    """

    config: FamilyConfig
    source: str
    until: datetime
    window: timedelta
    labels: Path | None = None
    engine: CountingEngine = "pandas"
    prometheus: str | None = None
    received: Contract | None = None

    @cached_property
    def contract(self) -> Contract:
        """Columns and classes of the rows."""
        return self.received or contract_of(self.config)

    @cached_property
    def policy(self) -> Monitoring:
        """The family's bounds; the documented ones where its file has none."""
        return self.config.monitoring_policy

    def at(self, until: datetime) -> Watch:
        """The same at another time: what the family's file says is not asked again."""
        then = replace(self, until=until)
        vars(then).update(contract=self.contract, policy=self.policy)
        return then

    def read_labels(self) -> Labels | None:
        """The labels that have arrived; None where no file of them is named."""
        if self.labels is None:
            return None
        from promotion.monitoring.labels.files import read_labels

        return read_labels(self.labels, self.config, self.received)


@dataclass(frozen=True, slots=True)
class Past:
    """Labels and log, read once for many looks: the labels, and who counts the rows of a time; no trend is drawn."""

    labels: Labels | None
    count: Counter

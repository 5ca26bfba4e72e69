"""What labels say of a canary beside the stable pods, read anew when labels arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.delivery.canary.records import LabelCounts, VersionName
from promotion.errors import UsageError
from promotion.export.contract import Contract
from promotion.monitoring.ab_test.outcomes import count_wrong
from promotion.monitoring.labels.files import read_labels
from promotion.monitoring.watched_contract import watched_contract


@dataclass(slots=True)
class CanaryLabels:
    """The labels of one family, as `LiveLabels`.

    Attributes:
        config: The family.
        contract: Its columns and classes.
        source: The prediction log.
        path: The file of labels.
    """

    config: FamilyConfig
    contract: Contract
    source: str
    path: Path
    _written: tuple[int, int] | None = None
    _found: tuple[LabelCounts, LabelCounts] = field(default=((0, 0), (0, 0)))

    @classmethod
    def of(cls, settings: Settings, config: FamilyConfig, source: str, export: Path) -> CanaryLabels:
        """The labels that a family's file names.

        Raises:
            UsageError: It names none, or the family predicts numbers, which are neither right nor wrong.
        """
        if not (known := config.monitoring_policy.labels):
            raise UsageError(f"{config.family}'s file names no labels (monitoring.labels)")
        contract = watched_contract(config, settings.home, [export] if (export / "schema.json").is_file() else [])
        if not contract.classes:
            raise UsageError(f"{config.family} predicts numbers, which are neither right nor wrong")
        return cls(config, contract, source, settings.home / known)

    def __call__(self, canary: VersionName, stable: VersionName, since: datetime) -> tuple[LabelCounts, LabelCounts]:
        """Count; without a file of labels nobody knows anything yet.

        Raises:
            UsageError: There is no log.
            DataError: Log or labels cannot be read.
        """
        if not self.path.is_file():
            return self._found
        file = self.path.stat()
        if self._written != (file.st_mtime_ns, file.st_size):
            labels = read_labels(self.path, self.config, self.contract)
            self._found = count_wrong(self.source, self.contract, labels, (canary, stable), since)
            self._written = file.st_mtime_ns, file.st_size
        return self._found

"""A month in which everything happened that a compliance report tells, recorded by the journal itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.promotion.factories import a_version, promote

from promotion.approvals.rules import Word
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Registration
from promotion.journal.reviews import Reviews
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage

FAMILY = "alzheimer_classifier"
HEART = "heart-disease"
METRICS = {"accuracy": 0.9163, "roc_auc": 0.9412}
HOSTILE = '=HYPERLINK("http://x") <script>alert(1)</script>'


class Scribe:
    """Writes records at chosen moments of October 2026.

    Args:
        journal: Where to.
        monkeypatch: Moves the clock, without the mark of a rehearsal.
    """

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = journal
        self.reviews = Reviews(journal)
        self._now = datetime(2026, 9, 20, 9, tzinfo=UTC)
        monkeypatch.setattr(clock, "now", lambda: self._now)

    def at(self, day: int, hour: int = 9, minute: int = 0, month: int = 10) -> None:
        """It is that time now."""
        self._now = datetime(2026, month, day, hour, minute, tzinfo=UTC)

    def register(self, number: int, semver: str) -> ModelVersion:
        """Register a version as training does."""
        version = a_version(FAMILY, number)
        lineage = {"git_commit": "8b149fe2b0e5", "data_sha256": "ab" * 32, "params": {"n_estimators": 100}}
        registration = Registration(f"{number}" * 64, None, "maria@company.com", "de68" * 16, METRICS, lineage)
        self.journal.register(FAMILY, [(version, registration)], actor="jenkins", semver=semver)
        return version

    def report(self, version: ModelVersion, *, passed: bool) -> int:
        """Keep a gate report."""
        report = {"metrics": METRICS, "passed": passed}
        return self.journal.save_report(
            family=FAMILY,
            version=version,
            target=Stage.PRODUCTION,
            passed=passed,
            report=report,
            evidence="e" * 64,
            actor="jenkins",
        )

    def authority(
        self, action: str, reason: str, version: ModelVersion, details: Mapping[str, Any] | None = None
    ) -> Authority:
        """John lets Jenkins do something."""
        passed = not details
        report = self.report(version, passed=passed)
        return Authority(action, "jenkins", reason, report, "john.doe@company.com", details or {})

    def say(self, version: ModelVersion, role: str, approver: str, *, approved: bool = True) -> None:
        """Approve or reject."""
        entry = self.journal.entry(FAMILY, version.number)
        assert entry is not None
        assert entry.digest is not None
        now = clock.now()
        word = Word(
            role=role,
            approver=approver,
            approved=approved,
            comment="looks fine" if approved else "requirements are not pinned",
            artifact_digest=entry.digest,
            evidence="e" * 64,
            at=now,
            expires_at=now + timedelta(days=30),
        )
        values = {name: getattr(word, name) for name in Word.__slots__ if name not in {"at", "rules"}}
        values |= {"statement": word.statement(FAMILY, entry), "signature": None}
        values["gate_report_id"] = self.report(version, passed=False)
        self.reviews.add_approval(FAMILY, entry, values, "jenkins")


def october(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Scribe:
    """Record it; afterwards it is 3 November."""
    scribe = Scribe(journal, monkeypatch)
    first = scribe.register(1, "1.0.0")
    promote(journal, FAMILY, first, scribe.authority("promote", "first version", first))
    promote(journal, HEART, a_version(f"{HEART}-random_forest", 3), Authority("promote", "anna", "the best"))
    scribe.at(2)
    second = scribe.register(2, "1.1.0")
    current = journal.production(FAMILY)
    assert current is not None
    staging = scribe.authority("stage", "passed validation", second)
    journal.move(FAMILY, [Change(second, Stage.STAGING)], staging, expected_production=current.id)
    scribe.at(9, 11)
    scribe.say(second, "security", "sam@company.com", approved=False)
    scribe.at(10)
    refused = {"refused": ["days in Staging", "approvals"]}
    journal.record(FAMILY, second, scribe.authority("refuse", "release 14", second, refused))
    scribe.say(second, "security", "sam@company.com")
    scribe.say(second, "business", "bea@company.com")
    scribe.at(12, 14, 3)
    promote(journal, FAMILY, second, scribe.authority("promote", "release 14", second))
    scribe.at(15, 3, 12)
    entry = journal.production(FAMILY)
    assert entry is not None
    incident = scribe.reviews.open_incident(
        FAMILY, entry, severity="critical", summary="accuracy fell to 0.79", actor="on-call"
    )
    scribe.at(15, 3, 20)
    back = [Change(entry, Stage.ARCHIVED, known_bad="accuracy fell"), Change(first, Stage.PRODUCTION)]
    journal.move(FAMILY, back, scribe.authority("rollback", "accuracy fell", first), expected_production=entry.id)
    scribe.at(15)
    scribe.reviews.close_incident(incident, resolution="rolled back; a unit had changed", actor="omar")
    scribe.at(20)
    third = scribe.register(3, "1.2.0")
    scribe.at(24, 16, 45)
    promote(journal, FAMILY, third, scribe.authority("promote", HOSTILE, third, {"override": ["days in Staging"]}))
    scribe.at(26, 7)
    found = {"found": [f"{FAMILY} v4: MLflow shows Production, the journal None"]}
    journal.record(FAMILY, a_version(FAMILY, 4), Authority("quarantine", "journal", "moved outside", details=found))
    scribe.at(26, 7, 30)
    journal.record(FAMILY, a_version(FAMILY, 4), Authority("restore", "omar", "a click", details=found))
    scribe.at(28)
    rehearsed = Authority("promote", "anna", "the best", details={"clock": "set by hand"})
    promote(journal, HEART, a_version(f"{HEART}-logistic_regression", 7), rehearsed)
    scribe.at(3, month=11)
    return scribe

"""The rules a family's file may hold, and the figures that stand where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.promotion.factories import a_family

from promotion.config.family import load_config
from promotion.config.policy import Approvals, Gates, Monitoring, Retention, StagingDays, Threshold
from promotion.config.settings import REPOSITORY


def test_the_governed_family_has_the_guidelines_figures() -> None:
    """Metrics, costs, days, roles, retention and alert levels are the documented ones."""
    config = load_config(REPOSITORY / "config", "alzheimer_classifier")
    gates = config.gates

    assert (0.85, 0.80) == (gates.thresholds["accuracy"].minimum, gates.thresholds["roc_auc"].minimum)
    assert (100, 100, 1000) == (gates.latency_p95_ms, gates.artifact_size_mb, gates.peak_memory_mb)
    assert gates.cpu is not None
    assert (0.8, 10) == (gates.cpu.share, gates.cpu.requests_per_second)
    assert StagingDays(minimum=7, typical=14) == gates.staging
    assert config.approvals is not None
    assert ["data-science", "devops", "business", "security"] == config.approvals.roles
    assert config.approvals.signed
    assert set(config.approvals.roles) == set(config.approvals.approvers)
    assert ["john.doe@company.com"] == config.access.production
    assert 365 <= config.retention.days
    assert Monitoring(action="rollback", rollback=Monitoring().rollback) == config.monitoring
    assert "manual" == config.promotion
    assert all((gates.data_quality, gates.documentation, gates.incidents, gates.monitoring, gates.rollback_plan))


def test_a_family_that_says_nothing_asks_for_little() -> None:
    """No approvals, no days, no costs; a broken signature is refused all the same, and a year is kept."""
    config = a_family(gates={})

    assert config.approvals is None
    assert Gates() == config.gates
    assert (None, None, "checked") == (config.gates.staging, config.gates.latency_p95_ms, config.gates.signature)
    assert Retention(days=365) == config.retention
    assert (None, None) == (config.access.staging, config.access.production)
    assert "alert-only" == Monitoring().action


@pytest.mark.parametrize(
    ("part", "rules", "message"),
    [
        (Threshold, {}, "a threshold needs minimum, maximum or below"),
        (Approvals, {"roles": []}, "at least 1 item"),
        (Approvals, {"roles": ["devops"], "approvers": {"legal": ["lea"]}}, "approvers of unknown roles: legal"),
        (Approvals, {"roles": ["devops"], "signed": "yes"}, "valid boolean"),
        (
            Monitoring,
            {"action": "rollback"},
            "rollback needs evidence that is written down; add",
        ),
        (Monitoring, {"action": "rollback", "rollback": {"latency_ms": 500}}, "rollback needs evidence"),
        (Retention, {"days": 0}, "greater than or equal to 1"),
        (Retention, {"years": 1}, "Extra inputs are not permitted"),
        (Gates, {"latency_p95_ms": 0}, "greater than 0"),
        (StagingDays, {"minimum": "7"}, "valid number"),
    ],
)
def test_nonsense_is_refused(part: type[Any], rules: dict[str, Any], message: str) -> None:
    """Unknown keys, wrong types and rules that mean nothing."""
    with pytest.raises(ValidationError, match=message):
        part.model_validate(rules)

"""Families in every state that the overview has words for, on MLflow's real tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.promotion.factories import Store, a_family, promote

from promotion.config.family import BrokenFamily, FamilyConfigs
from promotion.delivery.canary.records import AnalysisPlan, AnalysisProgress
from promotion.errors import ConfigError
from promotion.journal.journal import Journal
from promotion.journal.monitoring import MonitoringRun, add_run, open_book
from promotion.journal.records import Authority, Change, Entry
from promotion.journal.systems.deployments import add_deployment
from promotion.overview.record import FamilyState, Overview
from promotion.overview.survey import survey
from promotion.registry.stages import Stage
from promotion.service import PromotionService

NASTY = '"><img src=x onerror=alert(1)>\u202e'
"""A registered model's name: nobody forbids it."""
LONG = "a-family-whose-name-" + "is-much-too-long-for-a-telephone-" * 4
ROLES = ["data scientist", "risk"]


def a_full_house(store: Store) -> PromotionService:
    """`churn` has everything, `quiet` serves, `bad` has a broken file, one has a nasty name and one a long one."""
    churn = a_family("churn", registered_model="churn", promotion="manual", approvals={"roles": ROLES})
    service = store.service(churn, a_family("quiet", registered_model="quiet"), a_family("fresh"))
    error = ConfigError("config/bad.yaml: unknown key 'thresholds': expected gates")
    service.configs = FamilyConfigs(dict(service.configs), {"bad": BrokenFamily(error, ("bad",))})
    journal = service.journal
    for model, versions in {"churn": 3, "quiet": 1, NASTY: 1, LONG: 1}.items():
        for _ in range(versions):
            store.register(model, roc_auc=0.9)
    first, second, third = (store.registry.version("churn", number) for number in (1, 2, 3))
    promote(journal, "churn", first)
    promote(journal, "churn", second, Authority("promote", "jenkins", NASTY, approver="bob@lab.example"))
    promote(journal, "churn", first, Authority("rollback", "monitor", "accuracy fell"))
    _stage(journal, third)
    for name in ("quiet", NASTY, LONG):
        promote(journal, name, store.registry.version(name, 1))
    for name in ("churn", "quiet", NASTY, LONG):
        store.move(name, 1, Stage.PRODUCTION)
    store.move("churn", 3, Stage.STAGING)
    journal.mark_done(journal.pending())
    report: dict[str, Any] = {"passed": False}
    journal.save_report(
        family="churn",
        version=third,
        target=Stage.PRODUCTION,
        passed=False,
        report=report,
        evidence="e" * 64,
        actor="jenkins",
    )
    _watch(journal)
    _deploy(journal, "churn", journal.entry("churn", 2))
    _deploy(journal, "quiet", journal.entry("quiet", 1))
    progress = AnalysisProgress(AnalysisPlan((10, 50)), 1, 1, "advance at 10 %")
    analysed = {"analysis": progress.as_json()}
    _deploy(journal, "quiet", journal.entry("quiet", 1), environment="staging", track="canary", explanation=analysed)
    return service


def of(overview: Overview, family: str) -> FamilyState:
    """What is told of one family."""
    return next(state for state in overview.families if state.family == family)


def surveyed(store: Store) -> Overview:
    """The same, looked at."""
    return survey(a_full_house(store))


def _stage(journal: Journal, version: Any) -> None:
    current = journal.production("churn")
    assert current
    staged = Authority("stage", "anna", "validated")
    journal.move("churn", [Change(version, Stage.STAGING)], staged, expected_production=current.id)


def _watch(journal: Journal) -> None:
    """The monitor found the version that serves much worse than it should be."""
    text = f"accuracy 0.61 is below 0.80 {NASTY}"
    with open_book(journal, "churn") as book:
        entry = journal.production("churn")
        assert entry
        book.add(entry.id, "accuracy", "critical", {"text": text, "level": "critical", "key": "accuracy"})
    now = journal.now()
    add_run(journal, MonitoringRun("churn", "churn", 1, now - timedelta(days=1), now, 300, "critical", {}, []))


def _deploy(journal: Journal, family: str, entry: Entry | None, **values: Any) -> None:
    assert entry
    placed = {"environment": "production", "track": "stable"} | values
    with journal.transaction(family) as transaction:
        add_deployment(
            transaction,
            version_id=entry.id,
            cluster="https://cluster.example",
            image=f"registry.example/{family}:1",
            labels={"model": entry.model, "version": entry.number},
            state="deployed",
            predecessor=None,
            actor="jenkins",
            **placed,
        )

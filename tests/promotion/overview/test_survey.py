"""The overview tells every family from what is recorded, and what cannot be read keeps nothing else from being told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.promotion.factories import START, Store
from tests.promotion.overview.full_house import LONG, NASTY, ROLES, a_full_house, of, surveyed

from promotion.errors import JournalError, RegistryUnreachable
from promotion.overview.record import ServedSpan
from promotion.overview.survey import survey
from promotion.registry.stages import Stage

pytestmark = pytest.mark.system


def test_a_family_is_told_whole(store: Store) -> None:
    """What serves and by whom, what waits for whose approval, the last report, alert, look and deployment."""
    overview = surveyed(store)
    churn = of(overview, "churn")

    assert [] == overview.unread
    assert sorted(["bad", "churn", "fresh", "quiet", NASTY, LONG]) == [it.family for it in overview.families]
    assert churn.serving
    assert churn.serving.arrival
    assert ("churn v1", "monitor", "rollback") == (
        churn.serving.name,
        churn.serving.arrival.actor,
        churn.serving.arrival.action,
    )
    assert churn.waiting
    assert ("churn v3", Stage.STAGING, 0) == (churn.waiting.name, churn.waiting.stage, churn.waiting.days(overview.at))
    assert dict.fromkeys(ROLES, "nobody yet") == churn.waiting.missing
    assert churn.report
    assert not churn.report.passed
    assert ["critical"] == [alert.level for alert in churn.alerts]
    assert churn.run
    assert ["churn v1", "churn v2", "churn v1"] == [span.name for span in churn.spans]


def test_each_reviewer_finds_the_command(store: Store) -> None:
    """One for each role, to be pasted into a shell as it is."""
    asks = [ask for ask in of(surveyed(store), "churn").asks if ask.is_review]

    assert ROLES == [ask.who for ask in asks]
    assert (
        "python mlops/registry/approve_model.py --model-name churn --version 3 --role 'data scientist' --approver WHO "
        "--comment WHAT-WAS-LOOKED-AT"
    ) == asks[0].command


def test_a_cluster_that_ran_something_else_when_it_was_looked_at_last_is_drift(store: Store) -> None:
    """Dated, and only where it differs."""
    overview = surveyed(store)

    (line,) = [line for line in of(overview, "churn").drift if "cluster" in line]
    assert line.startswith("the cluster ran churn v2 when it was looked at last, 20")
    assert line.endswith("UTC; the registry says churn v1")
    assert [] == of(overview, "quiet").drift


def test_a_canary_says_its_step(store: Store) -> None:
    """As the command says it."""
    (canary,) = [it for it in of(surveyed(store), "quiet").as_json(START)["deployments"] if it["analysis"]]

    assert "step 50 % (of 10, 50); advance at 10 %" == canary["analysis"]


def test_what_listings_say_of_a_family_the_overview_says_too(store: Store) -> None:
    """A stage chosen in MLflow's user interface, past the journal."""
    service = a_full_house(store)
    store.move("quiet", 1, Stage.ARCHIVED)

    (line,) = [line for line in of(survey(service), "quiet").drift if "cluster" not in line]
    assert "changed outside" in line
    assert "promote-model.py --restore --model quiet" in line


def test_a_broken_file_is_a_line_and_the_others_are_told(store: Store) -> None:
    """With whom it is asked of."""
    bad = of(surveyed(store), "bad")

    assert "config/bad.yaml: unknown key 'thresholds': expected gates" == bad.problem
    assert ["the family's owner"] == [ask.who for ask in bad.asks]


def test_a_registry_that_is_away_is_a_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the journal holds is told all the same, and nothing is called drift that nobody compared."""
    service = a_full_house(store)

    def away(_self: object) -> None:
        raise RegistryUnreachable("http://mlflow: no connection")

    monkeypatch.setattr(type(service.registry), "models", away)
    overview = survey(service)

    assert ["MLflow cannot be read: http://mlflow: no connection"] == overview.unread
    assert of(overview, "churn").serving


def test_a_journal_that_is_away_is_a_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The families of the files and of MLflow are named."""
    service = a_full_house(store)

    def away(_self: object) -> None:
        raise JournalError("postgresql://journal: no connection")

    monkeypatch.setattr(type(service.journal), "production_moves", away)
    overview = survey(service)

    assert ["the journal cannot be read: postgresql://journal: no connection"] == overview.unread
    assert None is of(overview, "churn").serving


def test_the_newest_version_in_no_stage_waits_where_none_is_staged(store: Store) -> None:
    """Only one that came after what serves; where training marks the best one, none but that."""
    service = a_full_house(store)
    assert None is of(survey(service), "quiet").waiting

    store.register("quiet", roc_auc=0.9)
    waiting = of(survey(service), "quiet").waiting
    assert waiting
    assert ("quiet v2", Stage.NONE) == (waiting.name, waiting.stage)

    store.register("fresh-linear", {"best_model": "true"}, roc_auc=0.9)
    store.register("fresh-forest", roc_auc=0.8)
    waiting = of(survey(service), "fresh").waiting
    assert waiting
    assert "fresh-linear v1" == waiting.name


def test_a_span_ends_where_the_next_begins(store: Store) -> None:
    """The last one now."""
    overview = surveyed(store)
    spans = of(overview, "churn").spans

    assert [span.until for span in spans[:-1]] == [span.since for span in spans[1:]]
    assert overview.at == spans[-1].until
    assert ServedSpan("x", START, START + timedelta(days=1), "promote").until > START

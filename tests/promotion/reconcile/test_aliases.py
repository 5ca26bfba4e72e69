"""Aliases follow the journal under the names that a family's file gives them, and one moved by hand is seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.promotion.factories import Store, an_entry

from promotion.bootstrap import open_promotions
from promotion.config.policy import Aliases
from promotion.listing import disagreements
from promotion.reconcile.aliases import moved_alias
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService

pytestmark = pytest.mark.system

CALLED = {"production": "champion", "staging": ["challenger", "shadow"], "previous": []}


def service(store: Store, **aliases: Any) -> PromotionService:
    """The service with a file that names these aliases, and no other rule."""
    path = store.home / "config" / "churn.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"family": "churn", "registered_model": "churn", "aliases": aliases}), encoding="utf-8")
    return open_promotions(store.settings)


def promote(store: Store, number: int, aliases: Mapping[str, Any], to: Stage = Stage.PRODUCTION) -> None:
    """Move a version."""
    found = service(store, **aliases)
    moved = found.promote(found.check(found.candidate("churn", number), to), Mover("anna", "better"))
    assert "" == moved.unprojected


@pytest.fixture
def churn(store: Store) -> Store:
    """Four versions, each better than the one before."""
    for number in range(4):
        store.register("churn", roc_auc=0.9 + number / 100)
    return store


def test_they_are_written_under_the_names_of_the_file(churn: Store) -> None:
    """One name, several, or none; an alias that only somebody else knows stays."""
    churn.client.set_registered_model_alias("churn", "production", "4")

    promote(churn, 1, CALLED)
    promote(churn, 3, CALLED, Stage.STAGING)
    promote(churn, 2, CALLED)

    expected = {"champion": "2", "challenger": "3", "shadow": "3", "production": "4"}
    assert expected == {name.removeprefix("churn@"): at for name, at in churn.aliases().items()}


def test_a_name_that_the_file_gives_up_leads_nowhere(churn: Store) -> None:
    """Whoever still loads by it must not get a version that serves no more; later it is anybody's again."""
    promote(churn, 1, {})
    promote(churn, 2, {})
    assert {"churn@production": "2", "churn@previous": "1"} == churn.aliases()

    promote(churn, 3, CALLED)
    assert {"churn@champion": "3"} == churn.aliases()
    promote(churn, 4, CALLED)
    churn.client.set_registered_model_alias("churn", "production", "1")
    promote(churn, 3, CALLED)
    assert {"churn@champion": "3", "churn@production": "1"} == churn.aliases()


@pytest.mark.parametrize("alias", ["champion", "challenger", "old"])
def test_one_moved_by_hand_is_seen_by_the_listing_and_by_every_reader(churn: Store, alias: str) -> None:
    """Whichever it is, and wherever it belongs."""
    called = {"production": "champion", "staging": "challenger", "previous": "old"}
    promote(churn, 1, called)
    promote(churn, 3, called, Stage.STAGING)
    promote(churn, 2, called)
    reader = service(churn, **called)
    assert {} == disagreements(churn.registry.models(), reader)

    churn.client.set_registered_model_alias("churn", alias, "4")

    (lines,) = disagreements(churn.registry.models(), reader).values()
    assert f"alias {alias} of churn points at v4" in lines[0]
    assert list(reader.unsettled("churn").lines) == [line for line in reader.outside_changes("churn") if alias in line]


def test_the_champion_moved_by_hand_is_adopted_like_production(churn: Store) -> None:
    """Without approvals the team's hand counts; the record says what was seen."""
    promote(churn, 1, CALLED)
    churn.client.set_registered_model_alias("churn", "champion", "2")

    service(churn, **CALLED).synchronise("churn")

    assert {"churn v1": "Archived", "churn v2": "Production"} == churn.shown()
    assert {"churn@champion": "2"} == churn.aliases()
    (event, *_) = service(churn).journal.history("churn")
    assert ("adopt", "None, with the alias champion") == (event.action, event.reason)


def test_a_challenger_named_by_the_file_and_moved_by_hand_is_staged(churn: Store) -> None:
    """By a team that works with aliases alone, also where the journal begins."""
    for alias, number in (("champion", "1"), ("challenger", "2")):
        churn.client.set_registered_model_alias("churn", alias, number)
    service(churn, **CALLED).synchronise("churn")
    assert {"churn v1": "Production", "churn v2": "Staging"} == churn.shown()

    churn.client.set_registered_model_alias("churn", "challenger", "3")
    service(churn, **CALLED).synchronise("churn")

    assert {"churn v1": "Production", "churn v2": "Staging", "churn v3": "Staging"} == churn.shown()
    assert {"churn@champion": "1", "churn@challenger": "3", "churn@shadow": "3"} == churn.aliases()
    assert () == tuple(service(churn, **CALLED).unsettled("churn").lines)


def test_with_approvals_a_champion_moved_by_hand_is_quarantined(churn: Store) -> None:
    """As any move past the rules."""
    promote(churn, 1, CALLED)
    churn.client.set_registered_model_alias("churn", "champion", "2")
    file = {"family": "churn", "registered_model": "churn", "aliases": CALLED, "approvals": {"roles": ["risk"]}}
    (churn.home / "config" / "churn.yaml").write_text(json.dumps(file), encoding="utf-8")

    found = open_promotions(churn.settings).unsettled("churn")

    assert found.is_quarantined
    assert "alias champion of churn points at v2 (None), the journal holds churn v1 in Production" in str(found)


def test_the_first_that_points_elsewhere_is_found() -> None:
    """In the order of the names; the journal's own place is no news."""
    held = [("tree", an_entry("tree", 1).number)]

    assert moved_alias({"tree": {"production": 1, "previous": 3}}, ["production"], held) is None
    assert ("production", ("tree", 2)) == moved_alias({"tree": {"production": 2}}, ["production"], held)
    found = moved_alias({"tree": {"champion": 1}, "line": {"champion": 1}}, ["production", "champion"], held)
    assert ("champion", ("line", 1)) == found
    assert ("champion", ("tree", 1)) == moved_alias({"tree": {"champion": 1}}, ["champion"], [])
    assert moved_alias({"tree": {"champion": 2}}, ["production"], held) is None


def test_without_a_file_the_aliases_have_the_roles_names() -> None:
    """And staging follows only."""
    assert (["production", "staging", "previous"], []) == (Aliases().all, Aliases().stage_by_hand)

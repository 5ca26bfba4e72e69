"""Recorded acts name the rules they stand under, which are kept once and cannot be rewritten unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from tests.promotion.audit.tampering import past_the_triggers
from tests.promotion.factories import ANNA, a_version, promote

from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import RuleSet
from promotion.rules.history import RuleHistory

STRICT: dict[str, Any] = {
    "family": "churn",
    "registered_model": ["churn"],
    "gates": {"thresholds": {"accuracy": {"minimum": 0.85}}},
}
LOOSE = STRICT | {"gates": {"thresholds": {"accuracy": {"minimum": 0.1}}}}
SAID = "gates.thresholds.accuracy.minimum 0.85 → 0.1 (looser)"


def rules(sections: dict[str, Any], **changes: Any) -> RuleSet:
    """A set of rules as somebody read it."""
    source = {"file": "config/churn.yaml", "state": "committed", "commit": "c" * 40, "dirty": False}
    return RuleSet(sections["family"], sections, source, **({"software": "1.0.0"} | changes))


class Rules:
    """A journal whose family is ruled by what was set last."""

    def __init__(self, folder: Path) -> None:
        self.now = rules(STRICT)
        self.journal = Journal(Database(f"sqlite:///{folder / 'promotion.db'}"), lambda _family: self.now)

    def promote(self, number: int, now: RuleSet | None = None, family: str = "churn") -> None:
        """Promote a version of `churn` by some rules."""
        self.now = now or self.now
        promote(self.journal, family, a_version("churn", number), ANNA)

    def told(self) -> dict[int, list[str]]:
        """By number of the version, what its promotion changed."""
        events = self.journal.history()
        found = RuleHistory(self.journal).of_promotions(events)
        return {event.number: list(map(str, found[event.sequence])) for event in events if event.sequence in found}


@pytest.fixture
def ruled(tmp_path: Path) -> Rules:
    return Rules(tmp_path)


@pytest.mark.system
def test_an_act_names_its_rules_and_each_set_is_kept_once(ruled: Rules) -> None:
    """Commit, state and software stand beside the digest, under which the rules can be read again."""
    for number in (1, 2):
        ruled.promote(number)

    named = [event.details["rules"] for event in ruled.journal.history()]
    assert [rules(STRICT).as_json()] * 3 == named
    assert STRICT == ruled.journal.rules(named[0]["digest"])
    with ruled.journal.database.read() as connection:
        assert 1 == connection.execute(text("SELECT count(*) FROM rule_set")).scalar()


def test_a_promotion_is_compared_with_the_one_before(ruled: Rules) -> None:
    """A new version of this package is told, too."""
    ruled.promote(1)
    ruled.promote(2, rules(LOOSE))
    ruled.promote(3, rules(LOOSE, software="2.0.0"))

    assert {2: [SAID], 3: ["promotion-layer 1.0.0 → 2.0.0 (changed)"]} == ruled.told()


def test_whoever_loosens_twice_is_told_twice(ruled: Rules) -> None:
    """The act between stands under the rules that were put back."""
    ruled.promote(1, rules(LOOSE))
    ruled.now = rules(STRICT)
    ruled.journal.record("churn", a_version("churn", 2), ANNA)
    ruled.promote(2, rules(LOOSE))

    assert {2: [SAID]} == ruled.told()


@pytest.mark.parametrize("family", ["churn", "other"])
def test_a_model_that_another_file_claims_is_compared_with_its_own_past(ruled: Rules, family: str) -> None:
    """The family of the file may be another one; the registered model is not."""
    ruled.promote(1)

    found = RuleHistory(ruled.journal).since_promotion(rules(LOOSE | {"family": family}), "churn")

    assert SAID in map(str, found)


def test_a_models_family_is_what_the_chain_says(ruled: Rules) -> None:
    """Another name in its row hides no change of the rules."""
    ruled.promote(1)
    ruled.promote(2, rules(LOOSE))
    with ruled.journal.database.write() as connection:
        connection.execute(text("INSERT INTO family SELECT 'elsewhere', created_at FROM family"))
        connection.execute(text("UPDATE model_registry SET family = 'elsewhere'"))

    assert {"churn": "churn"} == ruled.journal.homes()
    assert [SAID] == ruled.told()[2]


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE rule_set SET content = replace(content, '0.85', '0.1')",
            "its content is not what its digest was made of: edited",
        ),
        ("DELETE FROM rule_set", "missing: event 1 stands under them"),
    ],
    ids=["edited", "deleted"],
)
def test_rules_that_were_rewritten_are_found(ruled: Rules, statement: str, finding: str) -> None:
    """Triggers refuse it; past them `verify` finds it, and what was rewritten is believed by nobody."""
    ruled.promote(1)
    assert verify_journal(JournalSource(ruled.journal), [], {}).is_sound
    with pytest.raises(IntegrityError, match="append-only"), ruled.journal.database.write() as connection:
        connection.execute(text(statement))

    with past_the_triggers(f"sqlite:///{ruled.journal.database.file}") as connection:
        connection.execute(text(statement))

    (found,) = verify_journal(JournalSource(ruled.journal), [], {}).findings
    assert ("rules", finding) == (found.kind, found.what)
    assert ruled.journal.rules(rules(STRICT).digest) is None

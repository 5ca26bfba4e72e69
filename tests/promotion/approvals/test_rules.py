"""Which approvals count: whose, about what, until when; none that somebody wrote past the rules."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.promotion.factories import START, an_entry

from promotion.approvals.rules import Standing, Word, misstatement, standing
from promotion.config.policy import Approvals
from promotion.journal.records import Approval

DIGEST, EVIDENCE = "d" * 64, "e" * 64
ENTRY = an_entry("tiny-linear", 2, trainer="tina,tom@company.com")
POLICY = Approvals.model_validate({"roles": ["science", "devops"], "approvers": {"devops": ["Dora@company.com"]}})


def _approval(number: int = 1, *, minutes: int = 0, **changes: Any) -> Approval:
    """Anna's word for science, said some minutes after the start, with a statement that fits."""
    at = START + timedelta(minutes=minutes)
    said: dict[str, Any] = {"role": "science", "approver": "anna", "approved": True, "comment": "read it"} | {
        "artifact_digest": DIGEST,
        "evidence": EVIDENCE,
        "expires_at": at + timedelta(days=30),
    }
    word = Word(at=at, **(said | {name: value for name, value in changes.items() if name in said}))
    rest = {"gate_report_id": 1, "statement": word.statement("tiny", ENTRY), "signature": None, "recorded": True}
    return Approval(id=number, created_at=at, **({**said, **rest} | changes))


def _standing(*approvals: Approval, **changes: Any) -> Standing:
    asked: dict[str, Any] = {
        "entry": ENTRY,
        "digest": DIGEST,
        "evidence": EVIDENCE,
        "now": START + timedelta(days=1),
        "verify": lambda _approval: "",
    }
    return standing(POLICY, approvals, **(asked | changes))


def test_an_approval_counts_for_its_role() -> None:
    """The other role is still missing."""
    found = _standing(_approval())

    assert ({"science": "anna"}, {"devops": "nobody yet"}) == (
        {role: approval.approver for role, approval in found.given.items()},
        found.missing,
    )


@pytest.mark.parametrize(
    ("approval", "reason"),
    [
        (_approval(approved=False, comment="too old data"), "rejected by anna: too old data"),
        (_approval(artifact_digest="x" * 64), "anna approved another artifact"),
        (_approval(evidence="x" * 64), "the evidence changed since anna approved: ask again"),
        (_approval(expires_at=START + timedelta(hours=1)), "approval of anna expired on 2026-01-01"),
        (_approval(approver="Tina@elsewhere.org"), "Tina@elsewhere.org trained it"),
        (_approval(approver="tom"), "tom trained it"),
        (_approval(recorded=False), "in no recorded event: it was written past the journal"),
    ],
)
def test_an_approval_that_does_not_count_says_why(approval: Approval, reason: str) -> None:
    """Rejected, void, expired, from a trainer, or unrecorded."""
    assert reason in _standing(approval).missing["science"]


def test_an_approval_is_void_once_the_rules_it_names_have_changed() -> None:
    """One from before rules were recorded names none: it counts until it expires, bound to its evidence."""
    word = Word("science", "anna", True, "read it", DIGEST, EVIDENCE, START, START + timedelta(days=30))  # noqa: FBT003
    approval = _approval()
    named = replace(approval, statement=replace(word, rules="r" * 64).statement("tiny", ENTRY))
    asked: list[str] = []

    def since(digest: str) -> list[str]:
        asked.append(digest)
        return ["gates.staging.minimum 7 → 0 (looser)"]

    void = _standing(named, rules_since=since).missing["science"]
    assert "the rules changed since anna approved: gates.staging.minimum 7 → 0 (looser): ask again" == void
    assert {"science"} == set(_standing(named, rules_since=lambda _digest: []).given)
    assert {"science"} == set(_standing(approval, rules_since=since).given)
    assert ["r" * 64] == asked


def test_a_rejection_outweighs_an_earlier_approval() -> None:
    """The role's last word in the chain counts, whatever the two are dated."""
    rejection = _approval(2, minutes=5, approver="bert", approved=False)

    for minutes in (0, 9):
        approval = _approval(minutes=minutes)
        assert "rejected by bert" in _standing(approval, rejection).missing["science"]
        assert {"science"} == set(_standing(rejection, approval).given)


def test_what_was_said_in_a_rehearsal_counts_for_nothing() -> None:
    """Neither for nor against a version; where nothing else was said, that is the reason."""
    approval = _approval()
    rehearsed = _approval(2, minutes=5, approver="bert", approved=False, is_void=True)

    assert {"science"} == set(_standing(approval, rehearsed).given)
    why = "the word of bert was given in a rehearsal (PROMOTION_CLOCK was set), which counts in no check outside one"
    assert why == _standing(rehearsed).missing["science"]


@pytest.mark.parametrize(("seconds", "counts"), [(60, True), (61, False)])
def test_a_word_from_the_future_does_not_count(seconds: int, *, counts: bool) -> None:
    """It would expire later than it may; what clocks are apart is forgiven."""
    now = START - timedelta(seconds=seconds)

    assert counts == ("science" in _standing(_approval(), now=now).given)


def test_a_person_speaks_for_one_role() -> None:
    """However they spell their name."""
    dora = _approval(2, role="devops", approver="dora@company.com")

    found = _standing(_approval(approver="DORA"), dora)

    assert {"devops": "dora@company.com speaks for science already"} == found.missing


def test_only_named_people_speak_for_a_role_that_names_some() -> None:
    """Somebody who was taken off the list no longer counts either."""
    assert {"devops": "anna does not speak for devops"}.items() <= _standing(_approval(role="devops")).missing.items()


def test_without_a_known_trainer_nobody_counts() -> None:
    """Nobody can be told apart from a person who is unknown."""
    found = _standing(_approval(), entry=replace(ENTRY, trainer=None))

    assert "who trained the version is unknown" in found.missing["science"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"approved": False}, "decision"),
        ({"role": "devops"}, "role"),
        ({"approver": "zoe"}, "approver"),
        ({"evidence": "0" * 64}, "evidence"),
        ({"artifact_digest": "0" * 64}, "artifact"),
        ({"comment": "fine"}, "comment"),
        ({"expires_at": START + timedelta(days=99)}, "expires"),
        ({"statement": "nonsense"}, "decision, model"),
    ],
)
def test_a_row_that_claims_more_than_was_stated_is_exposed(changes: dict[str, Any], named: str) -> None:
    """A genuine, signed statement does not cover another decision, person, evidence or period."""
    row = replace(_approval(), **changes)

    assert f"the approval of {row.approver} is not what was stated: {named}" in misstatement(row, ENTRY)


def test_a_statement_about_another_version_does_not_count() -> None:
    """Signed for version 2, put under version 3."""
    assert "is not what was stated: number" in _standing(_approval(), entry=replace(ENTRY, number=3)).missing["science"]
    assert "number" in misstatement(_approval(), replace(ENTRY, number=3))


def test_a_statement_is_one_line_that_says_everything() -> None:
    """What is signed can be read without this project."""
    said = json.loads(_approval().statement)

    assert {
        "decision": "approve",
        "model": "tiny-linear",
        "number": 2,
        "version": "1.1.0",
        "role": "science",
    }.items() <= (said.items())
    assert 1 == len(_approval().statement.splitlines())


def test_a_signature_is_asked_last_and_of_those_that_would_count() -> None:
    """Its problem is the reason then."""
    assert "forged" == _standing(_approval(), verify=lambda _approval: "forged").missing["science"]


@pytest.mark.parametrize("recorder", ["tom@laptop", "Tom <tom@company.com>", "account", None])
def test_what_the_trainers_own_account_recorded(recorder: str | None) -> None:
    """It counts and is remarked; where recorders are independent it counts no more."""
    approval = _approval(recorder=recorder)
    is_own = recorder is not None and "tom" in recorder
    strict = POLICY.model_copy(update={"recorder": "independent"})

    assert ({"science"} if is_own else set()) == set(_standing(approval).remarks)
    found = standing(
        strict, [approval], entry=ENTRY, digest=DIGEST, evidence=EVIDENCE, now=START, verify=lambda _approval: ""
    )
    assert is_own == ("was recorded by the trainer's own account" in found.missing.get("science", ""))

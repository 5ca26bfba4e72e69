"""Approvals at their edges: the last moment, the last digit, the same person twice, one voice too few."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.facts import is_fact
from tests.promotion.factories import START, an_entry
from tests.promotion.gates.cases import a_config, a_context

from promotion.approvals.people import person, persons, trainers
from promotion.approvals.rules import Standing, Word, may_speak, misstatement, standing
from promotion.config.family import FamilyConfig
from promotion.config.policy import Approvals
from promotion.gates import APPROVALS, Context, GateResult, run_gates
from promotion.journal.records import Approval, Entry

DIGEST, EVIDENCE = "d" * 64, "e" * 64
INSTANT, PERIOD = timedelta(microseconds=1), timedelta(days=30)
ENTRY = an_entry("tiny-forest", 2, trainer="tina")


def said(role: str, approver: str, number: int = 1, *, at: datetime = START, **changes: Any) -> Approval:
    """One word with the statement that fits, unless the row claims otherwise."""
    values: dict[str, Any] = {
        "role": role,
        "approver": approver,
        "approved": True,
        "comment": "read it",
        "artifact_digest": DIGEST,
        "evidence": EVIDENCE,
        "expires_at": at + PERIOD,
    }
    stated = values | {name: value for name, value in changes.items() if name in values}
    rest = {"gate_report_id": 1, "statement": Word(at=at, **stated).statement("tiny", ENTRY), "signature": None}
    return Approval(id=number, created_at=at, **({**stated, **rest, "recorded": True} | changes))


def weighed(
    *approvals: Approval,
    roles: Sequence[str] = ("science",),
    policy: dict[str, Any] | None = None,
    **changes: Any,
) -> Standing:
    """Where the roles stand."""
    asked: dict[str, Any] = {
        "entry": ENTRY,
        "digest": DIGEST,
        "evidence": EVIDENCE,
        "now": START,
        "verify": lambda _approval: "",
    }
    rules = Approvals.model_validate({"roles": list(roles), **(policy or {})})
    return standing(rules, approvals, **(asked | changes))


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        (START, True),
        (START + PERIOD - INSTANT, True),
        (START + PERIOD, False),
        (START + PERIOD + INSTANT, False),
    ],
)
def test_an_approval_counts_until_the_moment_it_expires(now: datetime, *, counts: bool) -> None:
    """Not in that moment any more."""
    found = weighed(said("science", "anna"), now=now)

    assert (["science"] if counts else []) == list(found.given)
    assert ({} if counts else {"science": "approval of anna expired on 2026-01-31"}) == found.missing


@pytest.mark.parametrize(
    ("digest", "evidence", "why"),
    [
        (DIGEST, EVIDENCE, None),
        (DIGEST[:-1] + "0", EVIDENCE, "anna approved another artifact"),
        ("0" + DIGEST[1:], EVIDENCE, "anna approved another artifact"),
        (DIGEST[:12], EVIDENCE, "anna approved another artifact"),
        (None, EVIDENCE, "anna approved another artifact"),
        (DIGEST, EVIDENCE[:-1] + "0", "the evidence changed since anna approved: ask again"),
        (DIGEST, EVIDENCE[:12], "the evidence changed since anna approved: ask again"),
        (DIGEST, "", "the evidence changed since anna approved: ask again"),
        (DIGEST, EVIDENCE + "0", "the evidence changed since anna approved: ask again"),
    ],
)
def test_digests_are_compared_whole(digest: str | None, evidence: str, why: str | None) -> None:
    """The first or the last digit, too few or too many: another artifact, other evidence."""
    found = weighed(said("science", "anna"), digest=digest, evidence=evidence)

    assert ({"science": why} if why else {}) == found.missing
    assert (["science"] if not why else []) == list(found.given)


ROLES = ("science", "devops", "business")


@pytest.mark.parametrize(
    ("speakers", "missing"),
    [
        ([], list(ROLES)),
        (["anna"], ["devops", "business"]),
        (["anna", "bert"], ["business"]),
        (["anna", "bert", "carl"], []),
        (["anna", "anna", "carl"], ["devops"]),
        (["anna", " Anna ", "carl"], ["devops"]),
        (["anna", "ANNA@company.com", "carl"], ["devops"]),
        (["anna", "bert", "anna@laptop"], ["business"]),
        (["anna", "anna", "anna"], ["devops", "business"]),
        (["anna", "tina", "carl"], ["devops"]),
        (["anna", "Tina@home", "carl"], ["devops"]),
        (["anna", "annabel", "carl"], []),
    ],
)
def test_every_role_needs_another_person(speakers: list[str], missing: list[str]) -> None:
    """However a name is spelt, whoever trained it speaks for nobody, and one voice too few is too few."""
    words = [said(role, name, number) for number, (role, name) in enumerate(zip(ROLES, speakers, strict=False))]
    found = weighed(*words, roles=ROLES)

    assert missing == list(found.missing)
    assert [role for role in ROLES if role not in missing] == list(found.given)
    assert len(found.given) == len({person(word.approver) for word in found.given.values()})


def test_who_speaks_twice_is_told_for_whom_already() -> None:
    """The role that comes first in the family's file has them; one whose word does not count there is free."""
    words = [said("devops", "anna", 1), said("science", "anna@laptop", 2)]
    assert {"devops": "anna speaks for science already"} == weighed(*words, roles=("science", "devops")).missing
    assert {"science": "anna@laptop speaks for devops already"} == weighed(*words, roles=("devops", "science")).missing

    rejected = replace(words[1], approved=False)
    assert ["devops"] == list(weighed(words[0], rejected, roles=("science", "devops")).given)


@pytest.mark.parametrize(
    ("trainer", "problem"),
    [
        (None, "who trained the version is unknown"),
        ("", "who trained the version is unknown"),
        (" , ", "who trained the version is unknown"),
        ("anna", "anna trained it"),
        ("tina, ANNA@work", "anna trained it"),
        ("tina", None),
        ("ann", None),
    ],
)
def test_whoever_trained_it_must_be_known_and_somebody_else(trainer: str | None, problem: str | None) -> None:
    """A blank name is nobody's."""
    found = weighed(said("science", "anna"), entry=replace(ENTRY, trainer=trainer))

    assert (problem is None) == (not found.missing)
    assert (problem or "") in found.missing.get("science", "")


def test_a_version_nobody_knows_has_no_approval() -> None:
    """Without an entry the statement is about another version."""
    assert "is not what was stated: model, number" in weighed(said("science", "anna"), entry=None).missing["science"]


@pytest.mark.parametrize(
    ("approvers", "name", "may"),
    [
        ({}, "anybody", True),
        ({"devops": ["dora"]}, "anybody", True),
        ({"science": ["anna"]}, "anna", True),
        ({"science": ["Anna@company.com"]}, "anna@laptop", True),
        ({"science": ["anna"]}, "ann", False),
        ({"science": ["anna"]}, "annabel", False),
        ({"science": []}, "anna", False),
    ],
)
def test_who_may_speak_for_a_role(approvers: dict[str, list[str]], name: str, *, may: bool) -> None:
    """A role that is not listed is open; an empty list is nobody; a name is compared whole."""
    policy = {"approvers": approvers}
    rules = Approvals.model_validate({"roles": ["science", "devops"], **policy})

    assert may == may_speak(rules, "science", name)
    found = weighed(said("science", name), roles=("science", "devops"), policy=policy)
    assert may == ("science" in found.given)


def test_the_last_word_in_the_chain_counts() -> None:
    """Neither what a statement is dated nor the number of its row."""
    new = said("science", "bert", 2, approved=False, comment="no")

    for old in (said("science", "anna", 1), said("science", "anna", 9, at=START + INSTANT)):
        assert {"science": "rejected by bert: no"} == weighed(old, new).missing


def test_the_first_objection_is_told() -> None:
    """Each is taken away in turn, and the next one shows, until nothing is left."""
    sound = said("science", "anna")
    row = replace(sound, recorded=False, approved=False, statement=said("science", "zoe").statement)
    others: dict[str, Any] = {
        "now": START + PERIOD,
        "digest": "0" * 64,
        "evidence": "0" * 64,
        "policy": {"approvers": {"science": ["bert"]}},
        "entry": replace(ENTRY, trainer=None),
        "verify": lambda _approval: "forged",
    }

    for objection, of_the_row, of_the_rest in (
        ("in no recorded event", {"recorded": True}, {}),
        ("rejected by anna", {"approved": True}, {}),
        ("expired", {}, {"now": START}),
        ("another artifact", {}, {"digest": DIGEST}),
        ("the evidence changed", {}, {"evidence": EVIDENCE}),
        ("does not speak for science", {}, {"policy": {}}),
        ("is not what was stated: approver", {"statement": sound.statement}, {}),
        ("who trained the version is unknown", {}, {"entry": ENTRY}),
        ("forged", {}, {"verify": lambda _approval: ""}),
    ):
        assert objection in weighed(row, **others).missing["science"]
        row, others = replace(row, **of_the_row), others | of_the_rest
    assert {} == weighed(row, **others).missing


@pytest.mark.parametrize("statement", ["", "null", "7", "[]", "[1]", "{", '"text"', "{}"])
def test_a_statement_that_says_nothing_covers_nothing(statement: str) -> None:
    """Whatever it is: no crash, and no approval."""
    word = said("science", "anna", statement=statement)
    everything = "decision, model, number, artifact, evidence, role, approver, comment, expires"

    assert f"the approval of anna is not what was stated: {everything}" == misstatement(word, ENTRY)
    assert ["science"] == list(weighed(word).missing)


def test_a_statement_holds_every_part_of_a_word() -> None:
    """Times in UTC to the microsecond, so that a signature fixes them."""
    word = said("science", "anna", at=datetime(2026, 1, 1, 12, tzinfo=UTC))

    assert {
        "approver": "anna",
        "artifact": DIGEST,
        "at": "2026-01-01T12:00:00.000000+00:00",
        "comment": "read it",
        "decision": "approve",
        "evidence": EVIDENCE,
        "expires": "2026-01-31T12:00:00.000000+00:00",
        "family": "tiny",
        "model": "tiny-forest",
        "number": 2,
        "role": "science",
        "version": "1.1.0",
    } == json.loads(word.statement)
    assert "reject" == json.loads(said("science", "anna", approved=False).statement)["decision"]


def asking(*roles: str, **policy: Any) -> FamilyConfig:
    """A family that asks these roles."""
    return a_config(approvals={"roles": list(roles), **policy})


def gate(config: FamilyConfig, approvals: tuple[Approval, ...], entry: Entry = ENTRY, **changes: Any) -> GateResult:
    """The gate's answer to approvals of exactly what the gates find."""
    context: Context = a_context(config, entry=entry, digest=DIGEST, **changes)
    evidence = run_gates("tiny", context).evidence
    bound = tuple(
        said(word.role, word.approver, word.id, approved=word.approved, evidence=evidence) for word in approvals
    )
    report = run_gates("tiny", replace(context, approvals=bound))
    assert evidence == report.evidence
    (result,) = [result for result in report.results if result.name == APPROVALS]
    return result


@pytest.mark.parametrize(
    ("speakers", "passed", "measured", "why"),
    [
        ([], False, "0 of 2", "science: nobody yet; devops: nobody yet"),
        (["anna"], False, "1 of 2", "science: anna; devops: nobody yet"),
        (["anna", "anna"], False, "1 of 2", "science: anna; devops: anna speaks for science already"),
        (["anna", "bert"], True, "2 of 2", "science: anna; devops: bert"),
    ],
)
def test_the_gate_counts_the_roles(speakers: list[str], measured: str, why: str, *, passed: bool) -> None:
    """All of them, and says who spoke for which."""
    words = tuple(said(role, name) for role, name in zip(("science", "devops"), speakers, strict=False))
    result = gate(asking("science", "devops"), words)

    assert (passed, measured, "science, devops", why) == (
        result.passed,
        result.measured,
        result.required,
        result.why,
    )


def test_the_gate_asks_for_the_time_and_the_signature() -> None:
    """The context's clock and verifier decide."""
    words = (said("science", "anna"),)

    assert gate(asking("science"), words).passed
    assert gate(asking("science"), words, now=START + PERIOD - INSTANT).passed
    assert not gate(asking("science"), words, now=START + PERIOD).passed
    assert "science: forged" == gate(asking("science"), words, verify_approval=lambda _word: "forged").why


def test_names_are_compared_without_case_space_and_host() -> None:
    """One person is one person; blank is nobody."""
    assert {"anna"} == {person(name) for name in ("anna", " Anna", "ANNA@a", "anna@b@c")}
    assert {"anna", "bert"} == persons(["anna", "Anna@x", "bert", "", "  "])


@pytest.mark.parametrize(
    ("account", "author", "expected"),
    [
        ("jenkins", "tom", ["tom"]),
        ("Jenkins@ci", "tom", ["tom"]),
        ("tina", "tom", ["tina", "tom"]),
        ("tina", None, ["tina"]),
        ("tina", "tina", ["tina"]),
        ("jenkins", None, []),
        ("jenkins", "jenkins", []),
        (" ", "", []),
    ],
)
def test_a_machine_is_nobodys_trainer(account: str, author: str | None, expected: list[str]) -> None:
    """Who caused the training and who wrote the code, never the account of a pipeline."""
    assert expected == trainers(account, author, ["jenkins"])


@pytest.mark.parametrize("kind", [Standing, Word, Approval])
def test_a_word_stays_as_it_was_given(kind: type) -> None:
    """And so does where the roles stand."""
    assert is_fact(kind)

"""What makes an approval count: whose word, about which artifact and evidence, and until when."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from promotion.approvals.identities import Identities
from promotion.approvals.people import misreading, person, persons
from promotion.config.policy import Approvals
from promotion.journal import clock
from promotion.journal.chain import canonical, moment
from promotion.journal.records import Approval, Entry
from promotion.signing.sshsig import APPROVAL

NAMESPACE = APPROVAL
"""What the signature of an approval is for, so that none made for something else can stand in for one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the roles of a family stand on a version.

    Attributes:
        given: Approvals that count, by role.
        missing: Why each other role's does not, by role.
        remarks: What is odd about an approval that counts all the same, by role.
    """

    given: dict[str, Approval]
    missing: dict[str, str]
    remarks: dict[str, str] = field(default_factory=dict)


def standing(  # noqa: PLR0913  # everything an approval is weighed against
    policy: Approvals,
    approvals: Sequence[Approval],
    *,
    entry: Entry | None,
    digest: str | None,
    evidence: str,
    now: datetime,
    verify: Callable[[Approval], str],
    rules_since: Callable[[str], Sequence[str]] = lambda _digest: (),
    identities: Identities | None = None,
) -> Standing:
    """Weigh what was said; each role's newest word counts, and each person's word counts for one role.

    Args:
        policy: The family's rules.
        approvals: All recorded ones of the version in the order of the chain, whatever they are dated.
        entry: The version; says who trained it.
        digest: sha256 of its artifact now.
        evidence: Digest of what the gates find now.
        now: UTC.
        verify: Says what is wrong with an approval's signature; empty when nothing is.
        rules_since: What of the rules is different now from those of a digest, one text a key.
        identities: Which names are one person; without it, those that are spelled alike.
    """
    identities = identities or Identities()
    newest = {approval.role: approval for approval in sorted(approvals, key=lambda said: not said.is_void)}
    trainers = trainers_of(entry)
    result = Standing({}, {})
    spoken: dict[str, str] = {}
    for role in policy.roles:
        approval = newest.get(role)
        problem = "nobody yet" if approval is None else ""
        if approval:
            problem = (
                _objection(policy, approval, digest, evidence, outdated=_outdated(approval, rules_since), now=now)
                or misstatement(approval, entry)
                or ("" if trainers else "who trained the version is unknown, so nobody can be told apart from them")
                or verify(approval)
                or _conflict(policy, approval, identities, trainers, spoken)
            )
        if problem:
            result.missing[role] = problem
        elif approval:
            result.given[role] = approval
            spoken[approval.approver] = role
            if approval.recorder and identities.first(approval.recorder, trainers):
                result.remarks[role] = f"recorded by the trainer's account {approval.recorder}"
    return result


def _conflict(
    policy: Approvals,
    approval: Approval,
    identities: Identities,
    trainers: Iterable[str],
    spoken: Mapping[str, str],
) -> str:
    """Why a person may not say this beside what else they did; empty when they may. Their signature was verified."""
    name = approval.approver
    identities.signed(name, approval.signature)
    if identities.first(name, trainers):
        return f"{name} trained it"
    if other := identities.first(name, spoken):
        same = "" if person(other) == person(name) else f", as {other}: their key is the same"
        return f"{name} speaks for {spoken[other]} already{same}"
    recorder = approval.recorder
    if policy.recorder == "independent" and recorder and identities.first(recorder, trainers):
        return f"the approval of {name} was recorded by the trainer's own account, {recorder}: somebody else records it"
    return ""


def trainers_of(entry: Entry | None) -> set[str]:
    """The persons behind a version's training, as they are compared; none where one of the names could be misread."""
    names = (entry.trainer or "").split(",") if entry else []
    return set() if any(name.strip() and misreading(name) for name in names) else persons(names)


def _objection(
    policy: Approvals, approval: Approval, digest: str | None, evidence: str, *, outdated: str, now: datetime
) -> str:
    """Why an approval does not count by itself; empty when it does."""
    name = approval.approver
    objections = (
        (bool(misreading(name)), misreading(name)),
        (not approval.recorded, f"the approval of {name} is in no recorded event: it was written past the journal"),
        (approval.is_void, f"the word of {name} was given {clock.VOID}"),
        (
            approval.created_at > now + clock.TOLERANCE,
            f"the word of {name} is of {approval.created_at:%Y-%m-%d}: to come",
        ),
        (not approval.approved, f"rejected by {name}: {approval.comment}"),
        (approval.expires_at <= now, f"approval of {name} expired on {approval.expires_at:%Y-%m-%d}"),
        (approval.artifact_digest != digest, f"{name} approved another artifact"),
        (bool(outdated), outdated),
        (approval.evidence != evidence, f"the evidence changed since {name} approved: ask again"),
        (not may_speak(policy, approval.role, name), f"{name} does not speak for {approval.role}"),
    )
    return next((reason for applies, reason in objections if applies), "")


def _claims(said: Approval | Word, entry: Entry | None) -> dict[str, Any]:
    """What a person says of a version, as its statement names it."""
    return {
        "decision": "approve" if said.approved else "reject",
        "model": entry.model if entry else None,
        "number": entry.number if entry else None,
        "artifact": said.artifact_digest,
        "evidence": said.evidence,
        "role": said.role,
        "approver": said.approver,
        "comment": said.comment,
        "expires": moment(said.expires_at),
    }


def misstatement(approval: Approval, entry: Entry | None) -> str:
    """What a row claims beside the statement that was recorded and signed; empty when it claims nothing else.

    Without it a genuine signature could be put under another decision, version or evidence.
    """
    claimed, stated = _claims(approval, entry), _stated(approval)
    differing = [name for name, value in claimed.items() if stated.get(name) != value]
    return f"the approval of {approval.approver} is not what was stated: {', '.join(differing)}" if differing else ""


def _outdated(approval: Approval, rules_since: Callable[[str], Sequence[str]]) -> str:
    """Which rules changed after an approval; one from before rules were recorded is bound to its evidence alone."""
    stated = _stated(approval).get("rules")
    changed = rules_since(stated) if isinstance(stated, str) else ()
    return f"the rules changed since {approval.approver} approved: {'; '.join(changed)}: ask again" if changed else ""


def _stated(approval: Approval) -> Mapping[str, Any]:
    try:
        return dict(json.loads(approval.statement))
    except (ValueError, TypeError):
        return {}


def may_speak(policy: Approvals, role: str, speaker: str) -> bool:
    """Whether the configuration lets a person approve in a role."""
    named = policy.approvers.get(role)
    return named is None or person(speaker) in persons(named)


@dataclass(frozen=True, slots=True)
class Word:
    """What one person says of a version.

    Attributes:
        artifact_digest: sha256 of the artifact it is about.
        evidence: Digest of the evidence it is about.
        at: When, UTC.
        expires_at: Until when it counts, UTC.
        rules: Digest of the rules that the version was judged by.
    """

    role: str
    approver: str
    approved: bool
    comment: str
    artifact_digest: str
    evidence: str
    at: datetime
    expires_at: datetime
    rules: str | None = None

    def statement(self, family: str, entry: Entry) -> str:
        """The text that is recorded and signed: one line of JSON, keys sorted."""
        more = {"family": family, "version": entry.version, "at": moment(self.at)}
        return canonical(_claims(self, entry) | more | ({"rules": self.rules} if self.rules else {}))

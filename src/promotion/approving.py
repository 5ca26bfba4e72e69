"""Record an approval: evidence now, a person who may speak, a word bound to that evidence, signed where it must be."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from promotion.approvals.people import person, readable_person
from promotion.approvals.rules import NAMESPACE, Standing, Word, may_speak, trainers_of
from promotion.config.family import FamilyConfig
from promotion.config.policy import Approvals
from promotion.errors import GateRefused, SignatureRefused, UsageError
from promotion.journal.clock import TOLERANCE
from promotion.journal.records import Entry
from promotion.journal.reviews import Reviews
from promotion.service import PromotionPlan, PromotionService
from promotion.signing.ssh import sign, verify

_ONLY_STATED = ("at", "rules")
"""What of a word stands in its statement and in no column."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a person has to say, before it is tied to any evidence."""

    role: str
    approver: str
    approved: bool
    comment: str


@dataclass(frozen=True, slots=True)
class Approving:
    """One candidate before its reviewers, its way into Production checked now.

    Raises:
        UsageError: The family asks for no approvals.
    """

    service: PromotionService
    plan: PromotionPlan

    def __post_init__(self) -> None:
        _ = self.policy

    @property
    def policy(self) -> Approvals:
        """The family's rules."""
        config = self.service.configs.get(self.plan.family)
        if config is None or config.approvals is None:
            raise UsageError(
                f"{self.plan.family!r} asks for no approvals: add a section approvals to its configuration"
            )
        return config.approvals

    def standing(self) -> Standing:
        """Which roles have given their word for what was found, and why the others' does not count."""
        found = standing_of(self.service, self.plan)
        if found is None:
            raise UsageError(f"{self.plan.family!r} asks for no approvals")
        return found

    def word(self, opinion: Opinion) -> Word:
        """Tie an opinion to the evidence found now.

        Raises:
            UsageError: The family has no such role.
            GateRefused: This person may not say it, or there is no artifact it could be about.
        """
        self._require_speaker(opinion)
        now = self.service.journal.now()
        return self._word(opinion, now, now + timedelta(days=self.policy.expire_days))

    def statement(self, opinion: Opinion) -> str:
        """The text to sign elsewhere; raises as `word` does."""
        return self.word(opinion).statement(self.plan.family, self._entry)

    def record_now(self, opinion: Opinion, actor: str, *, key: Path | None = None) -> None:
        """Record an opinion, signed with a key at hand; raises as `word` does, too.

        Args:
            opinion: What the person says.
            actor: The account behind the process.
            key: The approver's private key, or a public one whose other half is in the SSH agent.

        Raises:
            UsageError: The approval must be signed.
            GateRefused: The key is not theirs.
            SigningFailed: The key cannot be used.
        """
        word = self.word(opinion)
        if key is None and self.policy.signed:
            raise UsageError(
                f"approvals of {self.plan.family!r} must be signed: add --sign KEY, or sign elsewhere what "
                "--print-statement prints and give --statement FILE --signature FILE; "
                "python scripts/keys.py new-approver EMAIL makes a key"
            )
        statement = word.statement(self.plan.family, self._entry)
        self._record(word, statement, sign(statement.encode(), key, NAMESPACE) if key else None, actor)

    def record_until(self, opinion: Opinion, actor: str, expires: datetime) -> None:
        """Record an opinion given elsewhere, unsigned, that counts no longer than there; raises as `word` does."""
        word = self.word(opinion)
        word = replace(word, expires_at=min(word.expires_at, expires))
        self._record(word, word.statement(self.plan.family, self._entry), None, actor)

    def record_signed(self, opinion: Opinion, actor: str, *, statement: str, signature: str) -> None:
        """Record an opinion whose statement, to the byte, was signed elsewhere.

        Raises:
            UsageError: The family has no such role, or the text is no statement.
            GateRefused: This person may not say it, the statement is about other evidence, has expired, or is forged.
            SigningFailed: The list of signers is missing.
        """
        self._require_speaker(opinion)
        stated = _parsed(statement)
        at, expires = (_moment(stated, name) for name in ("at", "expires"))
        word = self._word(opinion, at, expires)
        expected = _parsed(word.statement(self.plan.family, self._entry))
        if differing := [name for name, value in expected.items() if stated.get(name) != value]:
            raise GateRefused(
                f"the statement does not fit this command and what the gates find now ({', '.join(differing)}): "
                "print it again with --print-statement, and sign that"
            )
        now = self.service.journal.now()
        if at > now or expires != at + timedelta(days=self.policy.expire_days) or expires <= now:
            raise GateRefused(
                f"the statement's times ({at:%Y-%m-%d %H:%M} to {expires:%Y-%m-%d %H:%M} UTC) are not those of an "
                f"approval that counts now, for {self.policy.expire_days:g} days: print it again with --print-statement"
            )
        given = Reviews(self.service.journal).approvals(self._entry)
        # What is dated in the future, by a wrong clock, must not keep anybody from saying no.
        latest = datetime.max.replace(tzinfo=UTC) if opinion.approved else now + TOLERANCE
        mine = (kept for kept in given if kept.role == opinion.role and not kept.is_void)
        if newer := next((kept for kept in mine if at < kept.created_at <= latest), None):
            raise GateRefused(
                f"{newer.approver} spoke for {newer.role} at {newer.created_at:%Y-%m-%d %H:%M} UTC, after this "
                "statement was printed: print it again with --print-statement, and sign that"
            )
        self._record(word, statement, signature, actor)

    @property
    def _advice(self) -> str:
        candidate, config = self.plan.candidate, self.service.configs.get(self.plan.family)
        if config and config.trains_here:
            return ": train it again with python src/models/train.py, by a person or from a commit with an author"
        return f": say who did: python scripts/register-model.py {candidate.model} {candidate.number} --trainer WHO"

    @property
    def _entry(self) -> Entry:
        entry = self.service.journal.entry(self.plan.candidate.model, self.plan.candidate.number)
        if entry is None:
            raise GateRefused(
                f"{self.plan.candidate}: the journal does not know it, so its trainer is unknown and nobody can be "
                f"told apart from them{self._advice}"
            )
        return entry

    def _word(self, opinion: Opinion, at: datetime, expires: datetime) -> Word:
        digest = self.plan.report.digest
        if digest is None:
            raise GateRefused(f"{self.plan.candidate} has no readable artifact, so there is nothing to approve")
        return Word(
            **asdict(opinion),
            artifact_digest=digest,
            evidence=self.plan.report.evidence,
            rules=self.plan.report.rules.digest if self.plan.report.rules else None,
            at=at,
            expires_at=expires,
        )

    def _require_speaker(self, opinion: Opinion, actor: str = "", signature: str | None = None) -> None:
        role, name = opinion.role, opinion.approver
        if role not in self.policy.roles:
            raise UsageError(f"unknown role {role!r}: expected one of {', '.join(self.policy.roles)}")
        if not name.strip() or not opinion.comment.strip():
            raise UsageError("an approval needs a name and a comment that says what was looked at")
        readable_person(name)
        if not may_speak(self.policy, role, name):
            named = ", ".join(self.policy.approvers[role]) or "nobody"
            raise GateRefused(f"{name} does not speak for {role}: the configuration names {named}")
        trainers = trainers_of(self._entry)
        if not trainers:
            raise GateRefused(
                f"who trained {self.plan.candidate} is unknown, so nobody can be told apart from them{self._advice}"
            )
        self._require_another_person(opinion, trainers, actor, signature)

    def _require_another_person(
        self, opinion: Opinion, trainers: Iterable[str], actor: str, signature: str | None
    ) -> None:
        """Neither the trainer nor who speaks for another role, whatever names they go by."""
        role, name, identities = opinion.role, opinion.approver, self.service.gatherer.identities()
        others = {given.approver: given for given in self.standing().given.values() if given.role != role}
        for given in others.values():
            identities.signed(given.approver, given.signature)
        identities.signed(name, signature)
        if identities.first(name, trainers):
            raise GateRefused(f"{name} trained {self.plan.candidate} and cannot approve it: ask somebody else")
        if other := identities.first(name, others):
            same = "" if person(other) == person(name) else f", as {other}: their key is the same"
            raise GateRefused(f"{name} speaks for {others[other].role} already{same}: each role needs another person")
        if self.policy.recorder == "independent" and identities.first(actor, trainers):
            raise GateRefused(
                f"{actor} trained {self.plan.candidate} and may not record approvals of it (approvals.recorder is "
                "independent): somebody else records it, from an account of their own"
            )

    def _record(self, word: Word, statement: str, signature: str | None, actor: str) -> None:
        if signature is not None:
            try:
                verify(statement.encode(), signature, word.approver, self.service.gatherer.allowed_signers, NAMESPACE)
            except SignatureRefused as error:
                raise GateRefused(str(error)) from error
        with self.service.journal.family_lock(self.plan.family):
            # The same person may have spoken for another role since the first look.
            self._require_speaker(Opinion(word.role, word.approver, word.approved, word.comment), actor, signature)
            bound = {name: value for name, value in asdict(word).items() if name not in _ONLY_STATED}
            report_id = self.service.keep_report(self.plan, actor)
            values = bound | {"gate_report_id": report_id, "statement": statement, "signature": signature}
            Reviews(self.service.journal).add_approval(self.plan.family, self._entry, values, actor)


def standing_of(service: PromotionService, plan: PromotionPlan) -> Standing | None:
    """Where the family's roles stand on a checked candidate; None when the family asks for no approvals."""
    config: FamilyConfig | None = service.configs.get(plan.family)
    if config is None:
        return None
    entry = service.journal.entry(plan.candidate.model, plan.candidate.number)
    return service.gatherer.standing(config, entry, digest=plan.report.digest, evidence=plan.report.evidence)


def approval_command(model: str, version: str, role: str, config: FamilyConfig | None) -> str:
    """What a person types, or pastes, who approves in a role."""
    signed = " --sign KEY" if config and config.approvals and config.approvals.signed else ""
    model, version, role = map(shlex.quote, (model, version, role))
    return (
        f"python mlops/registry/approve_model.py --model-name {model} --version {version} --role {role} --approver WHO "
        f"--comment WHAT-WAS-LOOKED-AT{signed}"
    )


def standing_lines(standing: Standing) -> list[str]:
    """Each role with whose word counts until when, or why none does."""
    given = [
        f"   ✅ {role}: {approval.approver}, until {approval.expires_at:%Y-%m-%d %H:%M} UTC: {approval.comment}"
        + (f" (⚠️ {standing.remarks[role]})" if role in standing.remarks else "")
        for role, approval in standing.given.items()
    ]
    return given + [f"   ❌ {role}: {reason}" for role, reason in standing.missing.items()]


def standing_document(standing: Standing) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "given": {
            role: {
                "approver": approval.approver,
                "comment": approval.comment,
                "at": approval.created_at.isoformat(),
                "expires": approval.expires_at.isoformat(),
                "signed": approval.signature is not None,
                "recorder": approval.recorder,
                "remark": standing.remarks.get(role),
            }
            for role, approval in standing.given.items()
        },
        "missing": standing.missing,
    }


def _parsed(statement: str) -> dict[str, Any]:
    try:
        return dict(json.loads(statement))
    except (ValueError, TypeError) as error:
        raise UsageError(f"not a statement: {error}: expected the line that --print-statement printed") from error


def _moment(stated: dict[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(stated.get(name)))
    except ValueError as error:
        raise UsageError(f"the statement's {name!r} is {stated.get(name)!r}, no time: print it again") from error
    if moment.tzinfo is None:
        raise UsageError(f"the statement's {name!r} is {stated.get(name)!r}, without a time zone: print it again")
    return moment

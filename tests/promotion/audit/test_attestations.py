"""Attestations: one a promotion, from the record alone, and worth nothing once it says something else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]
from tests.conftest import Arranged
from tests.promotion.factories import Store, a_family

from promotion.audit import verify_journal
from promotion.audit.attestations import PAYLOAD, PREDICATE, STATEMENT, Attestations, read_attestations
from promotion.audit.source import JournalSource
from promotion.errors import GateRefused
from promotion.journal.chain import digest
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService
from promotion.signing.dsse import open_envelope, sign_envelope
from promotion.signing.keys import Keys, public_pem

MODEL = "tiny-linear"
ANNA = Mover("anna", "better", approver="bea@company.com")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "signing-key.pem")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def service(arranged: Arranged, keys: Keys, said: list[str]) -> PromotionService:
    """A family whose promotions are attested; two versions, nothing in Production."""
    return attested(arranged(two_versions), keys, said)


def two_versions(store: Store) -> None:
    store.register(MODEL, roc_auc=0.90)
    store.register(MODEL, roc_auc=0.92)


def attested(store: Store, keys: Keys, said: list[str]) -> PromotionService:
    service = store.service(a_family(), report=said.append)
    service.attestations = Attestations(service.journal, store.home / "checkpoints", lambda: keys)
    return service


def promote(service: PromotionService, number: int) -> None:
    service.promote(service.check(service.candidate(MODEL, number)), ANNA)


def files(store: Store) -> list[Path]:
    return sorted((store.home / "checkpoints").glob("*.intoto.jsonl"))


def problems(service: PromotionService, store: Store, keys: Keys) -> list[str]:
    """What an audit finds, but that a test's moves leave no checkpoints."""
    found = read_attestations(store.home / "checkpoints")
    report = verify_journal(JournalSource(service.journal), [], keys.trusted(), attestations=found)
    return [str(finding) for finding in report.findings if finding.kind != "checkpoint"]


def test_a_promotion_is_attested_as_another_library_reads_it(
    service: PromotionService, store: Store, keys: Keys
) -> None:
    """An in-toto statement about the artifact: report, who moved it and who answers, the event it is recorded in."""
    promote(service, 1)

    (file,) = files(store)
    envelope = Envelope.from_dict(json.loads(file.read_text()))
    key = SSlibKey.from_crypto(load_pem_public_key(public_pem(keys.private_key)))
    assert [key.keyid] == list(envelope.verify([key], 1))
    statement = json.loads(envelope.payload)
    entry = service.journal.production("tiny")
    event = service.journal.arrival("tiny", Stage.PRODUCTION)
    assert entry
    assert event
    assert (PAYLOAD, STATEMENT, PREDICATE) == (
        envelope.payload_type,
        statement["_type"],
        statement["predicateType"],
    )
    assert [{"name": f"{MODEL} v1", "digest": {"sha256": entry.digest}}] == statement["subject"]
    predicate = statement["predicate"]
    assert {"actor": "anna", "approver": "bea@company.com", "reason": "better"} == predicate["mover"]
    assert event.details["report_digest"] == digest(predicate["report"])
    assert (event.sequence, event.hash, event.operation) == (
        predicate["event"]["sequence"],
        predicate["event"]["hash"],
        predicate["operation"],
    )
    assert [] == problems(service, store, keys)


@pytest.mark.system
def test_each_promotion_has_its_own(service: PromotionService, store: Store, keys: Keys) -> None:
    """The one before stays; a version that never entered Production has none, and none is due."""
    promote(service, 1)
    promote(service, 2)
    assert service.attestations

    assert 2 == len(files(store))
    for number in (1, 2):
        entry = service.journal.entry(MODEL, number)
        assert entry
        assert "" == service.attestations.require("tiny", entry)
    assert [] == problems(service, store, keys)


@pytest.mark.parametrize("repair", [False, True], ids=["next command", "reconcile"])
@pytest.mark.system
def test_one_that_a_crash_prevented_is_written_later(
    service: PromotionService, store: Store, keys: Keys, *, repair: bool
) -> None:
    """The same statement, byte for byte: it is made from the record."""
    promote(service, 1)
    promote(service, 2)
    before = {file.name: open_envelope(file.read_text(), PAYLOAD, keys.trusted()) for file in files(store)}
    for file in files(store):
        file.unlink()

    service.synchronise("tiny", repair=repair)

    after = {file.name: open_envelope(file.read_text(), PAYLOAD, keys.trusted()) for file in files(store)}
    assert (before if repair else dict([list(before.items())[-1]])) == after


def test_a_key_that_cannot_sign_stops_no_promotion(service: PromotionService, store: Store, said: list[str]) -> None:
    """One loud line, with what writes it when the key is there again."""
    assert service.attestations
    service.attestations = Attestations(
        service.journal, store.home / "checkpoints", lambda: Keys(store.home / "nowhere", given=True)
    )
    promote(service, 1)

    assert service.journal.production("tiny")
    assert [] == files(store)
    assert 1 == sum(line.startswith("⚠️ NO ATTESTATION of 'tiny'") and "--reconcile" in line for line in said)


Change = Callable[[dict[str, Any]], None]


def forge(file: Path, key: Path, change: Change) -> None:
    """Sign another statement in its place."""
    statement = json.loads(base64.b64decode(json.loads(file.read_text())["payload"]))
    change(statement)
    file.write_text(sign_envelope(json.dumps(statement).encode(), PAYLOAD, key))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda it: it["subject"][0]["digest"].update(sha256="0" * 64), "its digest not those of event"),
        (lambda it: it["predicate"]["report"].update(passed=False), "its report not those of event"),
        (lambda it: it["predicate"].update(rules={"sections": {"approvals": None}}), "its rules not those of event"),
        (lambda it: it["predicate"]["event"].update(hash="0" * 64), "its hash not those of event"),
        (lambda it: it.update(predicateType="https://slsa.dev/provenance/v1"), "about something else"),
        (lambda it: it.update(subject=[]), "no statement about a promotion"),
    ],
    ids=["digest", "report", "rules", "event", "predicate", "subject"],
)
def test_signed_but_about_something_else_is_refused(
    service: PromotionService, store: Store, keys: Keys, change: Change, found: str
) -> None:
    """A genuine envelope of another artifact, report or event stands for nothing here."""
    promote(service, 1)
    (file,) = files(store)
    forge(file, keys.private_key, change)

    assert service.attestations
    entry = service.journal.production("tiny")
    assert entry
    with pytest.raises(GateRefused, match=found):
        service.attestations.require("tiny", entry)
    assert [True] == [found in problem for problem in problems(service, store, keys)]


def test_missing_foreign_and_stray_ones_are_found(
    service: PromotionService, store: Store, keys: Keys, tmp_path: Path
) -> None:
    """By the audit and by whoever asks for it before deploying."""
    promote(service, 1)
    assert service.attestations
    entry = service.journal.production("tiny")
    assert entry
    (file,) = files(store)
    genuine = file.read_text()
    for text, found in (
        (genuine[:40], "no DSSE envelope"),
        (sign_envelope(b"{}", PAYLOAD, Keys(tmp_path / "other.pem").signing_key()), "which is not trusted"),
        (None, "cannot be read"),
    ):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        with pytest.raises(GateRefused, match=found):
            service.attestations.require("tiny", entry)
        assert 1 == len(problems(service, store, keys))
    file.write_text(genuine)
    (file.parent / "9-000000000000.intoto.jsonl").write_text(genuine)
    assert ["attestation 9-000000000000.intoto.jsonl: of no promotion in this journal"] == problems(
        service, store, keys
    )


def test_of_a_promotion_from_before_none_is_due(service: PromotionService, store: Store, keys: Keys) -> None:
    """It is said, and nothing is written about it afterwards: who knows what was asked then."""
    attestations, service.attestations = service.attestations, None
    promote(service, 1)
    service.attestations = attestations
    service.synchronise("tiny", repair=True)

    assert attestations
    entry = service.journal.production("tiny")
    assert entry
    assert "without one being due" in attestations.require("tiny", entry)
    assert [] == files(store)
    assert [] == problems(service, store, keys)

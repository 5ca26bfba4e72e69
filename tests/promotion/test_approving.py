"""Recording an approval: the right person, about the evidence of now, signed where it must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.factories import Store, a_family, make_key
from tests.promotion.shared_home import SharedHome

from promotion.approving import Approving, Opinion, standing_lines
from promotion.config.family import FamilyConfig
from promotion.errors import GateRefused, NothingToDo, UsageError
from promotion.journal.records import Registration
from promotion.registry.stages import Stage
from promotion.service import Mover
from promotion.signing.ssh import sign
from promotion.signing.sshsig import APPROVAL

MODEL = "tiny-linear"
APPROVALS: dict[str, Any] = {"roles": ["science", "devops"], "approvers": {"devops": ["dora"]}}
FOR = Opinion("science", "anna", approved=True, comment="read the report")
_DORA = Opinion("devops", "dora", approved=True, comment="it deploys")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """A version that tina trained, in Staging."""
    made = SharedHome(tmp_path_factory.mktemp("approving"), empty_store)
    store = made.store
    service = store.service(a_family())
    version = service.candidate(MODEL, store.register(MODEL, roc_auc=0.9))
    digest = str(service.check(version).report.digest)
    registration = Registration(digest, None, "tina", "f" * 64, {"roc_auc": 0.9}, {})
    service.journal.register("tiny", [(version, registration)], actor="tina", semver="1.2.0")
    service.promote(service.check(version, Stage.STAGING), Mover("anna", "try it"))
    made.keep("staged")
    return made


@pytest.fixture
def store(shared: SharedHome) -> Store:
    """That version."""
    return shared.back_to("staged")


def _family(**approvals: Any) -> FamilyConfig:
    return a_family(approvals=APPROVALS | approvals)


def _before(store: Store, family: FamilyConfig | None = None) -> Approving:
    service = store.service(family or _family())
    return Approving(service, service.check(service.candidate(MODEL, "1.2.0")))


def test_an_approval_is_bound_to_what_was_found(store: Store) -> None:
    """Its event, its report and its statement name the same artifact and evidence; the role counts as given."""
    approving = _before(store)

    approving.record_now(FOR, "account")

    standing = approving.standing()
    given = standing.given["science"]
    report = approving.service.journal.report(given.gate_report_id)
    assert {"devops": "nobody yet"} == standing.missing
    assert (report.evidence, report.report["digest"]) == (given.evidence, given.artifact_digest)
    newest = approving.service.journal.history("tiny", limit=1)[0]
    assert ("approve", "account", "science: read the report") == (newest.action, newest.actor, newest.reason)
    assert "anna" == newest.details["approver"]


def test_with_every_role_the_gate_opens(store: Store) -> None:
    """Where the version comes from, said or not, is no part of the evidence."""
    _before(store).record_now(FOR, "account")
    _before(store).record_now(Opinion("devops", "dora", approved=True, comment="it deploys"), "account")
    service = store.service(_family())

    plan = service.check(service.candidate(MODEL, "1.2.0"), from_stage=Stage.STAGING)

    assert plan.report.passed
    assert ("2 of 2", "science: anna; devops: dora") == (plan.report.results[-1].measured, plan.report.results[-1].why)


def test_a_changed_artifact_voids_it(store: Store) -> None:
    """The reviewers are asked again."""
    _before(store).record_now(FOR, "account")
    (store.artifact(MODEL, 1) / "scores.json").write_text(json.dumps({"roc_auc": 0.95}))

    assert "anna approved another artifact" == _before(store).standing().missing["science"]


def test_it_expires(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the configured days, on the clock."""
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-01T09:00:00")
    family = _family(expire_days=2.0)
    _before(store, family).record_now(FOR, "account")
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-03T08:59:00")
    assert {"science"} == set(_before(store, family).standing().given)
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-03T09:00:00")

    assert "approval of anna expired on 2026-12-03" == _before(store, family).standing().missing["science"]


def test_a_rejection_closes_the_gate_again(store: Store) -> None:
    """Anybody who may speak for the role may change its word."""
    _before(store).record_now(FOR, "account")
    _before(store).record_now(Opinion("science", "bert", approved=False, comment="leaky feature"), "account")

    approving = _before(store)
    assert "rejected by bert: leaky feature" == approving.standing().missing["science"]
    assert "reject" == approving.service.journal.history("tiny", limit=1)[0].action


@pytest.mark.parametrize(
    ("role", "approver", "comment", "error", "reason"),
    [
        ("legal", "anna", "x", UsageError, "unknown role 'legal': expected one of science, devops"),
        ("science", "anna", " ", UsageError, "needs a name and a comment"),
        ("devops", "anna", "x", GateRefused, "anna does not speak for devops: .* names dora"),
        ("science", "Tina@company.com", "x", GateRefused, "Tina@company.com trained tiny-linear v1"),
    ],
)
def test_who_may_not_say_it_is_told_why(
    store: Store, role: str, approver: str, comment: str, error: type[Exception], reason: str
) -> None:
    """Nothing is recorded."""
    before = store.rows()

    with pytest.raises(error, match=reason):
        _before(store).record_now(Opinion(role, approver, approved=True, comment=comment), "account")

    assert before == store.rows()


def test_one_person_does_not_fill_two_roles(store: Store) -> None:
    """The second role asks somebody else; in the same role the person may speak again."""
    _before(store).record_now(Opinion("science", "dora", approved=True, comment="x"), "account")

    with pytest.raises(GateRefused, match="dora speaks for science already"):
        _before(store).record_now(Opinion("devops", "dora", approved=True, comment="x"), "account")
    _before(store).record_now(Opinion("science", "dora", approved=True, comment="looked again"), "account")


def test_where_the_trainer_is_unknown_nobody_can_approve(store: Store) -> None:
    """A version that another tool registered, or that a CI account trained."""
    number = store.register(MODEL, roc_auc=0.95)
    service = store.service(_family())
    approving = Approving(service, service.check(service.candidate(MODEL, number)))

    with pytest.raises(GateRefused, match="its trainer is unknown"):
        approving.record_now(FOR, "account")


def test_a_family_without_approvals_has_none_to_give(store: Store) -> None:
    """Said as a mistake of the caller."""
    with pytest.raises(UsageError, match="'tiny' asks for no approvals"):
        _before(store, a_family())


def test_what_serves_already_needs_no_approval(store: Store) -> None:
    """There is nothing left to approve."""
    service = store.service(a_family())
    service.promote(service.check(service.candidate(MODEL, 1)), Mover("anna", "go"))

    with pytest.raises(NothingToDo):
        _before(store)


# Signed approvals


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Private keys of anna and mallory."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("anna", "mallory"):
        make_key(folder, name)
    return folder


@pytest.fixture
def signed(store: Store, keys: Path) -> FamilyConfig:
    """The family asks for signatures, and knows anna's key."""
    public = (keys / "anna.pub").read_text()
    (store.home / "config" / "allowed_signers").write_text(f'anna namespaces="promotion-approval" {public}')
    return _family(signed=True)


def test_an_unsigned_approval_is_not_taken(store: Store, signed: FamilyConfig) -> None:
    """The message names both ways to sign."""
    with pytest.raises(UsageError, match=r"must be signed: add --sign KEY, .* --print-statement"):
        _before(store, signed).record_now(FOR, "account")


def test_a_signed_approval_counts(store: Store, signed: FamilyConfig, keys: Path) -> None:
    """Signed here with the approver's key; the signature is checked again whenever the gate is asked."""
    _before(store, signed).record_now(FOR, "account", key=keys / "anna")
    assert {"science"} == set(_before(store, signed).standing().given)

    (store.home / "config" / "allowed_signers").write_text("")
    assert "is refused by" in _before(store, signed).standing().missing["science"]


def test_another_persons_key_is_refused(store: Store, signed: FamilyConfig, keys: Path) -> None:
    """Blocked as any other refusal, and nothing is recorded."""
    before = store.rows()

    with pytest.raises(GateRefused, match=r"anna's signature .* is refused"):
        _before(store, signed).record_now(FOR, "account", key=keys / "mallory")

    assert before == store.rows()


@pytest.mark.system
def test_one_key_under_two_names_is_one_person(store: Store, keys: Path) -> None:
    """Neither for two roles, nor beside the trainer, and not through a second key of either name."""
    anna, mallory = ((keys / f"{name}.pub").read_text() for name in ("anna", "mallory"))
    signers = store.home / "config" / "allowed_signers"
    family = _family(signed=True, approvers={})
    signers.write_text(f"anna,dora {anna}dora {mallory}")
    _before(store, family).record_now(FOR, "account", key=keys / "anna")

    for key in ("anna", "mallory"):
        with pytest.raises(GateRefused, match=r"dora speaks for science already, as anna: their key is the same"):
            _before(store, family).record_now(_DORA, "account", key=keys / key)
    signers.write_text(f"anna {anna}dora {mallory}tina {mallory}")
    with pytest.raises(GateRefused, match="dora trained tiny-linear v1"):
        _before(store, family).record_now(_DORA, "account", key=keys / "mallory")
    signers.write_text(f"* {anna}")
    with pytest.raises(GateRefused, match=r"dora speaks for science already, as anna"):
        _before(store, family).record_now(_DORA, "account", key=keys / "anna")


def test_the_trainers_account_as_recorder(store: Store) -> None:
    """It is remarked on; with `recorder: independent` it is refused, and what it has recorded counts no more."""
    _before(store).record_now(FOR, "tina@laptop")
    standing = _before(store).standing()
    assert {"science": "recorded by the trainer's account tina@laptop"} == standing.remarks
    assert "⚠️ recorded by the trainer's account tina@laptop" in standing_lines(standing)[0]

    strict = _family(recorder="independent")
    with pytest.raises(GateRefused, match=r"tina@laptop trained .* may not record approvals of it"):
        _before(store, strict).record_now(_DORA, "tina@laptop")
    _before(store, strict).record_now(FOR, "account")
    assert {} == _before(store, strict).standing().remarks


def test_an_unsigned_family_checks_a_signature_that_is_given(store: Store, signed: FamilyConfig, keys: Path) -> None:
    """A worthless signature is not kept as if it were one."""
    assert signed.approvals is not None

    with pytest.raises(GateRefused, match="is refused"):
        _before(store).record_now(FOR, "account", key=keys / "mallory")


def _sign(key: Path, statement: str) -> str:
    """As the approver does it elsewhere."""
    return sign(statement.encode(), key, APPROVAL)


@pytest.mark.parametrize("ending", ["", "\n"], ids=["exact", "with a line break"])
def test_it_may_be_signed_elsewhere(store: Store, signed: FamilyConfig, keys: Path, ending: str) -> None:
    """Printed, signed and brought back; an editor's line break at the end does no harm."""
    statement = _before(store, signed).statement(FOR) + ending
    signature = _sign(keys / "anna", statement)

    _before(store, signed).record_signed(FOR, "account", statement=statement, signature=signature)

    assert {"science"} == set(_before(store, signed).standing().given)


def test_a_statement_about_other_evidence_is_refused(store: Store, signed: FamilyConfig, keys: Path) -> None:
    """Changed meanwhile, or said of something else: each differing field is named."""
    statement = _before(store, signed).statement(FOR)
    signature = _sign(keys / "anna", statement)
    rejecting = Opinion("science", "anna", approved=False, comment="read the report")
    with pytest.raises(GateRefused, match=r"does not fit .*\(decision\)"):
        _before(store, signed).record_signed(rejecting, "account", statement=statement, signature=signature)
    (store.artifact(MODEL, 1) / "scores.json").write_text(json.dumps({"roc_auc": 0.95}))

    with pytest.raises(GateRefused, match=r"does not fit .*\(artifact, evidence\)"):
        _before(store, signed).record_signed(FOR, "account", statement=statement, signature=signature)


def test_a_statement_with_other_times_is_refused(store: Store, signed: FamilyConfig, keys: Path) -> None:
    """Nobody gives themselves a longer period, or signs in advance."""
    said = json.loads(_before(store, signed).statement(FOR))
    for changes in (
        {"expires": "2099-01-01T00:00:00.000000+00:00"},
        {"at": "2099-01-01T00:00:00.000000+00:00", "expires": "2099-01-31T00:00:00.000000+00:00"},
        {"at": "2020-01-01T00:00:00.000000+00:00", "expires": "2020-01-31T00:00:00.000000+00:00"},
    ):
        statement = json.dumps(said | changes, sort_keys=True, separators=(",", ":"))
        signature = _sign(keys / "anna", statement)
        with pytest.raises(GateRefused, match="the statement's times"):
            _before(store, signed).record_signed(FOR, "account", statement=statement, signature=signature)


def test_an_old_statement_does_not_undo_a_later_rejection(store: Store, signed: FamilyConfig, keys: Path) -> None:
    """Brought in once more after the person changed their mind, it is refused."""
    statement = _before(store, signed).statement(FOR)
    signature = _sign(keys / "anna", statement)
    rejecting = Opinion("science", "anna", approved=False, comment="I was wrong")
    _before(store, signed).record_now(rejecting, "account", key=keys / "anna")

    with pytest.raises(GateRefused, match=r"anna spoke for science at .* after this statement was printed"):
        _before(store, signed).record_signed(FOR, "account", statement=statement, signature=signature)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"at": "soon"}'])
def test_what_is_no_statement_is_a_mistake_of_the_caller(store: Store, signed: FamilyConfig, text: str) -> None:
    """Said in one line."""
    with pytest.raises(UsageError, match="statement"):
        _before(store, signed).record_signed(FOR, "account", statement=text, signature="x")

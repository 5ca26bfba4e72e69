"""What a check has refused is not loaded, and what one side has no figure for is not compared."""

from __future__ import annotations

import pytest
from tests.promotion.factories import Scored, ScoreFileEvaluator, Store, a_family, an_entry

from promotion.gates.gathering import _difference, _Files, _not_to_be_loaded
from promotion.gates.report import GateResult
from promotion.journal.records import Authority
from promotion.registry.stages import Stage
from promotion.service import Mover

RECORDED, OTHER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("digest", "recorded", "signature_problem", "unsafe", "reason"),
    [
        (RECORDED, RECORDED, "", (), ""),
        (RECORDED, None, "", (), ""),
        (OTHER, RECORDED, "", (), "it is not loaded: its files are not what was recorded"),
        (RECORDED, RECORDED, "forged", (), "it is not loaded: its files are not what was recorded"),
        (RECORDED, RECORDED, "", ("a.pkl: is a pickle", "b: too"), "it is not loaded: a.pkl: is a pickle; b: too"),
        (OTHER, RECORDED, "", ("a.pkl: is a pickle",), "it is not loaded: its files are not what was recorded"),
    ],
)
def test_files_that_a_check_refused_are_not_loaded(
    digest: str, recorded: str | None, signature_problem: str, unsafe: tuple[str, ...], reason: str
) -> None:
    """Another digest than the recorded one, a broken signature, or something unsafe."""
    found = _Files(digest=digest, signature_problem=signature_problem, unsafe=unsafe)

    assert reason == _not_to_be_loaded(found, an_entry(digest=recorded))


def test_files_that_nobody_recorded_are_loaded_when_nothing_is_unsafe() -> None:
    """A version the journal does not know has no digest to differ from."""
    assert "" == _not_to_be_loaded(_Files(digest=OTHER), None)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_compared"),
    [
        (Scored({"auc": 0.9}), Scored({"auc": 0.8}), True),
        (Scored({"auc": 0.9}), Scored({"f1": 0.8}), False),
        (Scored({"f1": 0.9}), Scored({"auc": 0.8}), False),
        (None, Scored({"auc": 0.8}), False),
        (Scored({"auc": 0.9}), None, False),
    ],
)
def test_what_both_have_is_compared(ours: Scored | None, theirs: Scored | None, *, is_compared: bool) -> None:
    """A model that only names classes has no area under a curve."""
    assert is_compared == (_difference(ScoreFileEvaluator(), ours, theirs, "auc") is not None)


@pytest.mark.system
def test_the_newest_look_at_an_ab_test_counts(store: Store) -> None:
    """Of the version itself, and what was found last."""
    for score in (0.9, 0.92):
        store.register("tiny-linear", roc_auc=score)
    service = store.service(a_family(gates={"ab_test": {"minimum_keys": 10, "policy": "better"}}))
    service.promote(service.check(service.candidate("tiny-linear", 1)), Mover("anna", "first"))
    service.promote(service.check(service.candidate("tiny-linear", 2), Stage.STAGING), Mover("anna", "second"))
    second = service.journal.entry("tiny-linear", 2)

    def look(low: float) -> GateResult:
        found = {"metric": "accuracy", "champion": ["tiny-linear", 1], "low": low, "high": 0.5}
        details = {"ab_test": found | {"champion_keys": 10, "challenger_keys": 10}}
        with service.journal.transaction("tiny") as transaction:
            assert second is not None
            authority = Authority("ab test", "anna", "a look", details=details)
            transaction.append(transaction.entry(second.id), authority)
        return asked()

    def asked() -> GateResult:
        results = service.check(service.candidate("tiny-linear", 2)).report.results
        return next(result for result in results if result.name == "A/B test")

    assert not asked().passed
    assert [True, False, True] == [look(low).passed for low in (0.1, -0.1, 0.2)]

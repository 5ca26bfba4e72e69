"""Going back: to a version that served before, proven first, once; and putting a candidate aside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.factories import Store, Watched, a_family
from tests.promotion.shared_home import SharedHome

from promotion.config.family import FamilyConfig
from promotion.errors import (
    DataError,
    GateRefused,
    JournalError,
    NothingToDo,
    ProductionMoved,
    Quarantined,
    RegistryUnreachable,
    UnknownFamily,
)
from promotion.registry.stages import Stage
from promotion.rollbacks import archive, roll_back, withdraw
from promotion.service import Move, Mover, PromotionService

MODEL = "tiny-linear"
MOVER = Mover("anna", "it answers nonsense")


def _serve(service: PromotionService, *numbers: int) -> None:
    """Promote versions, one after the other."""
    for number in numbers:
        service.promote(service.check(service.candidate(MODEL, number)), Mover("anna", "better"))


def _back(service: PromotionService, to_version: int | str | None = None, **options: Any) -> Move:
    return roll_back(service, "tiny", to_version, MOVER, **options)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """Kept empty, and with three versions, each better than the one before, that served in turn; the third serves."""
    made = SharedHome(tmp_path_factory.mktemp("rollback"), empty_store)
    for score in (0.90, 0.92, 0.94):
        made.store.register(MODEL, roc_auc=score)
    _serve(made.store.service(a_family()), 1, 2, 3)
    made.keep("served")
    return made


@pytest.fixture
def store(shared: SharedHome) -> Store:
    """An empty registry."""
    return shared.back_to("empty")


@pytest.fixture
def served(shared: SharedHome) -> Store:
    """The three versions."""
    return shared.back_to("served")


def test_the_version_that_served_before_returns_although_it_is_worse(served: Store) -> None:
    """One operation: the predecessor serves, the version that left is archived and known bad, and MLflow shows it."""
    service = served.service(a_family())

    promotion = _back(service)

    assert ("tiny-linear v2", "tiny-linear v3", "") == (
        str(promotion.version),
        str(promotion.before),
        promotion.unprojected,
    )
    assert {"rollback": {promotion.operation}} == {
        event.action: {event.operation} for event in service.journal.history("tiny", limit=2)
    }
    left = service.journal.entry(MODEL, 3)
    assert left is not None
    assert (Stage.ARCHIVED, "it answers nonsense") == (left.stage, left.known_bad)
    assert {
        "tiny-linear v1": "Archived",
        "tiny-linear v2": "Production",
        "tiny-linear v3": "Archived",
    } == served.shown()
    assert {"tiny-linear@production": "2", "tiny-linear@previous": "1"} == served.aliases()


def test_why_it_was_taken_back_stands_beside_both_versions(served: Store) -> None:
    """In MLflow the version that left and the one that came back say why."""
    _back(served.service(a_family()))

    left, back = (served.client.get_model_version(MODEL, number).description.splitlines()[-1] for number in ("3", "2"))
    assert left.endswith("UTC, Archived, rollback by anna: it answers nonsense")
    assert back.endswith("UTC, Production, rollback by anna: it answers nonsense")


@pytest.mark.system
def test_what_is_known_bad_is_passed_over(served: Store) -> None:
    """A second rollback does not return to what the first one left, nor to where it started."""
    said: list[str] = []
    service = served.service(a_family(), report=said.append)
    _back(service)

    assert "tiny-linear v1" == str(_back(service, force=True).version)

    assert "tiny-linear v3 is passed over: known bad: it answers nonsense" in said
    with pytest.raises(GateRefused, match=r"that is not known bad \(2 are\)"):
        _back(service, force=True)


@pytest.mark.system
def test_the_predecessor_is_the_one_that_served_not_the_highest_number(store: Store) -> None:
    """Versions 1, 3 and then 2 served: back from 2 leads to 3, and from there to 1."""
    for score in (0.90, 0.94, 0.92):
        store.register(MODEL, roc_auc=score)
    service = store.service(a_family())
    _serve(service, 1, 3, 2)

    assert "tiny-linear v3" == str(_back(service).version)
    assert "tiny-linear v1" == str(_back(service, force=True).version)


@pytest.mark.system
def test_it_may_lead_to_another_registered_model_of_the_family(store: Store) -> None:
    """Production is unique in the family, so the predecessor may be the other algorithm's."""
    store.register("tiny-forest", roc_auc=0.90)
    store.register(MODEL, roc_auc=0.92)
    service = store.service(a_family())
    service.promote(service.check(service.candidate("tiny-forest", 1)), Mover("anna", "first"))
    _serve(service, 1)

    assert "tiny-forest v1" == str(roll_back(service, MODEL, None, MOVER).version)
    assert {"tiny-forest v1": "Production", "tiny-linear v1": "Archived"} == store.shown()


@pytest.mark.parametrize("version", [1, "1", "v1"])
def test_a_version_can_be_named(served: Store, version: int | str) -> None:
    """Any version that served, however long ago."""
    promotion = roll_back(served.service(a_family()), MODEL, version, MOVER)

    assert "tiny-linear v1" == str(promotion.version)


@pytest.mark.system
def test_the_version_that_leaves_can_keep_its_good_name(served: Store) -> None:
    """When something else had failed, nothing is held against it, and it may be promoted as before."""
    service = served.service(a_family())
    _back(service, keep_version_good=True)

    _serve(service, 3)

    assert {"tiny-linear v3"} == {name for name, stage in served.shown().items() if stage == "Production"}


@pytest.mark.system
def test_a_known_bad_version_needs_somebodys_word(served: Store) -> None:
    """Neither a rollback nor a promotion leads back to it; an overridden promotion does, and is recorded as one."""
    service = served.service(a_family())
    _back(service)

    with pytest.raises(GateRefused, match="not known bad: known bad"):
        _back(service, 3, force=True)
    with pytest.raises(GateRefused, match=r"it answers nonsense; only promote_model\.py --override-gates"):
        _serve(service, 3)
    plan = service.check(service.candidate(MODEL, 3))
    service.promote(plan, Mover("anna", "the report was wrong", override=True))

    newest = service.journal.history("tiny", limit=1)[0]
    assert ("promote", ["not known bad"]) == (newest.action, newest.details["override"])


@pytest.mark.system
def test_a_second_rollback_within_the_cool_down_is_refused(served: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back and forth is stopped for the configured hours; --force goes on, and the record says so."""
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-01T09:00:00")
    service = served.service(a_family(rollback={"cool_down_hours": 2.0}))
    _back(service)
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-01T10:59:00")

    with pytest.raises(GateRefused, match=r"rolled back at 2026-12-01 09:00 UTC already .* within 2 hours .* --force"):
        _back(service)

    forced = _back(service, force=True)
    assert {True} == {
        event.details["forced"] for event in service.journal.history("tiny") if event.operation == forced.operation
    }


@pytest.mark.parametrize(
    ("promoted", "target", "refused"), [(4, 2, False), (4, None, False), (3, 2, True), (None, 1, True)]
)
@pytest.mark.system
def test_a_promotion_in_between_ends_the_waiting_but_not_for_the_same_two(
    served: Store, promoted: int | None, target: int | None, *, refused: bool
) -> None:
    """From 3 back to 2, then 4 served: back from it at once; 3 and 2 in turn are a seesaw, and so is 3, 2, 1."""
    served.register(MODEL, roc_auc=0.95)
    service = served.service(a_family())
    _back(service, 2, keep_version_good=True)
    if promoted:
        _serve(service, promoted)

    if refused:
        with pytest.raises(GateRefused, match=rf"--model-name tiny-linear --to-version {target} --reason WHY --force"):
            _back(service, target)
    else:
        assert "tiny-linear v2" == str(_back(service, target).version)


@pytest.mark.system
def test_a_version_that_never_served_and_was_withdrawn_is_no_rollback_to_wait_for(served: Store) -> None:
    """A deployment failed and led back to 2: that was no going back and forth, a person may go back at once."""
    service = served.service(a_family())
    _back(service, deployment="d" * 32)

    assert "tiny-linear v1" == str(_back(service).version)


@pytest.mark.system
def test_after_the_cool_down_it_is_free_again(served: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours are counted on the clock, to the minute."""
    service = served.service(a_family(rollback={"cool_down_hours": 2.0}))
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-01T09:00:00")
    _back(service)
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-01T11:01:00")

    assert "tiny-linear v1" == str(_back(service).version)


@pytest.mark.system
def test_a_rehearsed_rollback_begins_no_cool_down(served: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dated years ahead, it would last as long."""
    service = served.service(a_family(rollback={"cool_down_hours": 2.0}))
    monkeypatch.setenv("PROMOTION_CLOCK", "2050-12-01T09:00:00")
    _back(service)
    monkeypatch.delenv("PROMOTION_CLOCK")

    assert "tiny-linear v1" == str(_back(service).version)


def test_what_serves_already_is_nothing_to_do(served: Store) -> None:
    """Repeating a finished rollback is not refused as a second one."""
    service = served.service(a_family())
    _back(service, 2)

    with pytest.raises(NothingToDo, match="tiny-linear v2 is in Production already"):
        _back(service, 2)


def test_a_version_that_never_served_is_no_way_back(served: Store) -> None:
    """However good it is: that would be a promotion."""
    served.register(MODEL, roc_auc=0.99)

    with pytest.raises(GateRefused, match=r"v4 never served in Production.*promote_model.py"):
        _back(served.service(a_family()), 4)


def test_without_a_predecessor_there_is_nothing_to_go_back_to(store: Store) -> None:
    """Refused, not green: the family stays with the version it has."""
    store.register(MODEL, roc_auc=0.9)
    service = store.service(a_family())
    _serve(service, 1)

    with pytest.raises(GateRefused, match="no version of 'tiny' served before: there is nothing to go back to"):
        _back(service)

    assert {"tiny-linear v1": "Production"} == store.shown()


def test_an_unknown_name_is_a_mistake_of_the_caller(store: Store) -> None:
    """Neither a family nor a registered model."""
    with pytest.raises(UnknownFamily, match="unknown family 'nobody'"):
        roll_back(store.service(a_family()), "nobody", None, MOVER)


def _touch(store: Store) -> None:
    (store.artifact(MODEL, 2) / "scores.json").write_text(json.dumps({"roc_auc": 0.99}))


def _remove(store: Store) -> None:
    shutil.rmtree(store.artifact(MODEL, 2))


def _unfit(store: Store) -> None:
    (store.artifact(MODEL, 2) / "schema_problems.txt").write_text("column 'x': missing")


def _pickle(store: Store) -> None:
    (store.artifact(MODEL, 2) / "model.pkl").write_bytes(b"\x80\x04K\x01.")


@pytest.mark.parametrize(
    ("damage", "gate"),
    [
        (_touch, "artifact present"),
        (_remove, "artifact present"),
        (_unfit, "feature schema"),
        (_pickle, "safe files"),
    ],
    ids=["changed", "gone", "other columns", "pickle"],
)
def test_a_target_that_is_not_proven_moves_nothing(served: Store, damage: Callable[[Store], None], gate: str) -> None:
    """Present, intact, harmless, fitting: all of it is asked before anything moves, and the refusal is recorded."""
    damage(served)
    service = served.service(a_family())
    shown, entries = served.shown(), service.journal.entries()

    with pytest.raises(GateRefused, match=f"tiny-linear v2 may not enter Production: .*{gate}"):
        _back(service)

    assert (shown, entries) == (served.shown(), service.journal.entries())
    newest = service.journal.history("tiny", limit=1)[0]
    assert "refuse" == newest.action
    assert gate in newest.details["refused"]


def test_a_target_that_was_deleted_in_mlflow_is_a_persons_decision(served: Store) -> None:
    """The command does not wander further back by itself; it names who else served."""
    served.client.delete_model_version(MODEL, "2")

    with pytest.raises(GateRefused, match=r"tiny-linear v2 served before, but .* --to-version .*tiny-linear 1"):
        _back(served.service(a_family()))


def test_missing_rows_do_not_stop_it(served: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """At night the data may be gone: that the model loads is enough, data quality is not asked."""

    def gone(*_arguments: object) -> None:
        raise DataError("data/tiny.csv is missing")

    evaluator = "tests.promotion.factories.ScoreFileEvaluator"
    monkeypatch.setattr(f"{evaluator}.evaluate", gone)
    monkeypatch.setattr(f"{evaluator}.load", lambda *_arguments: None)
    monkeypatch.setattr(f"{evaluator}.data_problems", gone)
    service = served.service(a_family(gates={"data_quality": True, "thresholds": {"roc_auc": {"minimum": 0.8}}}))

    promotion = _back(service)

    assert promotion.report
    runs = next(gate for gate in promotion.report.results if gate.name == "model runs")
    assert "loads (no rows to score)" == runs.measured


def test_days_in_staging_and_approvals_are_not_asked(served: Store) -> None:
    """A version that served comes back from where it is."""
    rules: dict[str, Any] = {"gates": {"staging": {"minimum": 7.0}}, "approvals": {"roles": ["science"]}}

    report = _back(served.service(a_family(**rules))).report
    assert report
    assert report.passed


def test_whoever_may_run_commands_may_take_a_bad_version_back(served: Store) -> None:
    """The list of who promotes is for promotions."""
    family = a_family(access={"production": ["bert"]})

    assert "tiny-linear v2" == str(_back(served.service(family)).version)


def test_an_empty_production_is_filled_by_the_version_that_served_last(served: Store) -> None:
    """Nothing is held against anybody then."""
    served.move(MODEL, 3, Stage.ARCHIVED)
    service = served.service(a_family())

    promotion = _back(service)

    assert ("tiny-linear v3", None) == (str(promotion.version), promotion.before)
    assert [None] * 3 == [entry.known_bad for entry in service.journal.entries()]


def test_a_quarantined_family_says_what_to_do_first(served: Store) -> None:
    """What somebody moved past the rules is settled before anything else moves."""
    served.register(MODEL, roc_auc=0.5)
    served.move(MODEL, 4, Stage.PRODUCTION)

    with pytest.raises(Quarantined, match="--restore"):
        _back(served.service(a_family(approvals={"roles": ["science"]})))


@pytest.mark.parametrize("moment", ["before the check", "after the check"])
@pytest.mark.system
def test_production_that_moves_meanwhile_is_not_rolled_back(
    served: Store, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody promotes while the predecessor is chosen or proven: their version is not the one that was to leave."""
    served.register(MODEL, roc_auc=0.99)
    service, other = served.service(a_family()), served.service(a_family())

    def meanwhile(*_arguments: object) -> None:
        _serve(other, 4)

    if moment == "before the check":
        monkeypatch.setattr("promotion.rollbacks._require_calm", meanwhile)
    options: dict[str, Any] = {"on_checked": meanwhile} if moment == "after the check" else {}
    with pytest.raises(ProductionMoved):
        _back(service, **options)

    assert "Production" == served.shown()["tiny-linear v4"]


@pytest.mark.parametrize("family", [a_family(), None], ids=["configured", "plain"])
def test_a_registry_that_is_down_before_the_commit_moves_nothing(served: Store, family: FamilyConfig | None) -> None:
    """It cannot even be asked: failed, nothing moved."""
    registry = Watched(served.registry)
    service = served.service(*([family] if family else []), registry=registry)
    for number in (served.register("plain"), served.register("plain")) if family is None else ():
        service.promote(service.check(service.candidate("plain", number)), MOVER)
    entries = service.journal.entries()
    registry.versions = _down  # type: ignore[attr-defined]
    registry.version = _down  # type: ignore[attr-defined]

    with pytest.raises(RegistryUnreachable):
        roll_back(service, "tiny" if family else "plain", None, MOVER)

    assert entries == service.journal.entries()


def _down(*_arguments: object) -> None:
    raise RegistryUnreachable("http://mlflow: no connection")


def test_a_registry_that_is_down_afterwards_is_told_later(served: Store) -> None:
    """The journal has moved; the next command that writes finishes in MLflow."""
    promotion = _back(served.service(a_family(), registry=Watched(served.registry, is_down=True)))

    assert "MLflow could not be told" in promotion.unprojected
    assert "Production" == served.shown()["tiny-linear v3"]
    assert "" == served.service(a_family()).synchronise("tiny")
    assert "Production" == served.shown()["tiny-linear v2"]


def test_a_read_only_journal_moves_nothing(served: Store) -> None:
    """The commit fails before MLflow is told anything."""
    service = served.service(a_family())
    shown = served.shown()

    def broken(*_arguments: object, **_named: object) -> None:
        raise JournalError("disk full")

    service.journal.move = broken  # type: ignore[method-assign, assignment]

    with pytest.raises(JournalError):
        _back(service)
    assert shown == served.shown()


# Archiving a candidate


def test_a_rejected_candidate_is_put_aside(served: Store) -> None:
    """From Staging, with its reason; what serves stays."""
    number = served.register(MODEL, roc_auc=0.99)
    service = served.service(a_family())
    candidate = service.candidate(MODEL, number)
    service.promote(service.check(candidate, Stage.STAGING), MOVER)

    assert "" == archive(service, candidate, MOVER, from_stage=Stage.STAGING).unprojected

    assert ("Archived", "Production") == (served.shown()["tiny-linear v4"], served.shown()["tiny-linear v3"])
    assert "archive" == service.journal.history("tiny", limit=1)[0].action


def test_production_is_not_archived_without_a_successor(served: Store) -> None:
    """The way out of Production is a promotion or a rollback."""
    service = served.service(a_family())

    with pytest.raises(GateRefused, match=r"without a successor: .*rollback_model\.py"):
        archive(service, service.candidate(MODEL, 3), MOVER)
    with pytest.raises(NothingToDo, match="v2 is in Archived already"):
        archive(service, service.candidate(MODEL, 2), MOVER)
    served.register(MODEL, roc_auc=0.99)
    with pytest.raises(GateRefused, match="v4 is in None, not in Staging"):
        archive(service, service.candidate(MODEL, 4), MOVER, from_stage=Stage.STAGING)


def test_a_withdrawn_version_leaves_production_empty_and_is_known_bad(served: Store) -> None:
    """Nothing takes its place; MLflow shows it, the mark stays, and its event is in the chain."""
    said: list[str] = []
    service = served.service(a_family(), report=said.append)
    serving = service.journal.production("tiny")
    assert serving is not None

    assert "" == withdraw(service, serving, MOVER).unprojected

    assert service.journal.production("tiny") is None
    assert "Production" not in served.shown().values()
    left = service.journal.entry(MODEL, 3)
    assert left is not None
    assert (Stage.ARCHIVED, "it answers nonsense") == (left.stage, left.known_bad)
    assert "withdraw" == service.journal.history("tiny", limit=1)[0].action
    assert any("NO PRODUCTION" in line for line in said)
    service.require_sound("tiny")


def test_withdrawing_what_does_not_serve_touches_no_other_version(served: Store) -> None:
    """An archived version gets its mark and stays where it is; Production serves on."""
    service = served.service(a_family())
    version = service.journal.entry(MODEL, 1)
    assert version is not None

    withdraw(service, version, MOVER)

    marked, serving = service.journal.entry(MODEL, 1), service.journal.production("tiny")
    assert marked is not None
    assert serving is not None
    assert (Stage.ARCHIVED, "it answers nonsense", 3) == (marked.stage, marked.known_bad, serving.number)

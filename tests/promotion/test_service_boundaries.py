"""A move at its edges: who may, what may be overridden, and what changed between the check and the commit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.conftest import Arranged
from tests.facts import is_fact
from tests.promotion.factories import ANNA, Scored, Store, a_family, a_journal, a_version, an_entry, promote
from tests.promotion.gates.cases import PRODUCTION, a_config, a_context

from promotion.audit.attestations import DUE, Attestations
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.errors import (
    GateRefused,
    NothingToDo,
    ProductionMoved,
    ProjectionIncomplete,
    Quarantined,
    UnknownVersion,
)
from promotion.gates import BETTER, run_gates
from promotion.gates.gathering import Gatherer
from promotion.gates.report import GateResult
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Entry, Known
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.stages import Stage
from promotion.service import Move, Mover, PromotionPlan, PromotionService, refusal

GOOD, BAD, FIRM = (
    GateResult("good", passed=True, measured="1", required="1"),
    GateResult("bad", passed=False, measured="0", required="1", why="too little"),
    GateResult("firm", passed=False, measured="none", required="files", overridable=False),
)
CANDIDATE = a_version("tiny-forest", 2)


def a_plan(*results: GateResult, to: Stage = Stage.PRODUCTION, production: Entry | None = None) -> PromotionPlan:
    """A check that found this."""
    report = run_gates("tiny", a_context(a_config(), target=to, production=production))
    return PromotionPlan("tiny", CANDIDATE, production, replace(report, results=results))


def a_service(folder: Path, config: FamilyConfig | None = None) -> PromotionService:
    """A service that has a journal and nothing else: whoever gets as far as the registry fails."""
    configs = FamilyConfigs({} if config is None else {"tiny": config})
    return PromotionService(a_journal(folder), cast("Registry", None), configs, cast("Gatherer", None))


def a_move(plan: PromotionPlan, unprojected: str = "") -> Move:
    """What comes of a plan that is carried out."""
    candidate = plan.candidate
    return Move(
        plan.family, candidate, candidate.stage, plan.to, "promote", "op", plan.production, plan.report, unprojected
    )


@pytest.fixture(scope="module")
def empty_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal's file with its tables; copying it is quicker than making them."""
    folder = tmp_path_factory.mktemp("journal")
    a_journal(folder).prepare()
    return folder / "promotion.db"


@pytest.fixture
def folder(tmp_path: Path, empty_journal: Path) -> Path:
    """A folder with an empty journal in it."""
    shutil.copy(empty_journal, tmp_path)
    return tmp_path


NOBODY = "access names nobody"


@pytest.mark.parametrize(
    ("access", "to", "mover", "refused"),
    [
        ({}, Stage.PRODUCTION, Mover("anyone", "x"), None),
        ({}, Stage.STAGING, Mover("anyone", "x"), None),
        ({"production": []}, Stage.PRODUCTION, Mover("anna", "x"), NOBODY),
        ({"production": []}, Stage.STAGING, Mover("anna", "x"), None),
        ({"staging": []}, Stage.STAGING, Mover("anna", "x"), NOBODY),
        ({"staging": []}, Stage.PRODUCTION, Mover("anna", "x"), None),
        ({"production": ["anna"]}, Stage.PRODUCTION, Mover("anna", "x"), None),
        ({"production": ["anna"]}, Stage.PRODUCTION, Mover("Anna@laptop", "x"), None),
        ({"production": ["Anna@company.com"]}, Stage.PRODUCTION, Mover("anna", "x"), None),
        ({"production": ["anna"]}, Stage.PRODUCTION, Mover("ann", "x"), "ann may not move"),
        ({"production": ["anna"]}, Stage.PRODUCTION, Mover("annabel", "x"), "annabel may not move"),
        ({"production": ["anna", "bert"]}, Stage.PRODUCTION, Mover("carl", "x"), "access names anna, bert"),
        ({"production": ["anna"]}, Stage.PRODUCTION, Mover("jenkins", "x", approver="anna"), None),
        ({"production": ["jenkins"]}, Stage.PRODUCTION, Mover("jenkins", "x", approver="bert"), "bert may not move"),
        ({"production": ["anna"]}, Stage.PRODUCTION, Mover("carl", "x", override=True), "carl may not move"),
        ({"production": ["anna"], "staging": ["bert"]}, Stage.STAGING, Mover("anna", "x"), "anna may not move"),
    ],
)
def test_who_may_move_a_version(
    folder: Path, access: dict[str, Any], to: Stage, mover: Mover, refused: str | None
) -> None:
    """Whoever answers for it must be named for that stage; an override does not help. Nothing is recorded of them."""
    service = a_service(folder, a_family(access=access))

    with pytest.raises(GateRefused) as caught:
        service.promote(a_plan(FIRM, to=to), mover)

    assert (refused or "firm: none, required files") in str(caught.value)
    if refused:
        assert f"versions of 'tiny' into {to}: access names " in str(caught.value)
    assert bool(refused) == (not service.journal.history())


def test_a_model_without_configuration_may_be_moved_by_anybody(folder: Path) -> None:
    """There is nobody to name anyone."""
    with pytest.raises(GateRefused, match="firm: none, required files"):
        a_service(folder).promote(a_plan(FIRM), Mover("anyone", "x"))


@pytest.mark.parametrize(
    ("to", "serving", "refused"),
    [
        (Stage.STAGING, ("tiny-forest", 2), True),
        (Stage.STAGING, ("tiny-forest", 3), False),
        (Stage.STAGING, ("tiny-linear", 2), False),
        (Stage.STAGING, None, False),
        (Stage.PRODUCTION, ("tiny-forest", 2), False),
    ],
)
def test_production_does_not_end_empty(
    folder: Path, to: Stage, serving: tuple[str, int] | None, *, refused: bool
) -> None:
    """The version that serves does not leave for Staging: that model, that number."""
    production = None if serving is None else an_entry(*serving, Stage.PRODUCTION)

    with pytest.raises(GateRefused) as caught:
        a_service(folder).promote(a_plan(FIRM, to=to, production=production), Mover("anna", "x", override=True))

    assert refused == ("does not leave it without a successor: promote another version" in str(caught.value))


def test_a_refusal_names_every_gate_and_what_nobody_may_override() -> None:
    """Reasons in brackets where there are any; the last part only for who tried."""
    plan = a_plan(GOOD, BAD, FIRM)
    text = "tiny-forest v2 may not enter Production: bad: 0, required 1 (too little); firm: none, required files"

    assert text == str(refusal(plan))
    assert text == str(refusal(plan, Mover("anna", "x")))
    assert f"{text}; nobody may override: firm" == str(refusal(plan, Mover("anna", "x", override=True)))
    assert "nobody may" not in str(refusal(a_plan(BAD), Mover("anna", "x", override=True)))
    assert plan.report.as_json() == refusal(plan).details["report"]


@pytest.mark.parametrize(
    ("results", "override"),
    [((BAD,), False), ((FIRM,), True), ((FIRM,), False), ((BAD, FIRM), True), ((FIRM, BAD, GOOD), True)],
)
def test_a_refused_move_is_recorded_with_its_report(
    folder: Path, results: tuple[GateResult, ...], *, override: bool
) -> None:
    """One gate that nobody may override is enough, among others too."""
    service = a_service(folder)
    plan = a_plan(*results)

    with pytest.raises(GateRefused):
        service.promote(plan, Mover("jenkins", "better", approver="anna", override=override))

    (event,) = service.journal.history("tiny")
    assert ("refuse", "jenkins", "better", [it.name for it in plan.report.refusals]) == (
        event.action,
        event.actor,
        event.reason,
        event.details["refused"],
    )
    assert not event.is_move
    assert event.gate_report_id is not None
    kept = service.journal.report(event.gate_report_id)
    assert (False, Stage.PRODUCTION, plan.report.evidence, "jenkins", "tiny-forest", 2) == (
        kept.passed,
        kept.target,
        kept.evidence,
        kept.actor,
        kept.model,
        kept.number,
    )
    assert service.journal.production("tiny") is None


def test_staging_asks_the_same_evidence_without_the_comparison() -> None:
    """Nothing else is left out, and the plan itself stays as it was."""
    better = replace(BAD, name=BETTER)
    plan = a_plan(GOOD, better, BAD)

    assert ([GOOD, BAD], Stage.STAGING) == (list(plan.to_staging().report.results), plan.to_staging().to)
    assert ([GOOD, better, BAD], Stage.PRODUCTION) == (list(plan.report.results), plan.to)


@pytest.mark.parametrize(
    ("to", "production", "archived"),
    [
        (Stage.PRODUCTION, PRODUCTION, "tiny-linear v1"),
        (Stage.PRODUCTION, None, None),
        (Stage.STAGING, PRODUCTION, None),
        (Stage.STAGING, None, None),
    ],
)
def test_a_move_is_plain_data(to: Stage, production: Entry | None, archived: str | None) -> None:
    """Who left is told where somebody left; what was overridden, and what MLflow does not show."""
    plan = a_plan(GOOD, BAD, to=to, production=production)

    assert {
        "family": "tiny",
        "model": "tiny-forest",
        "version": 2,
        "semver": "2",
        "from": "None",
        "to": to.value,
        "archived": archived,
        "overridden": ["bad"],
        "operation": "op",
        "unprojected": "it is down",
        "report": plan.report.as_json(),
    } == a_move(plan, "it is down").as_json()


def test_a_move_that_mlflow_does_not_show_says_so() -> None:
    """With the command that finishes it; one that is shown is no failure."""
    plan = a_plan(GOOD)
    a_move(plan).require_shown()

    with pytest.raises(ProjectionIncomplete) as caught:
        a_move(plan, "it is down").require_shown(extra=1)

    assert (
        "tiny-forest v2 is in Production in the journal, but it is down; run python scripts/promote-model.py "
        "--reconcile when MLflow is well again"
    ) == str(caught.value)
    assert 1 == caught.value.details["extra"]


# Changes from outside


class Told(PromotionService):
    """A service to which a test says what happened outside; it moves nothing and remembers what it was asked to do.

    Attributes:
        done: What it was asked to do.
        outside: By family what its comparison brings, and by `outsider`, `approved` and `promoted` what comes of it.
    """

    done: list[str]
    outside: dict[str, Any]

    def known_families(self) -> list[str]:
        """Three of them."""
        return ["one", "two", "tiny"]

    def family(self, model: str) -> str:
        """The model of the newcomer is the family's."""
        return {"tiny-forest": "tiny"}[model]

    def synchronise(self, family: str, *, repair: bool = False) -> str:
        """What a test says of the family."""
        self.done.append(f"synchronise {family}{' and repair' if repair else ''}")
        found = self.outside.get(family, "")
        if isinstance(found, Quarantined):
            raise found
        return str(found)

    def outsider(self, family: str) -> Known | None:
        """The candidate was put into Production outside, unless a test says otherwise."""
        return cast("Known | None", self.outside.get("outsider", CANDIDATE)) if family == "tiny" else None

    def restore(self, family: str, *, actor: str, reason: str) -> list[str]:
        """Put back, which MLflow does not show."""
        self.done.append(f"restore {family} by {actor}, {reason}")
        raise ProjectionIncomplete("not shown")

    def check(self, candidate: ModelVersion, *_rest: Any, **_options: Any) -> PromotionPlan:
        """As any other candidate."""
        self.done.append(f"check {candidate}")
        return a_plan(GOOD)

    def promote(self, plan: PromotionPlan, mover: Mover) -> Move:
        """Made, and shown unless a test says otherwise."""
        self.done.append(f"promote {plan.candidate} by {mover.actor}")
        return a_move(plan, str(self.outside.get("promoted", "")))


class Approved:
    """A gatherer that knows what was approved: as a test says, else everything.

    Args:
        outside: See `Told`.
    """

    def __init__(self, outside: dict[str, Any]) -> None:
        self._outside = outside

    def is_approved(self, config: FamilyConfig, entry: Entry) -> bool:
        """Of this family and version."""
        assert ("tiny", 2) == (config.family, entry.number)
        return bool(self._outside.get("approved", True))


class Everything:
    """A registry that has every version."""

    def version(self, model: str, number: int) -> ModelVersion:
        """As MLflow would show it."""
        return a_version(model, number)


@pytest.fixture
def told(folder: Path) -> Told:
    """A family that asks for approvals, whose candidate the journal knows."""
    outside: dict[str, Any] = {}
    journal = a_journal(folder)
    journal.record("tiny", CANDIDATE, ANNA)
    config = a_family(approvals={"roles": ["science"]})
    service = Told(
        journal, cast("Registry", Everything()), FamilyConfigs({"tiny": config}), cast("Gatherer", Approved(outside))
    )
    service.done, service.outside = [], outside
    return service


ADVISER = Mover("anna", "tidy")
RATIFIED = [
    "restore tiny by anna, before ratifying tiny-forest v2: tidy",
    "check tiny-forest v2",
    "promote tiny-forest v2 by anna",
]


def test_every_family_is_brought_together(told: Told) -> None:
    """All that are known, or the one that is named; aliases and tags are written again."""
    told.reconcile(ADVISER)
    assert [f"synchronise {name} and repair" for name in ("one", "two", "tiny")] == told.done
    told.done.clear()

    told.reconcile(ADVISER, "two")
    assert ["synchronise two and repair"] == told.done


def test_what_mlflow_does_not_show_of_any_family_is_told(told: Told) -> None:
    """After all of them were tried."""
    told.outside.update(one="one is down", two="two is down")

    with pytest.raises(ProjectionIncomplete, match=r"^one is down; two is down$"):
        told.reconcile(ADVISER)

    assert "synchronise tiny and repair" == told.done[-1]


def test_what_nobody_may_ratify_stays_quarantined(told: Told) -> None:
    """Each with its findings, and louder than what is not shown."""
    told.outside.update(
        one=Quarantined("one is odd", found=["a"]), two="two is down", tiny=Quarantined("tiny is odd", found=["b"])
    )
    told.outside["approved"] = False

    with pytest.raises(Quarantined, match=r"^one is odd; tiny is odd$") as caught:
        told.reconcile(ADVISER)

    assert [{"found": ["a"]}, {"found": ["b"]}] == caught.value.details["found"]
    assert 3 == len(told.done)


@pytest.mark.parametrize("unprojected", ["", "it is down"])
def test_what_everybody_approved_is_ratified(told: Told, unprojected: str) -> None:
    """Put back first, then checked and promoted as any other candidate, whatever MLflow shows of it."""
    told.outside.update(tiny=Quarantined("tiny is odd", found=[]), promoted=unprojected)

    if unprojected:
        with pytest.raises(ProjectionIncomplete, match=r"^it is down$"):
            told.reconcile(ADVISER, "tiny")
    else:
        told.reconcile(ADVISER, "tiny")

    assert ["synchronise tiny and repair", *RATIFIED] == told.done


@pytest.mark.parametrize(
    ("outside", "configs"),
    [
        ({"approved": False}, None),
        ({"outsider": None}, None),
        ({"outsider": a_version("tiny-forest", 3)}, None),
        ({}, {}),
        ({}, {"tiny": a_family()}),
    ],
    ids=["not approved", "nobody came", "unknown to the journal", "no configuration", "no approvals asked"],
)
def test_only_an_approved_newcomer_is_ratified(
    told: Told, outside: dict[str, Any], configs: dict[str, FamilyConfig] | None
) -> None:
    """Anything missing, and it stays where it is."""
    told.outside.update(tiny=Quarantined("tiny is odd", found=[]), **outside)
    if configs is not None:
        told.configs = FamilyConfigs(configs)

    with pytest.raises(Quarantined, match=r"^tiny is odd$"):
        told.reconcile(ADVISER, "tiny")

    assert ["synchronise tiny and repair"] == told.done


# With a registry


@pytest.fixture
def tiny(arranged: Arranged) -> Store:
    """Three versions of one model, each better than the one before."""
    return arranged(_tiny)


def _tiny(store: Store) -> None:
    for score in (0.90, 0.95, 0.97):
        store.register("tiny-linear", roc_auc=score)


def version(store: Store, number: int) -> Any:
    return store.registry.version("tiny-linear", number)


def withdraw(journal: Journal) -> None:
    """Leave Production empty."""
    serving = journal.production("tiny")
    assert serving
    journal.move("tiny", [Change(serving, Stage.ARCHIVED)], ANNA, expected_production=serving.id)


Meanwhile = Callable[[Store, Journal], object]


@pytest.mark.parametrize(
    ("before", "meanwhile", "now"),
    [
        (None, lambda store, journal: promote(journal, "tiny", version(store, 1)), "tiny-linear v1"),
        (1, lambda store, journal: promote(journal, "tiny", version(store, 2)), "tiny-linear v2"),
        (1, lambda _store, journal: withdraw(journal), "no version"),
        (1, lambda store, journal: promote(journal, "tiny", version(store, 3)), "tiny-linear v3"),
    ],
    ids=["filled", "exchanged", "emptied", "the candidate itself"],
)
@pytest.mark.parametrize("to", [Stage.PRODUCTION, Stage.STAGING])
def test_a_production_that_moved_since_the_check_is_refused(
    tiny: Store, before: int | None, meanwhile: Meanwhile, now: str, to: Stage
) -> None:
    """Whatever happened to it: the comparison is out of date, and neither journal nor MLflow moves."""
    service = tiny.service(a_family())
    if before is not None:
        promote(service.journal, "tiny", version(tiny, before))
    plan = service.check(version(tiny, 3), to)
    meanwhile(tiny, service.journal)
    entries, shown = service.journal.entries(), tiny.shown()

    with pytest.raises(ProductionMoved, match=f"^{now} is in Production of 'tiny' now.*nothing moved, check again"):
        service.promote(plan, Mover("anna", "too late"))

    assert (entries, shown) == (service.journal.entries(), tiny.shown())
    assert [] == [event for event in service.journal.history("tiny") if event.reason == "too late"]


def test_a_production_that_stayed_is_no_obstacle(tiny: Store) -> None:
    """What happened to other families, or moved nothing, does not matter."""
    service = tiny.service(a_family())
    promote(service.journal, "tiny", version(tiny, 1))
    plan = service.check(version(tiny, 3))
    promote(service.journal, "other", a_version("other", 1))
    service.journal.record("tiny", version(tiny, 2), Authority("note", "anna", "looked at it"))

    done = service.promote(plan, Mover("anna", "in time"))

    assert {"tiny-linear v3": "Production", "tiny-linear v1": "Archived"} == tiny.shown()
    assert ("", done.operation) == (done.unprojected, service.journal.history("tiny", limit=1)[0].operation)


def test_a_version_that_was_deleted_since_the_check_does_not_serve(tiny: Store) -> None:
    """What is gone must not serve; nothing was recorded of the move."""
    service = tiny.service(a_family())
    plan = service.check(version(tiny, 3))
    tiny.client.delete_model_version("tiny-linear", "3")

    with pytest.raises(UnknownVersion, match="tiny-linear has no version 3"):
        service.promote(plan, Mover("anna", "too late"))

    assert service.journal.production("tiny") is None
    assert [] == service.journal.history("tiny")


@pytest.mark.parametrize(
    ("stage", "to", "is_there"),
    [
        (Stage.PRODUCTION, Stage.PRODUCTION, True),
        (Stage.STAGING, Stage.STAGING, True),
        (Stage.STAGING, Stage.PRODUCTION, False),
        (Stage.ARCHIVED, Stage.PRODUCTION, False),
    ],
)
def test_where_a_version_is_already_is_nothing_to_do(tiny: Store, stage: Stage, to: Stage, *, is_there: bool) -> None:
    """By what the journal holds; from anywhere else it is checked."""
    service = tiny.service(a_family())
    service.journal.move("tiny", [Change(version(tiny, 3), stage)], ANNA, expected_production=None)

    if is_there:
        with pytest.raises(NothingToDo, match=f"tiny-linear v3 is in {to} already: nothing to do"):
            service.check(version(tiny, 3), to)
    else:
        assert to is service.check(version(tiny, 3), to).to


def test_breaking_the_glass_is_recorded(tiny: Store) -> None:
    """What refused, what else was waived, by whom and for whom; without anything of it there is no such mark."""
    service = tiny.service(a_family())
    plan = service.check(version(tiny, 1))
    refused = replace(plan, report=replace(plan.report, results=(GOOD, BAD)))
    mover = Mover("jenkins", "it burns", approver="anna", override=True, waived=("a looser bound",))

    assert ["bad"] == service.promote(refused, mover).as_json()["overridden"]

    (event,) = service.journal.history("tiny")
    assert ("promote", "jenkins", "it burns", ["bad", "a looser bound"]) == (
        event.action,
        event.actor,
        event.reason,
        event.details["override"],
    )
    assert (event.gate_report_id, plan.report.evidence) == (event.details["report"], event.details["evidence"])
    entry = service.journal.production("tiny")
    assert entry is not None
    assert ("anna", plan.report.digest, None) == (entry.approver, entry.digest, entry.known_bad)

    service.promote(service.check(version(tiny, 2), Stage.STAGING), Mover("anna", "to be watched"))
    (staged,) = [event for event in service.journal.history("tiny") if event.number == 2]
    assert ("stage", Stage.STAGING) == (staged.action, staged.to_stage)
    assert "override" not in staged.details


def test_a_move_says_what_it_was_told_to(tiny: Store) -> None:
    """Its own name, what is held against the version that leaves, and what else belongs to it."""
    service = tiny.service(a_family())
    promote(service.journal, "tiny", version(tiny, 1))
    plan = service.check(version(tiny, 3))

    service.commit(plan, Mover("anna", "x"), action="rollback", known_bad="wrong answers", details={"cause": "alert"})

    came, left = service.journal.history("tiny", limit=2)
    assert [("rollback", 3, Stage.PRODUCTION), ("rollback", 1, Stage.ARCHIVED)] == [
        (event.action, event.number, event.to_stage) for event in (came, left)
    ]
    assert "alert" == came.details["cause"]
    leaver, comer = service.journal.entry("tiny-linear", 1), service.journal.entry("tiny-linear", 3)
    assert leaver is not None
    assert comer is not None
    assert ("wrong answers", None) == (leaver.known_bad, comer.known_bad)


@pytest.mark.parametrize(("to", "is_due"), [(Stage.PRODUCTION, True), (Stage.STAGING, False)])
@pytest.mark.parametrize("signs", [True, False])
def test_an_attestation_is_due_of_what_goes_into_production(
    tiny: Store, to: Stage, *, is_due: bool, signs: bool
) -> None:
    """Where attestations are signed at all; what was said of the move stays."""
    service = tiny.service(a_family())
    service.attestations = cast("Attestations", SimpleNamespace(leave=lambda *_, **__: None)) if signs else None

    service.commit(service.check(version(tiny, 3), to), Mover("anna", "x"), details={"cause": "alert"})

    event = service.journal.history("tiny", limit=1)[0]
    assert (is_due and signs) is (event.details.items() >= DUE.items())
    assert "alert" == event.details["cause"]


def test_staging_leaves_production_alone(tiny: Store) -> None:
    """Only who takes its place archives it."""
    service = tiny.service(a_family())
    promote(service.journal, "tiny", version(tiny, 1))

    service.promote(service.check(version(tiny, 2), Stage.STAGING), Mover("anna", "to be watched"))

    serving = service.journal.production("tiny")
    assert serving is not None
    assert 1 == serving.number
    assert Scored({"roc_auc": 0.95}).metrics == service.check(version(tiny, 2)).report.metrics


@pytest.mark.parametrize("kind", [PromotionPlan, Move, Mover])
def test_a_checked_move_stays_as_it_was_checked(kind: type) -> None:
    """From the check to the commit and after."""
    assert is_fact(kind)

"""`--auto`: the newest training round's best version, and only if it deserves it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.promotion.factories import Store, a_family, a_version, rows

from promotion.auto import auto_families, best_candidate, for_each_family, metric_tag, promote_best, rehearse_best
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.errors import GateRefused, NothingToDo, PromotionError, RegistryUnreachable
from promotion.registry.stages import Stage
from promotion.service import Move, Mover

BEST = {"best_model": "true", "roc_auc": "0.9000"}
MONDAY, TUESDAY = {"promotion.round": "2026-01-05T08:00:00"}, {"promotion.round": "2026-01-06T08:00:00"}


def _auto(store: Store, config: FamilyConfig | None = None) -> Move:
    config = config or a_family()
    return promote_best(store.service(config), config, Mover("jenkins", "nightly"))


# Which one


def test_the_tagged_version_is_found(store: Store) -> None:
    """Training tags one version of the family; versions of other families do not count."""
    store.register("tiny-linear", BEST)
    store.register("tiny-forest", {"best_model": "false"})
    store.register("huge-forest", BEST)
    store.register("tiny-forest-old", BEST)

    assert "tiny-linear v1" == str(best_candidate(store.registry, a_family()))


def test_the_newest_round_counts(store: Store) -> None:
    """A tag left on an older round's version is no candidate beside the newest round's."""
    store.register("tiny-linear", BEST | MONDAY)
    store.register("tiny-forest", BEST | TUESDAY)

    assert "tiny-forest v1" == str(best_candidate(store.registry, a_family()))


def test_a_stale_tag_promotes_nothing(store: Store) -> None:
    """The newest training died before it tagged its best: Monday's tag must not be promoted on Tuesday."""
    store.register("tiny-linear", BEST | MONDAY)
    store.register("tiny-forest", {"roc_auc": "0.9", **TUESDAY})

    with pytest.raises(NothingToDo, match=r"tiny-linear v1 carries a best_model tag of an older training"):
        best_candidate(store.registry, a_family())


def test_a_round_is_newest_also_when_its_versions_left_none(store: Store) -> None:
    """The newest round is known by its versions wherever they are, in Production too."""
    store.register("tiny-linear", BEST | MONDAY)
    store.register("tiny-linear", {"roc_auc": "0.9", **TUESDAY})
    store.move("tiny-linear", 2, Stage.PRODUCTION)

    with pytest.raises(NothingToDo, match="older training"):
        best_candidate(store.registry, a_family())


def test_versions_without_a_round_count_when_there_are_no_others(store: Store) -> None:
    """Models trained by other scripts need only the tag, until our training has registered a round."""
    store.register("tiny-linear", BEST)
    assert "tiny-linear v1" == str(best_candidate(store.registry, a_family()))

    store.register("tiny-forest", {"roc_auc": "0.9", **TUESDAY})

    with pytest.raises(NothingToDo):
        best_candidate(store.registry, a_family())


def test_no_tag_is_nothing_to_do(store: Store) -> None:
    """An empty registry, or one without the tag, names the training command."""
    for _ in range(2):
        with pytest.raises(NothingToDo, match=r"tagged best_model=true: train first .*train.py --model tiny"):
            best_candidate(store.registry, a_family())
        if not store.client.search_registered_models():
            store.register("tiny-linear", {"roc_auc": "0.99", "best_model": "True"})


def test_two_best_tags_are_refused(store: Store) -> None:
    """Which one is the best is not ours to guess: the refusal names both."""
    store.register("tiny-linear", BEST | TUESDAY)
    store.register("tiny-forest", BEST | TUESDAY)

    with pytest.raises(GateRefused, match=r"2 versions .*\(tiny-forest v1, tiny-linear v1\): remove one tag"):
        best_candidate(store.registry, a_family())


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({}, "missing"),
        ({"roc_auc": "nan"}, "'nan', not a finite number"),
        ({"roc_auc": "inf"}, "'inf', not a finite number"),
        ({"roc_auc": "excellent"}, "'excellent', not a finite number"),
        ({"roc_auc": "0,95"}, "'0,95', not a finite number"),
        ({"roc_auc": ""}, "'', not a finite number"),
    ],
)
def test_a_metric_tag_must_be_a_number(tags: dict[str, str], found: str, store: Store) -> None:
    """A winner whose metric tag is missing or garbage is refused, saying what was found."""
    store.register("tiny-linear", {"best_model": "true", **tags}, roc_auc=0.95)

    with pytest.raises(GateRefused, match=f"tiny-linear v1: tag roc_auc is {found}"):
        _auto(store)

    assert {} == store.shown()


def test_a_metric_tag_is_read() -> None:
    """The number as training wrote it."""
    assert 0.9665 == metric_tag(a_version(tags={"roc_auc": "0.9665"}), "roc_auc")


# What happens with it


def test_the_best_version_is_promoted(store: Store) -> None:
    """The whole way: found, checked, promoted, in the order the callbacks hear of it."""
    store.register("tiny-linear", BEST, roc_auc=0.9)
    config = a_family()
    heard: list[Any] = []

    promotion = promote_best(
        store.service(config),
        config,
        Mover("jenkins", "nightly"),
        on_found=lambda version: heard.append(str(version)),
        on_checked=lambda plan: heard.append(plan.report.passed),
    )

    assert ["tiny-linear v1", True] == heard
    assert Stage.PRODUCTION is promotion.to
    assert {"tiny-linear v1": "Production"} == store.shown()


@pytest.mark.parametrize(("not_better", "stage"), [("stay", "None"), ("staging", "Staging")])
def test_a_candidate_that_is_not_better_leaves_the_champion(store: Store, not_better: str, stage: str) -> None:
    """The champion stays; the candidate stays too, or goes to Staging, as the family's configuration says."""
    config = a_family(not_better=not_better)
    store.register("tiny-linear", BEST | MONDAY, roc_auc=0.9)
    _auto(store, config)
    store.register("tiny-forest", BEST | TUESDAY, roc_auc=0.9)

    with pytest.raises(NothingToDo, match=r"tiny-forest v1 is not better than Production: 0\.9000 against 0\.9000"):
        _auto(store, config)

    assert "Production" == store.shown()["tiny-linear v1"]
    assert stage == store.shown().get("tiny-forest v1", "None")
    assert ({"tiny-forest@staging": "1"} if stage == "Staging" else {}) == {
        alias: number for alias, number in store.aliases().items() if "staging" in alias
    }
    assert [1, int(stage == "Staging")] == [row[5] for row in rows(store.home / "promotion.db")["gate_report"]]


def test_a_candidate_in_staging_already_is_not_moved_again(store: Store) -> None:
    """Running twice writes no second event."""
    config = a_family(not_better="staging")
    store.register("tiny-linear", BEST | MONDAY, roc_auc=0.9)
    _auto(store, config)
    store.register("tiny-forest", BEST | TUESDAY, roc_auc=0.9)
    for _ in range(2):
        with pytest.raises(NothingToDo):
            _auto(store, config)

    history = store.service(config).journal.history("tiny")

    assert ["stage", "promote"] == [event.action for event in history]


def test_a_worse_candidate_below_its_threshold_is_refused(store: Store) -> None:
    """Not better and not good enough is a refusal (3), not "nothing to do" (5), and never Staging."""
    config = a_family(not_better="staging")
    store.register("tiny-linear", BEST | MONDAY, roc_auc=0.9)
    _auto(store, config)
    store.register("tiny-forest", BEST | TUESDAY, roc_auc=0.5)

    with pytest.raises(GateRefused):
        _auto(store, config)

    assert {"tiny-linear v1": "Production"} == store.shown()


def test_running_twice_is_nothing_to_do(store: Store) -> None:
    """The champion itself is still tagged: the second run changes nothing."""
    store.register("tiny-linear", BEST, roc_auc=0.9)
    _auto(store)
    before = store.rows()

    with pytest.raises(NothingToDo, match="is in Production already"):
        _auto(store)

    assert before == store.rows()


def test_a_promotion_by_hand_is_adopted_before_the_comparison(store: Store) -> None:
    """The candidate must beat what a person put into Production in MLflow a minute ago."""
    store.register("tiny-linear", BEST, roc_auc=0.9)
    store.register("tiny-forest", roc_auc=0.95)
    store.move("tiny-forest", 1, Stage.PRODUCTION)

    with pytest.raises(NothingToDo, match=r"0\.9000 against 0\.9500"):
        _auto(store)

    assert {"tiny-forest v1": "Production"} == store.shown()


@pytest.mark.parametrize(("score", "error"), [(0.95, None), (0.9, NothingToDo), (0.5, GateRefused)])
def test_a_rehearsal_answers_as_the_promotion_would(store: Store, score: float, error: type | None) -> None:
    """Same outcome, same exception, nothing written."""
    store.register("tiny-linear", BEST | MONDAY, roc_auc=0.9)
    _auto(store)
    store.register("tiny-forest", BEST | TUESDAY, roc_auc=score)
    config, before = a_family(), store.rows()

    def rehearse() -> str:
        plan = rehearse_best(store.service(config), config, lambda _version: None, lambda _plan: None)
        return str(plan.candidate)

    if error:
        with pytest.raises(error):
            rehearse()
    else:
        assert "tiny-forest v1" == rehearse()

    assert before == store.rows()


# Several families


def test_manual_families_are_left_alone_and_said_so() -> None:
    """Only `promotion: auto` is acted on; a manual one is named, and refused when asked for by name."""
    configs = FamilyConfigs(
        {name: a_family(name, promotion=how) for name, how in [("tiny", "auto"), ("risky", "manual")]}
    )
    said: list[str] = []

    assert ["tiny"] == [config.family for config in auto_families(configs, None, said.append)]
    assert ["risky: promotion is manual, --auto leaves it alone"] == said
    assert ["tiny"] == [config.family for config in auto_families(configs, "tiny", said.append)]
    for family in ("risky", "unconfigured"):
        with pytest.raises(NothingToDo, match=f"'{family}' is promoted by hand"):
            auto_families(configs, family, said.append)
    with pytest.raises(NothingToDo, match="no family is configured with promotion: auto"):
        auto_families(FamilyConfigs({"risky": configs["risky"]}), None, said.append)


NOTHING, REFUSED, DOWN = NothingToDo("not better"), GateRefused("too weak"), RegistryUnreachable("no connection")


@pytest.mark.parametrize(
    ("failures", "raised"),
    [
        ([None, None], None),
        ([None, NOTHING], None),
        ([NOTHING, NOTHING], NOTHING),
        ([REFUSED, None], REFUSED),
        ([NOTHING, REFUSED], REFUSED),
        ([DOWN, REFUSED], DOWN),
        ([NOTHING], NOTHING),
    ],
)
def test_one_family_does_not_keep_the_others(
    failures: list[PromotionError | None], raised: PromotionError | None
) -> None:
    """Every family is tried; the first real failure is the answer, "nothing to do" only when all had nothing."""
    configs = [a_family(f"family-{number}") for number in range(len(failures))]
    tried: list[str] = []
    said: list[str] = []

    def act(config: FamilyConfig) -> None:
        tried.append(config.family)
        failure = failures[len(tried) - 1]
        if failure:
            raise failure

    if raised:
        with pytest.raises(type(raised)) as answer:
            for_each_family(configs, act, said.append)
        assert raised is answer.value
    else:
        for_each_family(configs, act, said.append)

    assert [config.family for config in configs] == tried
    expected = [f"family-{number}: {failure}" for number, failure in enumerate(failures) if failure]
    assert (expected if len(configs) > 1 else []) == said

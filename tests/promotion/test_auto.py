"""`--auto`: the newest training round's best version, and only if it deserves it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.promotion.factories import Store, a_family, a_training_family, a_version, rows

from promotion.auto import auto_families, best_candidate, for_each_family, metric_tag, promote_best, rehearse_best
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.errors import GateRefused, NothingToDo, PromotionError, RegistryUnreachable
from promotion.journal.transaction import FamilyTransaction
from promotion.registration import TrainedElsewhere, receive, register_version
from promotion.registry.stages import Stage
from promotion.service import Move, Mover

BEST = {"best_model": "true", "roc_auc": "0.9000"}
STRANGER = BEST | {"promotion.round": "2099-01-01T00:00:00"}


def _auto(store: Store, config: FamilyConfig | None = None) -> Move:
    config = config or a_training_family()
    return promote_best(store.service(config), config, Mover("jenkins", "nightly"))


def _best(store: Store, config: FamilyConfig | None = None, heard: list[str] | None = None) -> str:
    journal, report = store.service().journal, (heard if heard is not None else []).append
    return str(best_candidate(journal, store.registry, config or a_training_family(), report))


# Which one


@pytest.mark.system
def test_the_best_of_the_newest_training_is_found(store: Store) -> None:
    """By the journal, where the tag is on it too; a tag that an older round has left does not matter."""
    store.train("tiny", "tiny-linear", "tiny-forest")
    store.train("tiny", "tiny-linear", "tiny-forest", best="tiny-forest")
    store.train("huge", "huge-linear")

    assert "tiny-forest v2" == _best(store)


@pytest.mark.parametrize("model", ["tiny-linear", "tiny-forest"])
def test_a_stranger_never_moves_by_itself(store: Store, model: str) -> None:
    """Written straight into MLflow, tagged best, of a round in the far future: named, and passed over."""
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    number = store.register(model, STRANGER, roc_auc=0.99)
    heard: list[str] = []

    assert "tiny-linear v1" == _best(store, heard=heard)
    assert f"{model} v{number}: passed over: tagged best_model=true, but registered by nobody here" in heard[0]
    _auto(store)
    assert {"tiny-linear v1": "Production"} == store.shown()


def test_a_stranger_alone_is_refused(store: Store) -> None:
    """Nobody registered anything: the refusal says what would, and what a family with candidates does."""
    store.register("tiny-linear", STRANGER, roc_auc=0.99)

    with pytest.raises(
        GateRefused, match=r"tiny-linear v1: tagged .* registered by nobody here: nothing is promoted"
    ) as found:
        _auto(store)
    assert "train.py --model tiny" in str(found.value)
    with pytest.raises(GateRefused, match=r"register-model\.py tiny-linear 1"):
        _best(store, a_family())
    assert {} == store.shown()


@pytest.mark.parametrize(
    ("tag", "shown"), [("-", "no version"), ("tiny-forest", "tiny-forest v1")], ids=["nowhere", "on the loser"]
)
def test_the_tag_must_agree_with_the_journal(store: Store, tag: str, shown: str) -> None:
    """The refusal says what the journal says, and what the tag."""
    store.train("tiny", "tiny-linear", "tiny-forest", tag=tag)

    with pytest.raises(GateRefused) as found:
        _best(store)

    assert "the journal says that tiny-linear v1 is the best of the newest round" in str(found.value)
    assert f"MLflow's tag best_model=true is on {shown}" in str(found.value)


def test_a_tag_moved_to_a_stranger_is_no_agreement(store: Store) -> None:
    """Neither is promoted."""
    store.train("tiny", "tiny-linear", tag="-")
    store.register("tiny-linear", STRANGER, roc_auc=0.99)

    with pytest.raises(GateRefused, match=r"MLflow's tag best_model=true is on tiny-linear v2"):
        _best(store)


def test_two_best_tags_are_refused(store: Store) -> None:
    """Which one is the best is not ours to guess: the refusal names both."""
    store.train("tiny", "tiny-linear", "tiny-forest")
    store.client.set_model_version_tag("tiny-forest", "1", "best_model", "true")

    with pytest.raises(GateRefused, match=r"2 versions .*\(tiny-forest v1, tiny-linear v1\): remove one tag"):
        _best(store)


def test_nothing_registered_is_nothing_to_do(store: Store) -> None:
    """An empty registry, or a version without the tag, names the command that begins."""
    for _ in range(2):
        with pytest.raises(
            NothingToDo, match=r"no version of 'tiny' is registered: train first .*train.py --model tiny"
        ):
            _best(store)
        with pytest.raises(NothingToDo, match="register one first"):
            _best(store, a_family())
        if not store.client.search_registered_models():
            store.register("tiny-linear", {"roc_auc": "0.99", "best_model": "yes"})


@pytest.mark.system
def test_an_older_registration_names_no_best(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What releases registered that did not record it: the tag says which, and the signature proves the training."""
    write = FamilyTransaction.append

    def append(self: FamilyTransaction, version: Any, authority: Any, details: Any = None, **options: Any) -> None:
        new = {"best", "round", "explicit", "provenance"}
        older = {name: value for name, value in (details or {}).items() if name not in new}
        write(self, version, authority, older, **options)

    with monkeypatch.context() as earlier:
        earlier.setattr(FamilyTransaction, "append", append)
        store.train("tiny", "tiny-linear", "tiny-forest", tag="tiny-forest", roc_auc=0.9)

    assert "tiny-forest v1" == str(_auto(store).version)
    store.client.delete_model_version_tag("tiny-forest", "1", "best_model")
    with pytest.raises(
        GateRefused, match=r"the journal has tiny-(forest|linear) v1, tiny-(forest|linear) v1, not which"
    ):
        _best(store)


@pytest.mark.system
def test_a_received_version_moves_where_somebody_registered_it(store: Store) -> None:
    """In a family that trains elsewhere, and not what a first check registered on its own; the newest one counts."""
    config = a_family()
    service = store.service(config)
    for _ in range(3):
        store.register("tiny-linear", BEST, roc_auc=0.9)
    receive(service, store.registry.version("tiny-linear", 3))
    with pytest.raises(GateRefused, match="registered by nobody here"):
        _best(store, config)
    for number in (1, 2):
        register_version(service, store.registry.version("tiny-linear", number))

    assert "tiny-linear v2" == _best(store, config)
    assert "tiny-linear v2" == str(_auto(store, config).version)


def test_a_received_version_does_not_move_where_models_are_trained(store: Store) -> None:
    """A family with candidates has rounds of its own training alone, and asks for its signature by name, too."""
    config = a_training_family()
    service = store.service(config)
    store.register("tiny-linear", BEST, roc_auc=0.9)
    version = store.registry.version("tiny-linear", 1)
    register_version(service, version)

    with pytest.raises(NothingToDo, match="train first"):
        _best(store)
    refusals = service.check(version).report.refusals
    assert [("signature", "not of our training")] == [(gate.name, gate.measured) for gate in refusals]
    assert "received, registered by " in refusals[0].why


@pytest.mark.parametrize("is_trusted", [True, False])
def test_what_another_installation_trained_moves_by_name_where_its_key_is_trusted(
    store: Store, *, is_trusted: bool
) -> None:
    """It is no round of this family's training; without the key it is received."""
    service = store.service(a_training_family())
    store.register("tiny-linear", BEST, roc_auc=0.9)
    version = store.registry.version("tiny-linear", 1)
    training = TrainedElsewhere("ab" * 32, is_trusted, "tina@example.com", None, {"round": "r1"})
    register_version(service, version, training=training)

    with pytest.raises(NothingToDo, match="train first"):
        _best(store)
    (gate,) = (gate for gate in service.check(version).report.results if gate.name == "signature")
    assert (is_trusted, not is_trusted) == (gate.passed, "trusted_origins" in gate.why)


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
    store.train("tiny", "tiny-linear", roc_auc=0.95)
    store.client.delete_model_version_tag("tiny-linear", "1", "roc_auc")
    for name, value in tags.items():
        store.client.set_model_version_tag("tiny-linear", "1", name, value)

    with pytest.raises(GateRefused, match=f"tiny-linear v1: tag roc_auc is {found}"):
        _auto(store)

    assert {} == store.shown()


def test_a_metric_tag_is_read() -> None:
    """The number as training wrote it."""
    assert 0.9665 == metric_tag(a_version(tags={"roc_auc": "0.9665"}), "roc_auc")


# What happens with it


def test_the_best_version_is_promoted(store: Store) -> None:
    """The whole way: found, checked, promoted, in the order the callbacks hear of it."""
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    config = a_training_family()
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
@pytest.mark.system
def test_a_candidate_that_is_not_better_leaves_the_champion(store: Store, not_better: str, stage: str) -> None:
    """The champion stays; the candidate stays too, or goes to Staging, as the family's configuration says."""
    config = a_training_family(not_better=not_better)
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    _auto(store, config)
    store.train("tiny", "tiny-forest", roc_auc=0.9)

    with pytest.raises(NothingToDo, match=r"tiny-forest v1 is not better than Production: 0\.9000 against 0\.9000"):
        _auto(store, config)

    assert "Production" == store.shown()["tiny-linear v1"]
    assert stage == store.shown().get("tiny-forest v1", "None")
    assert ({"tiny-forest@staging": "1"} if stage == "Staging" else {}) == {
        alias: number for alias, number in store.aliases().items() if "staging" in alias
    }
    assert [1, int(stage == "Staging")] == [row[5] for row in rows(store.home / "promotion.db")["gate_report"]]


@pytest.mark.system
def test_a_candidate_in_staging_already_is_not_moved_again(store: Store) -> None:
    """Running twice writes no second event."""
    config = a_training_family(not_better="staging")
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    _auto(store, config)
    store.train("tiny", "tiny-forest", roc_auc=0.9)
    for _ in range(2):
        with pytest.raises(NothingToDo):
            _auto(store, config)

    history = store.service(config).journal.history("tiny")

    assert ["stage", "register", "promote", "register"] == [event.action for event in history]


@pytest.mark.system
def test_a_worse_candidate_below_its_threshold_is_refused(store: Store) -> None:
    """Not better and not good enough is a refusal (3), not "nothing to do" (5), and never Staging."""
    config = a_training_family(not_better="staging")
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    _auto(store, config)
    store.train("tiny", "tiny-forest", roc_auc=0.5)

    with pytest.raises(GateRefused):
        _auto(store, config)

    assert {"tiny-linear v1": "Production"} == store.shown()


def test_running_twice_is_nothing_to_do(store: Store) -> None:
    """The champion itself is still tagged: the second run changes nothing."""
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    _auto(store)
    before = store.rows()

    with pytest.raises(NothingToDo, match="is in Production already"):
        _auto(store)

    assert before == store.rows()


def test_a_promotion_by_hand_is_adopted_before_the_comparison(store: Store) -> None:
    """The candidate must beat what a person put into Production in MLflow a minute ago."""
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    store.register("tiny-forest", roc_auc=0.95)
    store.move("tiny-forest", 1, Stage.PRODUCTION)

    with pytest.raises(NothingToDo, match=r"0\.9000 against 0\.9500"):
        _auto(store)

    assert {"tiny-forest v1": "Production"} == store.shown()


@pytest.mark.parametrize(("score", "error"), [(0.95, None), (0.9, NothingToDo), (0.5, GateRefused)])
@pytest.mark.system
def test_a_rehearsal_answers_as_the_promotion_would(store: Store, score: float, error: type | None) -> None:
    """Same outcome, same exception, nothing written."""
    store.train("tiny", "tiny-linear", roc_auc=0.9)
    _auto(store)
    store.train("tiny", "tiny-forest", roc_auc=score)
    config, before = a_training_family(), store.rows()

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


def test_a_tag_that_python_wrote_counts(store: Store) -> None:
    """MLflow's client turns Python's True into `True`: it means what `true` means."""
    store.train("tiny", "tiny-linear", "tiny-forest", tag="-")
    store.client.set_model_version_tag("tiny-linear", "1", "best_model", True)  # noqa: FBT003  # as people write it

    assert "tiny-linear v1" == _best(store)


@pytest.mark.parametrize("written", ["TRUE", " true", "yes", "1"])
def test_a_tag_in_another_spelling_is_named(store: Store, written: str) -> None:
    """Nobody moved it: it is there, and says something else than `true`."""
    store.train("tiny", "tiny-linear", "tiny-forest", tag="-")
    store.client.set_model_version_tag("tiny-linear", "1", "best_model", written)

    with pytest.raises(GateRefused, match=rf"on no version \(tiny-linear v1 has '{written}' there, expected 'true'\)"):
        _best(store)

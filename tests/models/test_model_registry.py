"""What a consumer gets when it asks for a family or a registered model by stage or version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.promotion.factories import Store
from tests.promotion.shared_home import SharedHome

from models import model_registry
from models.model_registry import (
    AmbiguousStage,
    EmptyStage,
    UnknownStage,
    UnloadableModel,
    get_model_info,
    get_model_version,
    list_registered_models,
    load_model,
    promote_model,
)
from promotion import errors
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import (
    GateRefused,
    NothingToDo,
    ProductionOccupied,
    PromotionError,
    UnknownModel,
    UnknownVersion,
    UsageError,
)
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Registration
from promotion.registry.open import open_registry
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Move, Mover

Register = Callable[..., int]
LOGISTIC = "heart-disease-logistic_regression"
FOREST = "heart-disease-random_forest"


@pytest.mark.system
def test_a_family_loads_its_champion_whatever_the_algorithm(register: Register, settings: Settings) -> None:
    """`load_model("heart-disease")` finds Production across the family's registered models; raw rows go in."""
    register(LOGISTIC)
    register(FOREST)
    register(LOGISTIC, Stage.PRODUCTION)
    config = load_config(settings.config_folder, "heart-disease")
    parts = split_dataset(load_dataset(config, settings.home), config)

    predictions = load_model("heart-disease").predict(parts.test_features)

    assert "2" == get_model_version("heart-disease")
    assert 0.88 < (predictions == parts.test_target).mean()


@pytest.mark.parametrize("stage", ["Production", "production", "PRODUCTION", "2", 2])
def test_a_stage_is_read_in_any_case_and_a_number_as_text_or_integer(stage: str | int, register: Register) -> None:
    """All spellings mean the same version."""
    register(LOGISTIC, Stage.STAGING)
    register(LOGISTIC, Stage.PRODUCTION)

    assert "2" == get_model_version(LOGISTIC, stage)


def test_of_several_versions_in_staging_the_newest_answers(register: Register) -> None:
    """As MLflow itself does, for every stage but Production."""
    register(LOGISTIC, Stage.STAGING)
    register(LOGISTIC, Stage.STAGING)

    assert "2" == get_model_version(LOGISTIC, "Staging")


def test_an_empty_stage_names_the_stages_that_have_a_version(register: Register) -> None:
    """Nobody has to guess what to ask for instead."""
    register(LOGISTIC, Stage.STAGING)
    register(FOREST)

    with pytest.raises(EmptyStage) as caught:
        load_model("heart-disease")

    assert f"no version of 'heart-disease' is in Production; None: {FOREST} v1; Staging: {LOGISTIC} v1" == str(
        caught.value
    )


@pytest.mark.parametrize("models", [(LOGISTIC, LOGISTIC), (LOGISTIC, FOREST)])
def test_two_versions_in_production_are_refused(models: tuple[str, str], register: Register) -> None:
    """MLflow would hide the lower number; we name both, in one registered model or across the family."""
    for model in models:
        register(model, Stage.PRODUCTION)

    with pytest.raises(AmbiguousStage, match=f"{LOGISTIC} v1") as caught:
        get_model_version("heart-disease")

    assert "Production of 'heart-disease' is ambiguous: MLflow shows" in str(caught.value)
    assert "in Production, the journal holds none" in str(caught.value)
    assert "--reconcile --model heart-disease" in str(caught.value)


@pytest.mark.system
def test_what_was_changed_outside_is_said_to_whoever_loads(
    register: Register, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """What MLflow's dialog put there alone serves, although no record has it yet; a known-bad version does not."""
    for _ in range(2):
        register("churn")
    store = Store(settings, settings.home / "artifacts")
    service = store.service()
    for number in (1, 2):
        service.commit(service.check(service.candidate("churn", number)), Mover("anna", "tested"))
    store.move("churn", 1, Stage.PRODUCTION, archive=True)

    assert "1" == get_model_version("churn")
    assert "churn v1: MLflow shows Production, the journal Archived" in caplog.text

    service.synchronise("churn")
    roll_back(service, "churn", 2, Mover("anna", "wrong answers"))
    store.move("churn", 1, Stage.PRODUCTION, archive=True)
    with pytest.raises(errors.Quarantined, match=r"churn v1 is known bad \(wrong answers\)"):
        get_model_version("churn")


def test_a_number_that_several_models_of_a_family_have_is_refused(register: Register) -> None:
    """A family's version numbers belong to its registered models."""
    register(LOGISTIC)
    register(FOREST)
    register(FOREST)

    with pytest.raises(AmbiguousStage, match="name a registered model and its version"):
        get_model_version("heart-disease", 1)
    assert "2" == get_model_version("heart-disease", 2)


@pytest.mark.parametrize(
    ("name", "stage", "error"),
    [
        ("unknown", "Production", UnknownModel),
        (LOGISTIC, 7, UnknownVersion),
        ("heart-disease", 7, UnknownVersion),
        (LOGISTIC, "Live", UnknownStage),
        (LOGISTIC, "v1", UnknownStage),
    ],
)
def test_a_name_that_does_not_exist_is_a_usage_error(
    name: str, stage: str | int, error: type[PromotionError], register: Register
) -> None:
    """Unknown models, versions and stages end with exit code 2 and name what was asked."""
    register(LOGISTIC)

    with pytest.raises(error, match=str(stage) if error is not UnknownModel else name) as caught:
        get_model_version(name, stage)

    assert 2 == caught.value.exit_code


def test_a_family_without_registered_models_says_to_train(settings: Settings) -> None:
    """The first thing a newcomer may try has an answer that helps."""
    with pytest.raises(UnknownModel, match="train it first"):
        load_model("heart-disease")


def test_information_about_one_version_and_about_all(register: Register) -> None:
    """The keys are the documented ones: `current_stage` and `run_id` of one version, `versions` of all."""
    register(LOGISTIC)
    register(LOGISTIC, Stage.PRODUCTION)

    info = get_model_info(LOGISTIC, version="2")
    everything = get_model_info(LOGISTIC)

    assert ("2", "Production", None) == (info["version"], info["current_stage"], info["run_id"])
    assert "0.9665" == info["tags"]["roc_auc"]
    assert [("2", "Production"), ("1", "None")] == [(item["version"], item["stage"]) for item in everything["versions"]]


def test_every_name_and_error_is_in_the_document() -> None:
    """docs/MODEL-REGISTRY.md says what may be called and what may go wrong."""
    text = (REPOSITORY / "docs" / "MODEL-REGISTRY.md").read_text(encoding="utf-8")
    described = {*model_registry.__all__}
    # Other packages refuse for reasons of their own, which no promotion raises.
    described |= {error.__name__ for error in GateRefused.__subclasses__() if error.__module__ == errors.__name__}

    assert set() == {name for name in described if f"`{name}`" not in text and f"{name}(" not in text}


def test_registered_models_are_listed_by_name(register: Register) -> None:
    """Every registered model, configured or not."""
    register(FOREST)
    register("churn")

    assert ["churn", FOREST] == list_registered_models()


def test_a_familys_model_is_never_loaded_by_what_its_files_say(
    register: Register, fitted_model: Path, tmp_path: Path
) -> None:
    """A pickle registered under a family's name is refused before anything in it runs."""
    import mlflow.sklearn

    folder = tmp_path / "pickled"
    model = load_model(LOGISTIC, register(LOGISTIC))
    mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle", pip_requirements=[])

    with pytest.raises(PromotionError, match="pickle"):
        load_model(LOGISTIC, register(LOGISTIC, source=folder))


def test_a_pickle_of_others_is_refused_unless_allowed(
    register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models without configuration load through MLflow; a pickle needs the environment's explicit word."""
    import mlflow.sklearn

    folder = tmp_path / "pickled"
    model = load_model(LOGISTIC, register(LOGISTIC))
    mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle", pip_requirements=[])
    register("churn", source=folder)

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(UnloadableModel, match=r"churn v1 cannot be loaded"):
        load_model("churn", 1)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    assert hasattr(load_model("churn", 1), "predict")


def test_a_family_with_approvals_serves_what_the_journal_holds(settings: Settings, register: Register) -> None:
    """A version that somebody moved in MLflow's user interface past the approvals is not the one that is loaded."""
    path = settings.config_folder / "heart-disease.yaml"
    path.write_text(path.read_text() + "\napprovals: {roles: [business]}\n")
    for _ in range(2):
        register(LOGISTIC)
    registry = open_registry(settings)
    journal = Journal(Database(settings.database_url))
    first = registry.version(LOGISTIC, 1)
    journal.move(
        "heart-disease",
        [Change(first, Stage.PRODUCTION)],
        Authority("promote", "anna", "approved"),
        expected_production=None,
    )
    for number, stage in ((1, Stage.ARCHIVED), (2, Stage.PRODUCTION)):
        registry.set_stage(LOGISTIC, number, stage)

    assert "1" == get_model_version("heart-disease")

    (entry,) = journal.entries("heart-disease")
    journal.move(
        "heart-disease",
        [Change(entry, Stage.ARCHIVED)],
        Authority("archive", "anna", "bad"),
        expected_production=entry.id,
    )
    with pytest.raises(EmptyStage, match=r"the journal .* decides, not MLflow"):
        get_model_version("heart-disease")


def test_a_semantic_version_is_as_good_as_a_number(settings: Settings, register: Register) -> None:
    """The journal says which number it is; an unknown one is a usage error that names the journal."""
    register(LOGISTIC)
    registration = Registration("d" * 64, None, "tess", "f" * 64, {}, {})
    version = open_registry(settings).version(LOGISTIC, 1)
    Journal(Database(settings.database_url)).register(
        "heart-disease", [(version, registration)], actor="tess", semver="2.3.0"
    )

    assert "1" == get_model_version(LOGISTIC, stage="2.3.0")
    with pytest.raises(UnknownVersion, match=r"has a version 2\.4\.0"):
        get_model_version(LOGISTIC, stage="2.4.0")


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    made = SharedHome(tmp_path_factory.mktemp("churn"), empty_store)
    for _ in range(3):
        made.store.register("churn")
    made.store.move("churn", 1, Stage.PRODUCTION)
    made.store.service().synchronise("churn")
    made.keep("serving")
    return made


@pytest.fixture
def churn(_shared: SharedHome, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A registered model without configuration: v1 in Production, v2 and v3 nowhere; anna acts."""
    store = _shared.back_to("serving")
    monkeypatch.setenv("PROMOTION_HOME", str(store.home))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    return store


def _told(move: Move) -> tuple[str, Stage, Stage, str, str | None]:
    return str(move.version), move.from_stage, move.to, move.action, move.archived


def _stages() -> list[str]:
    return [version["stage"] for version in reversed(get_model_info("churn")["versions"])]


@pytest.mark.system
def test_a_version_goes_the_documented_way_and_back(churn: Store) -> None:
    """Staged, promoted, and by promoting the archived one taken back: numbers, texts, stages in any case."""
    staged = promote_model("churn", 2, "staging", reason="new prices")
    promoted = promote_model(model_name="churn", version="2", stage="PRODUCTION", archive_existing=True, approver="ben")
    back = promote_model("churn", "v1", "Production", reason="answers nonsense")

    assert ("churn v2", Stage.NONE, Stage.STAGING, "stage", None) == _told(staged)
    assert ("churn v2", Stage.STAGING, Stage.PRODUCTION, "promote", "churn v1") == _told(promoted)
    assert ("churn v1", Stage.ARCHIVED, Stage.PRODUCTION, "rollback", "churn v2") == _told(back)
    assert ["Production", "Archived", "None"] == _stages()
    journal = churn.service().journal
    assert ["rollback", "rollback", "promote", "promote", "stage"] == [e.action for e in journal.history(limit=5)]
    left = journal.entry("churn", 2)
    assert left is not None
    assert "answers nonsense" == left.known_bad


@pytest.mark.system
def test_the_reason_is_in_the_record_and_in_the_description(churn: Store) -> None:
    """Each move adds its line; who answers for it is named."""
    promote_model("churn", 2, "Staging", reason="new prices")
    promote_model("churn", 2, "Production", reason="reviewed with sales", approver="ben")

    first, second = get_model_info("churn", 2)["description"].split("\n\n")
    assert first.endswith(" UTC, Staging, stage by anna: new prices")
    assert second.endswith(" UTC, Production, promote by anna for ben: reviewed with sales")
    event = churn.service().journal.history(limit=1)[0]
    assert ("anna", "ben", "reviewed with sales") == (event.actor, event.details["approver"], event.reason)


def test_an_occupied_production_stays_when_it_must_not_be_archived(churn: Store) -> None:
    """archive_existing=False: a family has one Production, so the newcomer waits; exit code 3 in a command."""
    promote_model("churn", 2, "Staging")

    with pytest.raises(ProductionOccupied, match="churn v1 serves in Production of 'churn'") as caught:
        promote_model("churn", 2, "Production", archive_existing=False)

    assert 3 == caught.value.exit_code
    assert ["Production", "Staging", "None"] == _stages()


@pytest.mark.system
def test_an_empty_production_is_entered_without_archiving(churn: Store) -> None:
    """archive_existing=False asks for nothing where nothing serves."""
    churn.register("demand")
    promote_model("demand", 1, "Staging")

    assert Stage.PRODUCTION is promote_model("demand", 1, "Production", archive_existing=False).to


def test_a_rejected_version_is_put_aside(churn: Store) -> None:
    """Archived takes whatever does not serve; what serves needs a successor."""
    aside = promote_model("churn", 3, "archived", reason="biased")

    assert ("churn v3", Stage.NONE, Stage.ARCHIVED, "archive", None) == _told(aside)
    assert get_model_info("churn", 3)["description"].endswith("Archived, archive by anna: biased")
    for stage in ("Archived", "Staging"):
        with pytest.raises(GateRefused, match="without a successor"):
            promote_model("churn", 1, stage)
    assert ["Production", "None", "Archived"] == _stages()


@pytest.mark.parametrize(
    ("version", "stage", "error", "message"),
    [
        (1, "None", UsageError, "does not go back to None"),
        (2, "None", NothingToDo, "is in None already"),
        (1, "Production", NothingToDo, "is in Production already"),
        (2, "Live", UnknownStage, "expected one of None, Staging, Production, Archived"),
        (2, "", UnknownStage, "unknown stage ''"),
        (9, "Staging", UnknownVersion, "churn has no version 9"),
        ("newest", "Staging", UsageError, "'newest' is no version"),
    ],
)
def test_what_cannot_be_done_is_a_named_error_and_moves_nothing(
    churn: Store, version: str | int, stage: str, error: type[PromotionError], message: str
) -> None:
    """Each says what was found and what to do."""
    with pytest.raises(error, match=message):
        promote_model("churn", version, stage)

    assert ["Production", "None", "None"] == _stages()


def test_a_family_is_as_good_as_its_model_unless_two_have_the_version(register: Register) -> None:
    """A number that two registered models have is refused; both are named."""
    register(LOGISTIC)
    register(FOREST)

    with pytest.raises(AmbiguousStage, match=f"{LOGISTIC} v1, {FOREST} v1"):
        promote_model("heart-disease", 1, "Staging")


@pytest.mark.system
def test_a_refusal_has_the_measured_figures(register: Register, settings: Settings) -> None:
    """What the gates found is in the message and, complete, in the details; nothing moves."""
    path = settings.config_folder / "heart-disease.yaml"
    document = yaml.safe_load(path.read_text())
    document["gates"] = {"thresholds": {"roc_auc": {"minimum": 0.97}}}
    path.write_text(yaml.safe_dump(document))
    register(LOGISTIC)

    with pytest.raises(GateRefused, match=r"roc_auc: 0\.9665, required ≥ 0\.97") as caught:
        promote_model(LOGISTIC, 1, "Staging", reason="the pilot")

    assert pytest.approx(0.9665, abs=1e-4) == caught.value.details["report"]["metrics"]["roc_auc"]
    assert "None" == get_model_info(LOGISTIC, 1)["current_stage"]
    assert ("refuse", "the pilot") == (
        (event := Journal(Database(settings.database_url)).history(limit=1)[0]).action,
        event.reason,
    )
